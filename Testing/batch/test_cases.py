"""Which CTs `segment` takes: from lists, folders and manifests, in shards, known by their content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.batch.case_list import Entry, read_list
from PartialOrganSegLib.batch.cases import expand, named_cases
from PartialOrganSegLib.batch.fingerprint import fingerprint
from PartialOrganSegLib.batch.sharding import Shard
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.json_file import read_json
from PartialOrganSegLib.yaml_file import read_yaml
from Testing.helpers.batch_data import quick_model, segmented, write_ct, write_dicom, write_list


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path) -> Path:
    return quick_model(monkeypatch, tmp_path / "model")


# Which CTs

def test_csv_says_where_results_go_and_which_series(tmp_path):
    path = write_list(tmp_path / "x.csv", "image, output, series", "ct/a.nii.gz,site-a/0001,", "b,,2", "", "/c.mha,c,")
    assert read_list(path, Reporter()) == [
        Entry(tmp_path / "ct/a.nii.gz", "site-a/0001"), Entry(tmp_path / "b", None, "2"), Entry(Path("/c.mha"), "c")]


def test_csv_as_german_spreadsheets_write_it(tmp_path):
    path = tmp_path / "fälle.csv"
    path.write_bytes("\ufeffimage;series\r\nbüro 1.nii.gz;\r\n".encode())
    assert read_list(path, Reporter()) == [Entry(tmp_path / "büro 1.nii.gz")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "sep=;"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_csv_as_spreadsheets_write_it(tmp_path, encoding, separator, line_end):
    """With and without a mark at its beginning, which UTF-16 always has; names hold what `splitlines` splits at."""
    path, between = tmp_path / "cases.csv", separator[-1]
    lines = [between.join(["image", "output", "series"]), between.join(["büro 1.nii.gz", "é\u2028x", ""]),
             between.join(["b", "", "2"])]
    if len(separator) > 1:
        lines.insert(0, separator)
    # Python's own encoding "utf-16" writes the mark itself.
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path.write_bytes((mark + line_end.join(lines) + line_end).encode(encoding))
    assert read_list(path, Reporter()) == [
        Entry(tmp_path / "büro 1.nii.gz", "é\u2028x"), Entry(tmp_path / "b", None, "2")]


@pytest.mark.parametrize("content", [
    "image;output;;\r\na b.nii;p1;;\r\n;;;\r\n", "image;output\ra b.nii;p1\r",
    "sep=|\nimage|output|\na b.nii|p1\n\n||\n",
    "image;output\na b.nii;p1;;\n", "image\toutput\t\n\t\t\na b.nii\tp1\n"])
def test_empty_columns_and_lines_of_spreadsheets_do_not_count(tmp_path, content):
    path = tmp_path / "cases.csv"
    path.write_bytes(content.encode())
    assert read_list(path, Reporter()) == [Entry(tmp_path / "a b.nii", "p1")]


@pytest.mark.parametrize("content", ["image\nmüller.nii.gz\n".encode("latin-1"), b"image\na\0.nii.gz\n\xff"])
def test_a_csv_that_cannot_be_read_is_one_line(tmp_path, content):
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cases\.csv.*expected a CSV") as error:
        read_list(path, Reporter())
    assert "\n" not in str(error.value)


def test_a_cell_of_any_length_is_one_ct_that_fails(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text(f"image\na.nii.gz\n{'x' * 200_000}\nb.nii.gz\n")
    entries = read_list(path, Reporter())
    assert [entry.path.name for entry in entries][::2] == ["a.nii.gz", "b.nii.gz"]
    assert not os.path.exists(entries[1].path)
    assert len(entries[1].path.name) < 1000


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such device")
@pytest.mark.parametrize("reader", [lambda path: read_list(path, Reporter()), lambda path: read_yaml(path, "recipe"),
                                    lambda path: read_json(path, "strokes")])
def test_a_device_without_end_is_one_line(reader):
    """/dev/zero has no size that could be looked at first."""
    with pytest.raises(UserError, match=r"/dev/zero: expected .* MiB, found more"):
        reader(Path("/dev/zero"))


@pytest.mark.parametrize(("lines", "message"), [
    (["image,ouput", "a,b"], r"found 'ouput' \(did you mean 'output'\?\)"),
    (["output", "a"], "expected a column 'image', found output"),
    ([""], "expected a column 'image', found an empty file"),
    (["image"], "expected a CT a line, found none"),
    (["image,output", ",b"], "line 2: expected an image, found none"),
    (["image", "a,b"], "line 2: expected 1 values, found more"),
    (["image,,output", "a,,b"], "expected the columns image, output, series, found ''"),
    (["image,output,image", "a,,b"], "expected columns of different names, found 'image' twice"),
    (["image,output,,", "a,b,,x"], "line 2: expected 2 values, found more"),
])
def test_wrong_csv_is_told_in_a_line(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        read_list(write_list(tmp_path / "cases.csv", *lines), Reporter())


@pytest.mark.parametrize("output", ["../up", "/root", "a/.hidden", "a/", "..", "x\\..\\y"])
def test_outputs_stay_in_the_output_folder(output):
    if output == "a/":  # a folder is a name as well
        assert named_cases([Entry(Path("ct"), output)], Reporter())[0].title == "a"
        return
    with pytest.raises(UserError, match="inside the output folder"):
        named_cases([Entry(Path("ct"), output)], Reporter())


@pytest.mark.parametrize("output", ["a:b", "NUL", "aux/a", "a/con.txt", "com1", "LPT\u00b2.x", "nul .x", "a.", "b./c",
                                    "b /c", "x\ny", "a\tb", "a\0", "l" * 201])
def test_outputs_that_windows_cannot_hold_are_refused(output):
    with pytest.raises(UserError, match="names that every system can hold") as raised:
        named_cases([Entry(Path("ct"), output)], Reporter())
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("output", ["console", "com", "nullity.1/a b", "lpt10", "~", "\u00fc.x", "l" * 200])
def test_outputs_that_every_system_can_hold(output):
    assert named_cases([Entry(Path("ct"), output)], Reporter())[0].title == output


@pytest.mark.parametrize(("first", "second"), [("x/a", "x/A"), ("\u00e9", "e\u0301"), ("e\u0301", "\u00c9")])
def test_two_cts_with_one_output_are_refused(first, second):
    with pytest.raises(UserError, match="twice"):
        named_cases([Entry(Path("1"), first), Entry(Path("2"), second)], Reporter())


def test_cts_whose_names_are_one_file_on_some_system_get_others():
    cases = named_cases([Entry(Path("p/\u00e9.nii")), Entry(Path("q/e\u0301.nii"))], Reporter())
    assert [case.name for case in cases] == ["p_\u00e9", "q_e\u0301"]


@given(st.lists(st.tuples(st.sampled_from(["a.nii.gz", "p/a.nii.gz", "q/A.mha", "b.nrrd"]),
                          st.sampled_from([None, "1", "2"])), max_size=12, unique=True))
def test_every_ct_has_a_name_of_its_own(inputs):
    cases = named_cases([Entry(Path(path), None, series) for path, series in inputs], Reporter())
    assert [str(case.path) for case in cases] == [path for path, _ in inputs]
    assert len({case.title.casefold() for case in cases}) == len(cases)


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
