"""What a user of `segment` over many CTs relies on: finished by content, never half, in shards, with a table."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.batch.cases import Case, Entry, expand, named_cases, read_list
from PartialOrganSegLib.batch.claims import claimed
from PartialOrganSegLib.batch.cluster import _Crew, cores_each
from PartialOrganSegLib.batch.measuring import measured
from PartialOrganSegLib.batch.records import DONE, FAILED, Record, fingerprint, write_record
from PartialOrganSegLib.batch.run_table import COLUMNS, write_run_table
from PartialOrganSegLib.batch.sharding import Shard
from PartialOrganSegLib.batch.work import Batch, Outcome
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.geometry import Volume
from PartialOrganSegLib.organs import WORD16

KINDS = (".labels.nii.gz", ".preview.png", ".seg.nrrd", ".volumes.csv")
UNLUCKY = 13  # slices of a CT that cannot be segmented


class SoftTissueIsLiver:
    """Stands in for the predictor; counts the CTs."""

    segmented = 0

    def __init__(self, bundle, device="auto", mirror=False, scales=(1.0,)) -> None:
        self.bundle = bundle

    def predict(self, ct, organs=None, reporter=None):
        if ct.array.shape[0] == UNLUCKY:
            raise RuntimeError("unlucky number")
        type(self).segmented += 1
        labels = ((ct.array > 0) & (ct.array < 200)).astype(np.uint8)
        return SimpleNamespace(labels=Volume(labels, ct.grid), entropy={"liver": 0.1})


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path) -> Path:
    """The checksums of a model that takes no time."""
    folder = tmp_path / "model"
    (folder / "configs").mkdir(parents=True)
    checksums = folder / "configs" / "checksums.json"
    checksums.write_text("{}")
    monkeypatch.setattr("PartialOrganSegLib.inference.predictor.Predictor", SoftTissueIsLiver)
    monkeypatch.setattr("PartialOrganSegLib.models.bundle.load_bundle",
                        lambda name: SimpleNamespace(name=name, label_space=WORD16, folder=folder))
    SoftTissueIsLiver.segmented = 0
    return checksums


def write_ct(path: Path, slices: int = 20, hu: int = 60) -> Path:
    array = np.full((slices, 24, 24), -1000, np.int16)
    array[4:-4, 4:-4, 4:-4] = hu
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def write_cts(folder: Path, names: str = "abc", slices: int = 20) -> Path:
    """A CSV of small CTs that differ."""
    for number, name in enumerate(names):
        write_ct(folder / f"{name}.nii.gz", slices, hu=40 + number)
    return write_list(folder / "cases.csv", "image", *(f"{name}.nii.gz" for name in names))


def write_list(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def segmented(*words: object) -> int:
    """How many CTs the predictor saw while the command ran; it must have ended well."""
    before = SoftTissueIsLiver.segmented
    assert main(["segment", *map(str, words), "--no-preview"]) == 0
    return SoftTissueIsLiver.segmented - before


def table(output: Path) -> dict[str, dict[str, str]]:
    with open(output / "run_table.csv", encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def hidden(output: Path) -> list[Path]:
    return [path for path in output.rglob("*") if path.name.startswith(".") or path.suffix == ".lock"]


# Which CTs

def test_csv_says_where_results_go_and_which_series(tmp_path):
    path = write_list(tmp_path / "x.csv", "image, output, series", "ct/a.nii.gz,site-a/0001,", "b,,2", "", "/c.mha,c,")
    assert read_list(path, Reporter()) == [
        Entry(tmp_path / "ct/a.nii.gz", "site-a/0001"), Entry(tmp_path / "b", None, "2"), Entry(Path("/c.mha"), "c")]


def test_csv_as_german_spreadsheets_write_it(tmp_path):
    path = tmp_path / "fälle.csv"
    path.write_bytes("\ufeffimage;series\r\nbüro 1.nii.gz;\r\n".encode())
    assert read_list(path, Reporter()) == [Entry(tmp_path / "büro 1.nii.gz")]


@pytest.mark.parametrize(("lines", "message"), [
    (["image,ouput", "a,b"], r"found 'ouput' \(did you mean 'output'\?\)"),
    (["output", "a"], "expected a column 'image', found output"),
    ([""], "expected a column 'image', found an empty file"),
    (["image"], "expected a CT a line, found none"),
    (["image,output", ",b"], "line 2: expected an image, found none"),
    (["image", "a,b"], "line 2: expected 1 values, found more"),
])
def test_wrong_csv_is_told_in_a_line(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        read_list(write_list(tmp_path / "cases.csv", *lines), Reporter())


@pytest.mark.parametrize("output", ["../up", "/root", "a/.hidden", "a/", "..", "a:b", "x\\..\\y"])
def test_outputs_stay_in_the_output_folder(output):
    if output == "a/":  # a folder is a name as well
        assert named_cases([Entry(Path("ct"), output)], Reporter())[0].title == "a"
        return
    with pytest.raises(UserError, match="inside the output folder"):
        named_cases([Entry(Path("ct"), output)], Reporter())


def test_two_cts_with_one_output_are_refused():
    with pytest.raises(UserError, match="found 'x/A' twice"):
        named_cases([Entry(Path("1"), "x/a"), Entry(Path("2"), "x/A")], Reporter())


@given(st.lists(st.tuples(st.sampled_from(["a.nii.gz", "p/a.nii.gz", "q/A.mha", "b.nrrd"]),
                          st.sampled_from([None, "1", "2"])), max_size=12, unique=True))
def test_every_ct_has_a_name_of_its_own(asked):
    cases = named_cases([Entry(Path(path), None, series) for path, series in asked], Reporter())
    assert [str(case.path) for case in cases] == [path for path, _ in asked]
    assert len({case.title.casefold() for case in cases}) == len(cases)


def write_dicom(path: Path, last: int) -> None:
    """A file that starts as DICOM files do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + bytes([last]))


def test_own_results_among_the_inputs_are_no_cts(tmp_path):
    for number, name in enumerate("ab"):
        write_dicom(tmp_path / name / "0.dcm", number)
    for result in ("results/0.dcm", "earlier/a.seg.dcm", ".hidden/0.dcm", "a.rtstruct.dcm"):
        write_dicom(tmp_path / result, 7)
    (tmp_path / "a.labels.nii.gz").touch()
    entries, failures = expand([tmp_path], tmp_path / "results", Reporter())
    assert [entry.path.name for entry in entries] == ["a", "b"]
    assert not failures
    entries, failures = expand([tmp_path / "earlier"], tmp_path / "results", Reporter())
    assert not entries
    assert len(failures) == 1


def test_a_manifests_cases_are_called_as_it_says(tmp_path):
    write_ct(tmp_path / "a.nii.gz")
    manifest = write_list(tmp_path / "manifest.yaml", "label_space: word16", "datasets:",
                          "  - {name: x, kind: unlabelled, cases: [{image: a.nii.gz, name: first}]}")
    assert segmented(manifest, "-o", tmp_path / "out") == 1
    assert (tmp_path / "out" / "first.labels.nii.gz").is_file()


# Shards

@given(st.lists(st.integers(), max_size=40), st.integers(1, 20))
def test_shards_are_disjoint_complete_and_even(items, count):
    parts = [Shard.parse(f"{number}/{count}").of(items) for number in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == sorted(items)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "-1/4", "1", "a/b", "1/4/2", "", "²/4"])
def test_no_shard(text):
    with pytest.raises(ValueError, match="K/N"):
        Shard.parse(text)


def test_two_shards_make_one_table(tmp_path):
    cases = write_cts(tmp_path / "cts", "abcde")
    write_list(cases, *cases.read_text().split(), "missing.nii.gz")
    out = tmp_path / "out"
    assert main(["segment", str(cases), "-o", str(out), "--shard", "2/2"]) == 1
    assert set(table(out)) == {"b", "d", "missing"}
    assert main(["segment", str(cases), "-o", str(out), "--shard", "1/2"]) == 0
    rows = table(out)
    assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys("abcde", "done") | {"missing": "failed"}
    assert "found nothing there" in rows["missing"]["error"]
    assert SoftTissueIsLiver.segmented == 5


# Finished by content

def test_second_run_skips_what_is_finished(tmp_path, capsys):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    assert segmented(cases, "-o", out) == 3
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.name != "run_table.csv"}
    capsys.readouterr()
    assert segmented(cases, "-o", out) == 0
    assert "0 segmented, 3 finished before, 0 failed" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    row = table(out)["a"]
    assert tuple(row) == COLUMNS
    assert Path(row["input"]) == tmp_path / "cts" / "a.nii.gz"
    assert float(row["seconds"]) > 0
    assert int(row["peak_mib"]) > 50
    assert "spleen: not found" in row["checks"]
    assert not hidden(out)


def test_moved_and_touched_cts_are_still_finished(tmp_path):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    segmented(cases, "-o", out)
    moved = (tmp_path / "cts").rename(tmp_path / "elsewhere")
    os.utime(moved / "a.nii.gz")
    assert segmented(moved / "cases.csv", "-o", out) == 0


def test_changed_ct_of_the_same_size_and_time_is_made_anew(tmp_path):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    ct = tmp_path / "cts" / "a.nii"
    write_list(cases, "image", "a.nii", "b.nii.gz")
    write_ct(ct, hu=50)
    assert segmented(cases, "-o", out) == 2
    stamp, size = ct.stat(), ct.stat().st_size
    write_ct(ct, hu=51)
    os.utime(ct, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert ct.stat().st_size == size
    assert segmented(cases, "-o", out) == 1


def test_changed_model_or_setting_is_made_anew(tmp_path, model):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    assert segmented(cases, "-o", out) == 3
    assert segmented(cases, "-o", out, "--device", "cpu") == 0  # has no say in the result
    assert segmented(cases, "-o", out, "--organs", "spleen,liver") == 3
    assert segmented(cases, "-o", out, "--organs", "liver, spleen") == 0
    assert segmented(cases, "-o", out, "--organs", "liver,spleen", "--scales", "1,0.75") == 3
    model.write_text('{"weights": "others"}')
    assert segmented(cases, "-o", out, "--organs", "liver,spleen", "--scales", "1,0.75") == 3


def test_result_that_lacks_a_file_is_made_anew(tmp_path):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    segmented(cases, "-o", out)
    (out / "b.seg.nrrd").unlink()
    (out / "records" / "c.json").write_text('{"case": "c", "sta')
    assert segmented(cases, "-o", out) == 2
    assert main(["segment", str(cases), "-o", str(out)]) == 0  # now with previews
    assert sorted(path.name for path in out.glob("b.*")) == [f"b{kind}" for kind in KINDS]


def test_half_or_corrected_result_neither_counts_nor_is_lost(tmp_path, capsys):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    segmented(cases, "-o", out)
    (out / "b.labels.nii.gz").write_bytes((out / "b.labels.nii.gz").read_bytes()[:-20])
    (out / "c.seg.nrrd").write_text("corrected by hand")
    capsys.readouterr()
    assert main(["segment", str(cases), "-o", str(out), "--no-preview"]) == 1
    said = capsys.readouterr().err
    assert said.count("changed since it was written; --overwrite replaces it") == 2
    assert (out / "c.seg.nrrd").read_text() == "corrected by hand"
    assert table(out)["b"]["state"] == table(out)["c"]["state"] == "failed"
    assert segmented(cases, "-o", out, "--overwrite") == 2
    assert segmented(cases, "-o", out, "--overwrite") == 0


def test_result_changed_after_a_record_that_cannot_be_read_is_kept(tmp_path):
    cases, out = write_cts(tmp_path / "cts", "a"), tmp_path / "out"
    segmented(cases, "-o", out)
    record, result = out / "records" / "a.json", out / "a.seg.nrrd"
    record.write_text("damaged")
    result.write_text("corrected by hand")
    os.utime(result, ns=(0, record.stat().st_mtime_ns + 1_000_000_000))
    assert main(["segment", str(cases), "-o", str(out), "--no-preview"]) == 1
    assert result.read_text() == "corrected by hand"


def test_files_of_kinds_that_are_no_longer_made_go_unless_changed(tmp_path, model):
    cases, out = write_cts(tmp_path / "cts", "ab"), tmp_path / "out"
    assert main(["segment", str(cases), "-o", str(out)]) == 0
    (out / "b.preview.png").write_text("mine")
    model.write_text('{"weights": "others"}')
    assert segmented(cases, "-o", out) == 2
    assert [path.name for path in out.glob("*.preview.png")] == ["b.preview.png"]


# Without --resume

def test_plain_run_over_many_can_be_resumed(tmp_path, capsys):
    write_cts(tmp_path / "cts")
    out, words = tmp_path / "out", [tmp_path / "cts", "-o", tmp_path / "out"]
    assert segmented(*words) == 3
    assert main(["segment", *map(str, words), "--no-preview"]) == 1
    assert capsys.readouterr().err.count("found an earlier result; --resume keeps what is finished") == 3
    write_ct(tmp_path / "cts" / "b.nii.gz", hu=99)
    assert segmented(*words, "--resume") == 1
    assert segmented(*words, "--overwrite") == 3
    assert segmented(tmp_path / "cts" / "b.nii.gz", "-o", out, "--overwrite", "--organs", "liver") == 1
    assert segmented(*words, "--resume") == 1  # the record of b says that it is of other organs


def test_results_without_a_record_are_not_replaced(tmp_path, capsys):
    ct, out = write_ct(tmp_path / "a.nii.gz"), tmp_path / "out"
    assert main(["segment", str(ct), "-o", str(out), "--no-preview"]) == 0
    assert main(["segment", str(ct), "-o", str(out), "--no-preview", "--resume"]) == 1
    assert "a result that is not recorded" in capsys.readouterr().err


def test_failing_case_stops_no_other_and_is_tried_again(tmp_path, capsys):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    write_ct(tmp_path / "cts" / "b.nii.gz", slices=UNLUCKY)
    assert main(["segment", str(cases), "-o", str(out), "--no-preview"]) == 1
    assert "2 segmented, 0 finished before, 1 failed" in capsys.readouterr().out
    assert {name: row["state"] for name, row in table(out).items()} == {"a": "done", "b": "failed", "c": "done"}
    assert "unlucky number" in table(out)["b"]["error"]
    assert "Traceback" in (out / "partialorganseg.log").read_text(encoding="utf-8")
    write_ct(tmp_path / "cts" / "b.nii.gz")
    assert segmented(cases, "-o", out) == 1
    assert table(out)["b"]["error"] == ""


def test_what_concerns_every_case_is_told_once(tmp_path, monkeypatch, capsys):
    def absent(*_, **__):
        raise UserError("'cuda' is not among the devices")

    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    assert segmented(cases, "-o", out, "--shard", "1/3") == 1
    monkeypatch.setattr("PartialOrganSegLib.inference.predictor.Predictor", absent)
    assert main(["segment", str(cases), "-o", str(out), "--no-preview"]) == 1
    assert capsys.readouterr().err.splitlines() == ["error: 'cuda' is not among the devices"]
    assert {name: row["state"] for name, row in table(out).items()} == {"a": "done"}
    assert segmented(cases, "-o", out, "--shard", "1/3") == 0  # all finished: nothing is loaded


KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {testing!r})
import test_batch as here
import PartialOrganSegLib.commands.outputs as outputs
import PartialOrganSegLib.inference.predictor as predictor, PartialOrganSegLib.models.bundle as bundle
from PartialOrganSegLib.cli import main

replace, count = os.replace, 0

def replace_and_die(source, target):
    global count
    replace(source, target)
    count += Path(target).parent.name == "out" and Path(target).name != "run_table.csv"
    if count == {renames}:
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = replace_and_die
predictor.Predictor = here.SoftTissueIsLiver
bundle.load_bundle = lambda name: SimpleNamespace(name=name, label_space=here.WORD16, folder=Path({model!r}))
sys.exit(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("renames", [1, 4])
def test_killed_between_the_renames_of_a_case_is_made_anew(tmp_path, model, renames):
    """With 3 files a case, the first rename ends within case a, the fourth within case b; older results are there."""
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    segmented(cases, "-o", out)
    write_cts(tmp_path / "cts", slices=22)
    code = KILLED.format(testing=str(Path(__file__).parent), model=str(model.parent.parent), renames=renames)
    words = ["segment", str(cases), "-o", str(out), "--no-preview"]
    killed = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert hidden(out)
    assert segmented(cases, "-o", out) == (3 if renames == 1 else 2)
    assert not hidden(out)
    assert segmented(cases, "-o", out) == 0


# Fingerprints

def test_fingerprint_is_of_the_content(tmp_path):
    first = write_ct(tmp_path / "a.nii.gz")
    twin = tmp_path / "other name.nii.gz"
    twin.write_bytes(first.read_bytes())
    assert fingerprint(first) == fingerprint(twin)
    assert fingerprint(first) != fingerprint(write_ct(tmp_path / "b.nii.gz", hu=61))
    with pytest.raises(UserError, match="found nothing there"):
        fingerprint(tmp_path / "missing.nrrd")


@pytest.mark.parametrize(("name", "data"), [("a.mhd", "a.raw"), ("a.nhdr", "a.raw")])
def test_fingerprint_of_a_header_takes_its_voxels_in(tmp_path, name, data):
    path = write_ct(tmp_path / name)
    before = fingerprint(path)
    (tmp_path / "unrelated.txt").write_text("x")
    assert fingerprint(path) == before
    content = bytearray((tmp_path / data).read_bytes())
    content[-1] ^= 1
    (tmp_path / data).write_bytes(content)
    assert fingerprint(path) != before


def test_fingerprint_of_a_folder_is_of_its_dicom_files(tmp_path):
    for number, name in enumerate("ab"):
        write_dicom(tmp_path / f"{name}.dcm", number)
    before = fingerprint(tmp_path)
    (tmp_path / "a.dcm").rename(tmp_path / "z.dcm")
    (tmp_path / "results.csv").write_text("not an image")
    write_dicom(tmp_path / "results" / "x.seg.dcm", 7)
    write_dicom(tmp_path / ".partial-x-1" / "0.dcm", 7)
    assert fingerprint(tmp_path) == before
    write_dicom(tmp_path / "c.dcm", 7)
    assert fingerprint(tmp_path) != before


# Several processes

def test_a_case_in_other_hands_comes_last_and_is_then_finished(tmp_path):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    lock, held, release = out / "records" / "a.lock", threading.Event(), threading.Event()

    def other() -> None:
        with claimed(lock, wait=False) as mine:
            assert mine
            held.set()
            release.wait()

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    order: list[str] = []

    class Order(Reporter):
        def result(self, **facts) -> None:
            order.append(facts.get("name", ""))
            if order == ["b", "c"]:
                release.set()

    from PartialOrganSegLib.cli import build_parser
    from PartialOrganSegLib.commands import segment

    try:
        words = ["segment", str(cases), "-o", str(out), "--no-preview"]
        assert segment.run(build_parser().parse_args(words), Order()) == 0
    finally:
        release.set()
        thread.join()
    assert order == ["b", "c", "a", ""]


def test_where_nothing_can_be_locked_nobody_is_alone(tmp_path, monkeypatch):
    """What looks left over may be what a twin is writing."""
    def no_locks(handle) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    cases, out = write_cts(tmp_path / "cts", "a"), tmp_path / "out"
    twin, leftover = out / ".partial-a-twin", out / ".partial-a-left"
    twin.mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr("PartialOrganSegLib.batch.claims._lock", no_locks)
        assert segmented(cases, "-o", out) == 1
    assert twin.is_dir()
    twin.rename(leftover)
    assert segmented(cases, "-o", out, "--organs", "liver") == 1
    assert not leftover.exists()


def test_claims_are_exclusive(tmp_path):
    inside, most, together = [0], [0], threading.Lock()

    def work() -> None:
        for _ in range(5):
            with claimed(tmp_path / "x.lock", wait=True):
                with together:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                with together:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_run_table_written_while_records_appear_has_them_all(tmp_path):
    """Each writer records its cases and then writes the table, as shards that end at the same time do."""
    def shard(number: int) -> None:
        for case in range(5):
            write_record(tmp_path, Record(f"{number}-{case}", "ct", FAILED, {}, error="x"))
        write_run_table(tmp_path)

    threads = [threading.Thread(target=shard, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(table(tmp_path)) == 20


# Measuring, sharing out

def test_peak_memory_is_of_the_block():
    with measured() as before:
        pass
    with measured() as figures:
        block = np.ones(60 << 20, np.uint8)
        time.sleep(0.2)
        del block
    assert figures.peak_mib >= before.peak_mib + 50
    assert figures.seconds >= 0.2


@given(st.lists(st.tuples(st.integers(1, 16), st.integers(1, 16)), min_size=1, max_size=4), st.integers(1, 20))
def test_cores_each_fit_and_no_more_would(nodes, workers):
    def fit(cores: int) -> int:
        return sum(min(most, has // cores) for has, most in nodes)

    cores = cores_each(nodes, workers)
    assert cores == 0 or fit(cores) >= workers
    assert fit(cores + 1) < workers


def test_json_events_tell_of_every_case(tmp_path, capfd):
    cases, out = write_cts(tmp_path / "cts"), tmp_path / "out"
    assert main(["segment", str(cases), "-o", str(out), "--json-events"]) == 0
    results = [event for event in map(json.loads, capfd.readouterr().out.splitlines()) if event["event"] == "result"]
    assert [result.get("name") for result in results] == ["a", "b", "c", None]
    assert Path(results[0]["files"]["labelmap"]).is_file()
    assert results[0]["organs"][0]["organ"] == "liver"
    assert Path(results[-1]["table"]) == out / "run_table.csv"


# Without Ray: what the crew does when workers die

class Died(Exception):
    """Stands for Ray's error of a dead worker."""


class Raised(Exception):
    """Stands for Ray's error of a worker's exception."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("a whole coloured traceback")
        self.cause = cause


class InstantRay:
    """Stands in for Ray: a call is done when it is waited for; the oldest call is waited for first.

    `deadly` cases kill their worker, `elsewhere` ones do so once and are then somebody else's until they may be waited
    for, `wrong` ones raise; of the workers only the first `starts` start.
    """

    exceptions = SimpleNamespace(RayActorError=Died, RayTaskError=Raised)

    def __init__(self, deadly: str = "", elsewhere: str = "", wrong: str = "", starts: int = 99) -> None:
        self.deadly, self.elsewhere, self.wrong, self.starts, self.begun = deadly, elsewhere, wrong, starts, 0
        self.asked: list[str] = []

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 2.0}}]

    def remote(self, **_):
        return lambda worker: SimpleNamespace(remote=self._new)

    def _new(self, *_):
        self.begun += 1
        number = self.begun
        return SimpleNamespace(ready=SimpleNamespace(remote=lambda: (number, False)),
                               attend=SimpleNamespace(remote=lambda case, wait: (case, wait)))

    def wait(self, references, num_returns):
        return references[-1:], references[:-1]

    def get(self, reference):
        what, wait = reference
        if isinstance(what, int):
            if what > self.starts:
                raise Died("the actor died\nUserError: no such device\n")
            return None
        self.asked.append(what.name)
        if what.name in self.deadly or (what.name in self.elsewhere and what.name not in self.asked[:-1]):
            raise Died
        if what.name in self.wrong:
            raise Raised(UserError("the disk is full"))
        if what.name in self.elsewhere and not wait:
            return None
        return Outcome(what, Record(what.title, str(what.path), DONE, {}))


def crew(ray: InstantRay, output: Path, workers: int | None = 2) -> _Crew:
    return _Crew(ray, Batch(output, "", {}, False, False), None, workers, False, len(CASES))


CASES = [Case(Path(name), name) for name in "abcd"]


def test_case_that_kills_its_workers_fails_in_the_end(tmp_path):
    ray = InstantRay(deadly="b")
    outcomes = list(crew(ray, tmp_path).work_off(CASES, Reporter()))
    assert sorted(outcome.case.name for outcome in outcomes) == ["a", "b", "c", "d"]
    assert [outcome.record.error for outcome in outcomes if outcome.record.error] == ["b: 3 workers died of it"]
    assert ray.begun == 2 + 3
    assert write_run_table(tmp_path)
    assert table(tmp_path)["b"]["state"] == "failed"


def test_case_that_another_run_took_when_its_worker_died_comes_last(tmp_path):
    ray = InstantRay(elsewhere="a")
    outcomes = list(crew(ray, tmp_path, workers=1).work_off(CASES, Reporter()))
    assert [outcome.case.name for outcome in outcomes] == ["b", "c", "d", "a"]
    assert ray.asked == ["a", "a", "b", "c", "d", "a"]


def test_what_concerns_every_case_is_no_traceback(tmp_path):
    with pytest.raises(UserError, match=r"^the disk is full$"):
        list(crew(InstantRay(wrong="a"), tmp_path).work_off(CASES, Reporter()))


def test_workers_that_never_start_are_told(tmp_path):
    with pytest.raises(UserError, match="expected workers that start, found: UserError: no such device"):
        list(crew(InstantRay(starts=0), tmp_path).work_off(CASES, Reporter()))


def test_workers_that_start_do_without_the_others(tmp_path):
    told: list[str] = []
    reporter = Reporter()
    reporter.warning = told.append
    outcomes = list(crew(InstantRay(starts=1), tmp_path).work_off(CASES, reporter))
    assert sorted(outcome.case.name for outcome in outcomes) == ["a", "b", "c", "d"]
    assert [message.rpartition("; ")[2] for message in told] == ["the others go on"]


def test_more_workers_than_there_is_room_for(tmp_path):
    with pytest.raises(UserError, match="expected at most 2, one a core, found 3"):
        crew(InstantRay(), tmp_path, workers=3)
