"""What to draw next: from the figures of a run, in plain sentences, most useful first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..annotation import Kind
from ..datasets.case import Case
from ..finetuning.wording import listed, title
from .comparison import Comparison, changed_volumes

# Of an organ's Dice: above, a few more CTs hardly help; below, they help most.
GOOD, WEAK = 0.93, 0.8
ENOUGH_CASES = 3
# Of a volume between the two models; more of both is worth a look.
CHANGED_SHARE, CHANGED_ML = 0.2, 5.0
MOST_CTS = 3
# Of the sentences that a person reads to the end.
MOST_SENTENCES = 6


def next_steps(result: Mapping[str, Any], cases: Sequence[Case], comparison: Comparison,
               learnt: Sequence[str]) -> list[str]:
    """Sentences. `result`: of the run, as result.json has it; `cases`: all of the manifest; `learnt`: the organs that
    the cases show."""
    sentences = [*_unmeasured(result, learnt), *_weak(result, cases), *_lost(result), *_changed(comparison, learnt),
                 *_good(result)]
    if not any(case.kind is Kind.UNLABELLED for case in cases):
        sentences.append("Put a CT without drawings into the folder: only there it shows what the model does with a "
                         "new patient.")
    return sentences[:MOST_SENTENCES]


def _figures(result: Mapping[str, Any], group: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Organ and figures of a group, "changed" or "kept"."""
    for organ, figures in dict(result.get("dice", {})).items():
        if isinstance(figures, dict) and figures.get("group") == group:
            yield organ, figures


def _unmeasured(result: Mapping[str, Any], learnt: Sequence[str]) -> Iterator[str]:
    missing = [title(organ) for organ in learnt if organ not in result.get("dice", {})]
    if missing:
        yield (f"{listed(missing)}: draw {_it(missing)} completely in one more CT. So far nothing could be left out "
               "to measure by.")


def _weak(result: Mapping[str, Any], cases: Sequence[Case]) -> Iterator[str]:
    for organ, figures in _figures(result, "changed"):
        after = figures.get("after")
        if after is None or after >= WEAK:
            continue
        count = sum(organ in case.annotated for case in cases)
        where = "with masks" if count < ENOUGH_CASES else "of patients who look different"
        yield (f"{title(organ)}: Dice {after:.2f} after learning from {count} CTs. Two or three more CTs {where} help "
               "most here.")


def _lost(result: Mapping[str, Any]) -> Iterator[str]:
    losses = [(figures["before"] - figures["after"], organ) for organ, figures in _figures(result, "kept")
              if figures.get("before") is not None and figures.get("after") is not None
              and figures["before"] - figures["after"] > 0.02]
    if losses:
        names = [title(organ) for _, organ in sorted(losses, reverse=True)[:MOST_CTS]]
        yield (f"{listed(names)} got worse beside what was learnt: accept or correct {_it(names)} in the CTs that you "
               "drew on, so that they hold labels of that too.")


def _changed(comparison: Comparison, learnt: Sequence[str]) -> Iterator[str]:
    """CTs in which the two models disagree on how much there is of an organ: one of them is wrong there."""
    differences = []
    for row in changed_volumes(comparison, list(comparison.space.names)):
        before, after = row["before"], row["after"]
        if not isinstance(before, float) or not isinstance(after, float):
            continue
        if abs(after - before) > max(CHANGED_ML, CHANGED_SHARE * max(before, after)):
            share = abs(after - before) / max(before, after)
            differences.append((row["organ"] in learnt, share, str(row["case"]), str(row["organ"]), before, after))
    differences.sort(reverse=True)
    for _, _, case, organ, before, after in differences[:MOST_CTS]:
        yield (f"{case}: the {title(organ)} went from {before:.0f} to {after:.0f} ml. Look at both results, and draw "
               "it there where the new one is wrong.")


def _good(result: Mapping[str, Any]) -> Iterator[str]:
    good = [title(organ) for organ, figures in _figures(result, "changed")
            if figures.get("before") is not None and figures["before"] >= GOOD]
    if good:
        yield (f"{listed(good)}: the start model had {_it(good)} at {GOOD:.2f} or better already. More masks of "
               f"{_it(good)} teach little; draw another organ.")


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"
