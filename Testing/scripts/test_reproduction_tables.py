"""The tables themselves: the papers' figures, rows that several tables share, and networks that take a step."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.evaluation.published import FANG, LUO, PUBLISHED, SHI
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.networks import build_network, size_multiple_of, slices_of
from PartialOrganSegLib.organs import SHI5, label_space_of_names
from PartialOrganSegLib.training.objective import Objective
from Testing.helpers.loss_batches import batch
from Testing.helpers.repository import SCRIPTS

sys.path.insert(0, str(SCRIPTS))
from reproduction.budgets import FULL, SMALL, row_recipe
from reproduction.plan import Choice, make_plan
from reproduction.references import Reference
from reproduction.report import Setting, write_report
from reproduction.results import Result
from reproduction.runs import Run
from reproduction.shi import SINGLE
from reproduction.situations import situation, write_manifest
from reproduction.table import Published, Row, Table
from reproduction.tables import TABLES

# A row's recipe with the small budget, as its run's folder has it. Other digests: finished runs would be repeated.
FOLDERS = {"marginal": {"full": "51e37807", "naive": "51e37807", "marginal": "51e37807", "exclusion": "cf986949"},
           "word": {"pce": "a94e871b", "crf": "0d4b8f1d", "em": "dd44f985", "ivm": "9053a3ce", "em_ivm": "7a79ab98",
                    "dense": "c4caa332"}}


def row_of(table: str, key: str) -> Row:
    return next(row for row in TABLES[table].rows if row.key == key)


def figures(table: str) -> dict[str, Published]:
    return {row.key: row.published for row in TABLES[table].rows}


def test_luos_figures_are_those_of_the_reports():
    """The tables of published figures and of runs are typed in separately; here they check each other."""
    theirs = {row.method: Published(row.dice, row.hd95) for row in PUBLISHED if row.source == LUO}
    networks = {"nnunet_v2_3d": "nnU-Net V2 3D", "nnunet_3d": "nnU-Net 3D", "nnunet_2d": "nnU-Net 2D",
                "nnunet_v2_2d": "nnU-Net V2 2D", "resunet_2d": "ResU-Net 2D", "deeplab": "DeepLabV3+",
                "unet_plus_plus": "U-Net++ 2D", "attention_unet": "Attention U-Net 3D"}
    ours = figures("word_networks")
    assert ours.pop("light_unet") == Published()
    assert ours == {key: theirs[f"{method}, full labels"] for key, method in networks.items()}
    scribbles = {"pce": "pCE", "crf": "pCE + CRF", "em": "pCE + EM", "ivm": "pCE + IVM", "em_ivm": "pCE + EM + IVM",
                 "dense": "full labels"}
    ours = figures("word")
    assert ours.pop("own") == Published()
    assert ours == {key: theirs[method] for key, method in scribbles.items()}


def test_shis_and_fangs_figures_are_those_of_the_reports():
    shi = {row.method: Published(row.dice, hausdorff=row.hausdorff) for row in PUBLISHED if row.source == SHI}
    names = {"full": "full set alone", "marginal": "marginal loss", "exclusion": "marginal + exclusion loss"}
    for key, method in names.items():
        assert figures("marginal")[key] == shi[method]
    assert (figures("shi_rivals")["pann"], figures("shi_rivals")["pipo"]) == (shi["PaNN"], shi["PIPO-FAN"])
    fang = {row.method: row.dice for row in PUBLISHED if row.source == FANG}
    for table in ("pipo", "pipo_networks"):
        assert figures(table)["btcv"].dice == fang["PIPO-FAN, BTCV alone"]
        assert figures(table)["all"].dice == fang["PIPO-FAN, all data sets"]


def test_shis_networks_of_one_organ_have_the_tables_means():
    """Tables 3 and 4, column "All": over the ten columns of four networks."""
    for stage, dice, hausdorff in ((2, 0.851, 10.73), (3, 0.900, 6.64)):
        columns = [SINGLE[organ][stage] for organ in SINGLE]
        assert np.mean([value for column in columns for value in column[0]]) == pytest.approx(dice, abs=5e-4)
        assert np.mean([value for column in columns for value in column[1]]) == pytest.approx(hausdorff, abs=5e-3)
    assert figures("shi_single")["liver_alone"] == Published(0.921, hausdorff=11.38)


@pytest.mark.parametrize("table", FOLDERS)
def test_finished_runs_of_the_papers_rows_stay_finished(table):
    """A setting that is added, or another default, must not repeat days of runs without anybody wanting it."""
    organs = TABLES[table].small_organs
    digests = {}
    for key in FOLDERS[table]:
        recipe = row_recipe(TABLES[table], row_of(table, key), SMALL, Path("0123456789ab.yaml"), 0)
        name = Run.in_folder(Path("runs"), key, 0, recipe, organs, organs, []).folder.name
        digests[key] = name.removeprefix(f"{key}-seed0-")
    assert digests == FOLDERS[table]


def test_tables_of_one_paper_share_their_runs(tmp_path, monkeypatch):
    """Table 5's row 1 : 2 and table 8's "none" are the run of marginal + exclusion, and are not trained again."""
    cases = [Reference(f"case{n:02}", tmp_path / f"{n}.nii.gz", tmp_path / f"label{n}.nii.gz") for n in range(12)]
    # The plan alone: what it is planned for need not be drawn and written.
    monkeypatch.setattr("reproduction.plan.phantom_references", lambda *_: cases)
    monkeypatch.setattr("reproduction.situations._label", lambda case, *_: case.labels)
    folders: dict[str, dict[str, Path]] = {}
    for key in ("marginal", "shi_weights", "shi_losses", "shi_rivals", "shi_missing", "pipo", "pipo_networks"):
        runs = make_plan(TABLES[key], SMALL, Choice(tmp_path, 1), Reporter()).runs
        folders[key] = {run.row: run.folder for run in runs}
    shared = {"shi_weights": ["marginal", "exclusion"], "shi_losses": ["full", "marginal", "exclusion"],
              "shi_rivals": ["exclusion"], "shi_missing": ["full", "exclusion"], "pipo_networks": ["btcv", "all"]}
    for key, rows in shared.items():
        original = folders[TABLES[key].runs_of]
        assert {row: folders[key][row] for row in rows} == {row: original[row] for row in rows}
        # And nothing else: other rows are other runs.
        assert len(set(folders[key].values()) & set(original.values())) == len(rows)


def test_fewer_and_fewer_patients_have_all_organs_annotated(tmp_path):
    """Table 6: the patients are the same in every row; of each row's single labels every organ has as many."""
    table = TABLES["shi_annotations"]
    cases = [Reference(f"case{n:02}", tmp_path / f"{n}.nii.gz", tmp_path / f"label{n}.nii.gz") for n in range(32)]
    place = situation(cases, SHI5.names, table.datasets, 3)
    patients = []
    for number, row in enumerate(table.rows):
        full, single = [], {}
        for dataset in table.datasets:
            if dataset.name not in row.datasets:
                continue
            names = [case.name for case in place.training[dataset.name]]
            if dataset.organs:
                single.setdefault(dataset.pooled_as, []).extend(names)
            else:
                full += names
        assert {organ: len(names) for organ, names in single.items()} == (
            {f"P {organ}": number for organ in SHI5.names} if number else {})
        assert len(full) == 24 - 5 * number
        patients.append(sorted(full + [name for names in single.values() for name in names]))
    assert all(names == patients[0] for names in patients)
    assert len(set(patients[0])) == 24


def test_pooled_sets_are_one_data_set_of_the_manifest(blocks, tmp_path):
    from reproduction.references import manifest_references

    organs = ("liver", "spleen")
    cases = manifest_references(tmp_path, blocks, organs, Reporter())
    table = TABLES["shi_annotations"]
    wanted = ("always", "1 liver full", "1 spleen", "2 spleen")
    sets = [dataset for dataset in table.datasets if dataset.name in wanted]
    # As the situation would deal them, a case each: five cases are too few for the whole table.
    place = replace(situation(cases, organs, table.datasets[:1], 0),
                    training={name: [case] for name, case in zip(wanted, cases, strict=False)})
    manifest = load_manifest(write_manifest(tmp_path, place, sets, organs))
    assert [case.dataset for case in manifest.cases] == ["F", "F", "P spleen", "P spleen"]
    assert [case.annotated for case in manifest.cases][2:] == [("spleen",), ("spleen",)]


def distinct_networks() -> dict[str, tuple[Table, Row]]:
    """A row of each network of the comparisons; the other tables' are tested by the recipes' tests."""
    rows: dict[str, tuple[Table, Row]] = {}
    for key in ("pipo_networks", "word_networks", "shi_rivals"):
        for row in TABLES[key].rows:
            recipe = row_recipe(TABLES[key], row, SMALL, Path("m.yaml"), 0)
            rows.setdefault(f"{recipe.network.name} {recipe.network.arguments}", (TABLES[key], row))
    return {f"{table.key}-{row.key}": (table, row) for table, row in rows.values()}


@pytest.mark.parametrize("name", distinct_networks())
def test_a_network_of_the_comparisons_learns_with_the_small_budget(name):
    """Its patch suits it, deep supervision its outputs, and a step changes every weight that the stage trains."""
    table, row = distinct_networks()[name]
    recipe = row_recipe(table, row, SMALL, Path("m.yaml"), 0)
    space = label_space_of_names("benchmark", [organ for organ in table.small_organs if organ in
                                               (row.organs or table.small_organs)])
    torch.manual_seed(0)
    network = build_network(recipe.network.name, 1, space.class_count, **recipe.network.arguments).train()
    stage = recipe.resolved_stages()[0]
    if stage.phase is not None:
        next(module for module in network.modules() if getattr(module, "PHASES", ())).phase = stage.phase
    generator = np.random.default_rng(0)
    depth, height, width = recipe.preprocessing.patch_zyx
    multiple = size_multiple_of(network)
    assert (depth % multiple[0], height % multiple[1], width % multiple[2]) == (0, 0, 0)
    # Two patches of few slices: a whole mini-batch only takes longer.
    image = generator.normal(0, 1, (2, 1, min(depth, max(8, multiple[0])), height, width)).astype(np.float32)
    logits = network(torch.from_numpy(image))
    logits = logits if isinstance(logits, list) else [logits]
    margin = (slices_of(network) or 1) // 2  # slices without neighbours are not predicted
    depth = image.shape[2] - 2 * margin
    assert logits[0].shape == (2, space.class_count, depth, *image.shape[3:])
    singletons = np.eye(space.class_count, dtype=bool)
    codes = generator.integers(1, space.class_count + 1, (2, depth, *image.shape[3:]), np.uint8)
    case = batch(np.zeros(logits[0].shape, np.float32), codes, np.insert(singletons, 0, True, axis=0),
                 image=image[:, :, margin:image.shape[2] - margin])
    loss, _ = Objective(stage, space)(logits, case.targets)
    loss.backward()
    still = [name for name, value in network.named_parameters() if value.grad is None and "fusion" not in name]
    assert still == []


def test_a_report_has_the_papers_distances_beside_ours(tmp_path):
    table = TABLES["word"]
    dice = {"a": {"liver": 0.5}}
    results: Mapping[str, Mapping[int, Result]] = {
        "pce": {0: Result(dice, 0.2, {"a": {"liver": 12.0}}, {"a": {"liver": 20.0}})},
        "own": {0: Result(dice, 0.2, {"a": {"liver": 11.0}}, {"a": {"liver": 21.0}})}}
    setting = Setting("command", "machine", "data", "material", "budget", "day", [0, 1])
    text = write_report(tmp_path, table, table.rows, results, setting)[0].read_text(encoding="utf-8")
    assert "| seeds | 0 |" in text  # the other one is still to come
    assert "| pCE | scribble_pce | scribbles | 0.500 | 0.721 | 12.0 | 27.1 | 20.0 |  |" in text
    assert "| partialorganseg | partialorganseg | scribbles | 0.500 |  | 11.0 |  | 21.0 |  |" in text


def test_the_recipes_sizes_in_testing_are_used_for_the_figures(monkeypatch, tmp_path):
    """Zhou 2019, section 4.1: the same six sizes in testing; without them the 2D rows would be figures of one size."""
    asked: list[tuple[float, ...]] = []

    class Stopped(Exception):
        pass

    def predictor(bundle: object, device: str, scales: tuple[float, ...] = (1.0,)) -> None:
        asked.append(tuple(scales))
        raise Stopped

    monkeypatch.setattr("reproduction.runs.Predictor", predictor)
    monkeypatch.setattr("reproduction.runs.load_bundle", lambda path: None)
    for budget in (FULL, SMALL):
        recipe = row_recipe(TABLES["pann_2d"], TABLES["pann_2d"].rows[0], budget, tmp_path / "m.yaml", 0)
        with pytest.raises(Stopped):
            Run("row", 0, recipe, [], [], [], tmp_path)._measured("cpu")
    assert asked == [(0.75, 1.0, 1.25, 1.5, 1.75, 2.0), (1.0,)]
