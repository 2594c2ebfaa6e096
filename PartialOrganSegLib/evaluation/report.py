"""An evaluation's files: scores, summary, and what a person reads. All of them say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from .confusion import missed_over_cases
from .evaluation import Evaluation, Options
from .html_page import html_page
from .published import beside
from .summary import Difference, compare, summarise
from .tables import markdown, write_confusions, write_json, write_scores, write_text

TITLE = "Evaluation"
FILES = {"scores": "scores.csv", "summary": "summary.json", "confusion": "confusion.csv", "markdown": "report.md",
         "report": "report.html"}


class Report:
    """One or two models' evaluations on the same references. `missing`: model to its cases without a prediction."""

    def __init__(self, references: str, results: Mapping[str, Evaluation], missing: Mapping[str, Sequence[str]],
                 options: Options) -> None:
        self.references, self.results, self.missing, self.options = references, dict(results), missing, options
        self.scores = {name: result.scores for name, result in self.results.items()}
        self.rows = {name: summarise(scores) for name, scores in self.scores.items()}
        self.differences: list[Difference] = []
        if len(self.scores) == 2:
            self.differences = compare(*self.scores.values())
        self.missed = {name: missed_over_cases(result.confusions) for name, result in self.results.items()}
        self.published = beside(next(iter(self.rows.values())))

    def write(self, files: Mapping[str, Path]) -> None:
        """Writes "scores" and "confusion" (CSV), "summary" (JSON), "markdown" and "report" (HTML). Raises UserError."""
        notes = self.notes()
        write_scores(files["scores"], self.scores)
        write_confusions(files["confusion"], {name: result.confusions for name, result in self.results.items()})
        models = {}
        for name, result in self.results.items():
            models[name] = {"structures": [asdict(row) for row in self.rows[name]], "resampled": result.resampled,
                            "missed": [asdict(row) for row in self.missed[name]], "failures": result.failures,
                            "without_prediction": list(self.missing[name])}
        write_json(files["summary"], {
            "references": self.references, "tolerance_mm": self.options.tolerance_mm, "notes": notes, "models": models,
            "comparison": [asdict(row) for row in self.differences],
            "published": [asdict(row) for row in self.published]})
        write_text(files["markdown"], markdown(TITLE, notes, self.rows, self.differences, self.published,
                                              self.missed))
        write_text(files["report"], html_page(TITLE, notes, self.scores, self.rows, self.differences, self.published,
                                              self.missed, next(iter(self.results.values()))))

    def notes(self) -> list[str]:
        """What a reader must know before believing a figure."""
        notes = [
            f"References: {self.references}. Figures: mean ± standard deviation (n - 1) over cases, distances in mm.",
            "A structure in neither mask is not counted. In only one of them: Dice and surface Dice are 0, distances "
            "are missing, so distances alone flatter a model that misses organs; the last columns count such cases.",
            "A partial reference scores its annotated organs only; organs that it does not tell apart are scored as "
            "one. On strokes, and where a reference leaves voxels open, Dice is over the decided voxels only; drawn "
            "voxels are the easy ones, so that is agreement, not accuracy. Where a reference is sure of no voxel of a "
            "structure and allows most of its prediction (a coarse label), there is no Dice; precision is then the "
            "share that it allows.",
            "HD95 as in MedPy: the percentile of both directions' distances together; hd95_directed_mm (in the CSV) as "
            "in MONAI: the larger of the directions' percentiles. Hausdorff: the largest distance of both "
            "directions, which a single voxel decides. ASSD (average symmetric surface distance) as in both.",
            f"Surface Dice: share of surface voxels within {self.options.tolerance_mm:g} mm of the other surface.",
            "Precision: share of the prediction that is right; recall: share of the reference that was found.",
        ]
        if self.published:
            notes.append("Published figures were measured on other cases with other references: a scale, not a "
                         "ranking. Rows stand here whose organs were all measured.")
        if self.differences:
            notes.append("Comparison: first minus second model, Dice of the same cases; two-sided Wilcoxon signed-rank "
                         "test, corrected after Holm over the structures.")
        for name, result in self.results.items():
            for remark, cases in (("no prediction, counted nowhere", self.missing[name]),
                                  ("put on the reference's grid (nearest neighbour)", result.resampled),
                                  ("could not be scored", list(result.failures))):
                if cases:
                    notes.append(f"{name}: {remark}: {', '.join(cases)}.")
        return notes
