"""The command line as a whole, and its small commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import SimpleITK as sitk

from PartialOrganSegLib import __version__, logfile
from PartialOrganSegLib.cli import COMMANDS, main


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    # Logs of the user who runs the tests stay as they are.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(tmp_path / "models"))


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + [["models", a] for a in
                                                                      ("list", "info", "verify", "install")])
def test_every_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "example:" in shown
    assert f"partialorganseg {' '.join(command)}" in shown.split("example:")[1]


@pytest.mark.parametrize("words", [["segment", "MISSING"], ["segment", "EMPTY"], ["export", "BROKEN", "--nifti"],
                                   ["scribble", "BROKEN"], ["evaluate", "BROKEN", "BROKEN"]])
def test_a_command_that_fails_leaves_no_empty_folder(words, tmp_path, capsys):
    places = {"MISSING": tmp_path / "nowhere", "EMPTY": tmp_path / "leer ü", "BROKEN": tmp_path / "x.nii.gz"}
    places["EMPTY"].mkdir()
    places["BROKEN"].write_bytes(b"no image")
    output = tmp_path / "new" / "Müller 1"
    assert main([*(str(places.get(word, word)) for word in words), "-o", str(output)]) == 1
    assert "error:" in capsys.readouterr().err
    assert not output.parent.exists()
    # One that was there before is the user's.
    output.mkdir(parents=True)
    assert main([*(str(places.get(word, word)) for word in words), "-o", str(output)]) == 1
    assert output.is_dir()


def test_help_and_version_import_nothing_heavy():
    code = ("import sys\nfrom PartialOrganSegLib.cli import main\ntry:\n    main(['--version'])\n"
            "except SystemExit: pass\nprint(sorted({'torch', 'numpy', 'SimpleITK', 'pydantic'} & set(sys.modules)))")
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == [f"partialorganseg {__version__}", "[]"]


@pytest.mark.parametrize("wrong", [[], ["segmant"], ["segment"], ["segment", "a.nii.gz"], ["doctor", "--device", "gpu"],
                                   ["phantom", "-o", "x", "--shape", "3,4"], ["phantom", "-o", "x", "--count", "0"],
                                   ["phantom", "-o", "x", "--seed", "-5"], ["phantom", "-o", "x", "--spacing", "1e-9"],
                                   ["models"], ["models", "list", "--json"]])
def test_wrong_use_is_one_line_and_2(wrong, capsys):
    assert main(wrong) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "--help" in captured.err


@pytest.mark.parametrize(("words", "subject"), [
    (["learn", ""], "word 2"), (["learn", "a", "-o", " "], "-o"), (["learn", "a", "--annotated="], "--annotated"),
    (["finetune", "--model", "", "--data", "a", "-o", "b"], "--model"), (["segment", "a", "-o", ""], "-o")])
def test_an_empty_word_is_refused(words, subject, tmp_path, monkeypatch, capsys):
    """What an unset variable of a script leaves: as a folder it would be the one at hand, as a list everything."""
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert capsys.readouterr().err == (f"error: {subject}: expected a value, found an empty one; is a variable of your "
                                       "script unset?\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [
    ["learn", "a", "--annotated", ", ,"], ["learn", "a", "--validate", ","],
    ["finetune", "-o", "a", "--validate", ","]])
def test_a_list_without_an_entry_is_refused(words, capsys):
    """It was taken as if the option were left out, which means all."""
    assert main(words) == 2
    assert "expected names separated by commas, found" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_device_is_an_option_where_a_network_runs(name, capsys):
    """Others took it, a wrong one as well, and it had no say in anything."""
    with pytest.raises(SystemExit):
        main([name, "--help"])
    runs_networks = name in ("segment", "serve", "refine", "rank", "doctor", "learn", "train", "finetune")
    assert ("--device" in capsys.readouterr().out) == runs_networks


def test_wrong_use_with_json_events(capfd):
    assert main(["segment", "--json-events"]) == 2
    captured = capfd.readouterr()
    assert json.loads(captured.out)["event"] == "error"
    assert captured.err == ""


def test_unforeseen_error_names_its_log(monkeypatch, capsys):
    def broken(*_):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(COMMANDS["doctor"], "run", broken)
    assert main(["doctor"]) == 1
    line, = capsys.readouterr().err.splitlines()
    assert line == f"error: ZeroDivisionError: division by zero; details: {logfile.user_log()}"
    assert "Traceback" in logfile.user_log().read_text(encoding="utf-8")


def test_log_that_cannot_be_written_goes_to_the_temporary_folder(tmp_path, monkeypatch):
    # A file where a folder should be: nothing can be written below it, by root either.
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert logfile.record(ValueError("x"), tmp_path / "file" / "log") == tmp_path / logfile.NAME


def test_doctor_tells_every_fact_in_a_line(capsys):
    code = main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok ", "problem ")) for line in lines)
    assert code == any(line.startswith("problem") for line in lines)
    for fact in ("Python", "packages", "memory", "model", "devices", "bfloat16"):
        assert any(fact in line for line in lines), fact


def test_doctor_says_when_a_device_is_missing(capsys):
    assert main(["doctor", "--device", "cuda:77"]) == 1
    assert "'cuda:77' is not among them" in capsys.readouterr().out


def test_models_unknown_name_and_missing_source(capsys):
    assert main(["models", "info", "embeded"]) == 1
    assert "unknown model 'embeded'" in capsys.readouterr().err
    assert main(["models", "install", "nowhere.zip"]) == 1
    assert "nowhere.zip" in capsys.readouterr().err


def test_models_verify_finds_a_changed_file(tmp_path, capsys):
    folder = tmp_path / "models" / "mine"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text("{}")
    (folder / "configs" / "checksums.json").write_text(json.dumps({"configs/metadata.json": "0" * 64}))
    assert main(["models", "verify", "mine"]) == 1
    assert "wrong checksum" in capsys.readouterr().err


def test_a_phantom_beyond_the_memory_is_one_line(tmp_path, capsys):
    assert main(["phantom", "-o", str(tmp_path / "größe"), "--shape", "99999"]) == 1
    assert "--shape: expected at most" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_phantoms_come_with_their_labels(tmp_path, capsys):
    out = tmp_path / "phantoms"
    command = ["phantom", "-o", str(out), "--shape", "48,40,56", "--spacing", "8,8,7", "--seed", "3", "--count", "2"]
    assert main(command) == 0
    for seed in (3, 4):
        for part in ("images", "labels"):
            image = sitk.ReadImage(str(out / part / f"phantom_{seed}.nii.gz"))
            assert image.GetSize() == (48, 40, 56)
            assert image.GetSpacing() == pytest.approx((8, 8, 7))
    assert main(command) == 1
    assert "--overwrite" in capsys.readouterr().err
