"""Commands: help, exit codes, errors on one line, and JSON on standard output."""

import json
import os
from pathlib import Path

import pytest

from benchmarks.simulate_eer import Widths, random_frames, write_eer
from tests.support import cryofs, left_draft, run_in_process, simulated

EER_MISUSES = (
    "--eer-grouping 8",
    "--eer keep --eer-gain x.gain",
    "--eer tiff --eer-grouping 8 --eer-dose-per-fraction 1",
    "--eer tiff --eer-upsampling 3",
    "--eer tiff --eer-crop 1",
    "--eer tiff --eer-upsampling 2 --eer-crop 2",
    "--eer tiff --eer-upsampling 4 --eer-crop 3",
    "--eer tiff --eer-upsampling 4 --eer-crop 2 --eer-dtype uint16",
    "--eer mrc",
    "--eer tiff --eer-dose-per-fraction nan",
    "--eer tiff --eer-dose-per-fraction 0",
)
COMMANDS = (
    "mount",
    "umount",
    "compress",
    "adopt",
    "estimate-gain",
    "check-gain",
    "verify",
    "compare",
    "ingest",
    "extract",
    "info",
    "ingest",
    "preview",
    "report",
    "stats",
    "trajectory",
    "config",
    "doctor",
    "warm",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    output = cryofs(command, "--help").stdout
    assert f"Example: cryofs {command} " in " ".join(output.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["unknown"],
        ["compare", "x"],
        ["compare", "x", "y", "--trust-storage"],
        ["compress"],
        ["compress", "x"],
        ["mount", "only-one"],
        ["compress", "x", "-o", "y", "--jobs", "0"],
    ]
    + [["compress", "x", "-o", "y", *options.split()] for options in EER_MISUSES]
    + [
        ["mount", "x", "y", "--eer-upsampling", "3"],
        ["mount", "x", "y", "--eer-crop", "4"],
        ["mount", "x", "y", "--eer-dtype", "int32"],
    ],
)
def test_usage_errors_exit_with_2(arguments: list[str]) -> None:
    done = run_in_process(*arguments, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_invalid_choice_is_reported_with_the_valid_ones() -> None:
    done = run_in_process("compress", "x", "-o", "y", "--compression", "zip", check=False)
    assert "'--compression': 'zip' is not one of 'auto', 'lzw', 'deflate', 'none'" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress", "nowhere.mrc", "-o", "archive"],
        ["info", "nowhere"],
        ["verify", "nowhere"],
        ["compare", "nowhere", "."],
        ["umount", "x"],
        ["stats", "nowhere"],
        ["doctor", "nowhere"],
    ],
)
def test_errors_are_one_line_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_in_process(*arguments, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("cryofs: ")
    assert arguments[1] in line


def test_debug_prints_the_traceback(tmp_path: Path) -> None:
    done = cryofs("info", tmp_path / "nowhere", "--debug", check=False)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_json_is_the_only_standard_output(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "movie.mrc", frames=20)
    (tmp_path / "session" / "bad.mrc").write_bytes(b"not a movie")
    archive = tmp_path / "archive"
    done = run_in_process("compress", tmp_path / "session", "-o", archive, "--json", "--strict", check=False)
    assert done.returncode == 1
    assert "bad.mrc" in done.stderr
    summary = json.loads(done.stdout)
    figures = {
        "movies",
        "failed",
        "skipped",
        "replaced",
        "suspect",
        "copied",
        "up_to_date",
        "kept_plain",
        "packed",
        "links_outside",
        "unfinished",
        "original_bytes",
        "stored_bytes",
        "ratio",
        "seconds",
    }
    assert set(summary) == figures
    assert (summary["movies"], summary["failed"], summary["skipped"]) == (1, 1, 0)
    assert summary["ratio"] == summary["stored_bytes"] / summary["original_bytes"]

    facts = json.loads(run_in_process("info", archive / "movie.mrc.tif", "--json").stdout)
    assert facts["shape"] == [20, 300, 257]
    assert (facts["format"], facts["dtype"], facts["mode"], facts["compression"]) == ("cryofs", "float32", 2, "deflate")
    assert facts["stored_bytes"] == summary["stored_bytes"]
    assert facts["original"]["name"] == "movie.mrc"
    assert facts["original"]["bytes"] == summary["original_bytes"]

    assert json.loads(run_in_process("verify", archive, "--json").stdout)["movies"] == 1
    stats = json.loads(run_in_process("stats", archive, "--json").stdout)
    assert (stats["movies"], stats["original_bytes"], stats["ratio"]) == (
        1,
        summary["original_bytes"],
        summary["ratio"],
    )


def test_info_on_a_plain_movie(tmp_path: Path) -> None:
    facts = json.loads(run_in_process("info", simulated(tmp_path / "movie.mrc"), "--json").stdout)
    assert (facts["format"], facts["shape"], facts["ratio"]) == ("mrc", [12, 300, 257], 1.0)


def test_verify_finds_damage_and_extract_refuses_it(tmp_path: Path) -> None:
    for number in range(2):
        simulated(tmp_path / "session" / f"{number}.mrc", seed=number)
    archive = tmp_path / "archive"
    run_in_process("compress", tmp_path / "session", "-o", archive)
    damaged = bytearray((archive / "0.mrc.tif").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (archive / "0.mrc.tif").write_bytes(damaged)
    done = run_in_process("verify", archive, check=False)
    assert done.returncode == 1
    assert "0.mrc.tif" in done.stderr
    assert "1 movies good, 1 failed" in done.stdout
    done = run_in_process("extract", archive, "-o", tmp_path / "restored", check=False)
    assert done.returncode == 1
    assert [path.name for path in (tmp_path / "restored").iterdir()] == ["1.mrc"]
    assert (tmp_path / "restored" / "1.mrc").read_bytes() == (tmp_path / "session" / "1.mrc").read_bytes()


def test_a_list_of_archived_movies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        simulated(tmp_path / "session" / f"{number}.mrc", seed=number)
    run_in_process("compress", "session", "-o", "archive")
    Path("some.lst").write_text("archive/1.mrc.tif\n")
    Path("archive/originals.lst").write_text("0.mrc\n1.mrc\n")
    assert "1 movies good" in run_in_process("verify", "some.lst").stdout
    assert "2 movies good" in run_in_process("verify", "archive/originals.lst").stdout
    run_in_process("extract", "some.lst", "-o", "restored")
    assert Path("restored/archive/1.mrc").read_bytes() == Path("session/1.mrc").read_bytes()


def test_info_and_fractions_of_an_eer_file(tmp_path: Path) -> None:
    widths, shape = Widths(), (64, 80)
    (tmp_path / "session").mkdir()
    write_eer(tmp_path / "session" / "x.eer", random_frames(20, shape, 0.02, widths), shape, widths)
    eer, given = tmp_path / "session" / "x.eer", ["--eer-pixel-size", 0.8, "--eer-dose"]
    facts = json.loads(run_in_process("info", eer, *given, 15, "--json").stdout)
    assert (facts["format"], facts["shape"], facts["groupings"]) == ("eer", [20, 64, 80], [1, 1])
    output = run_in_process("info", eer, *given, 5).stdout
    assert "2 to 5 frames, for fractions of 0.5 to 1.25 e/A^2" in output
    lines = run_in_process("info", tmp_path / "session", *given, 5).stdout.splitlines()
    assert lines[1].split() == ["x.eer", "20", "-", "0.25", "5", "given"]
    fm_int = run_in_process("info", eer, "--motioncor-fm-int", "--eer-grouping", 8, *given, 5)
    assert (fm_int.stdout, "the 4 frames that do not fill a fraction" in fm_int.stderr) == ("20 8 0.25\n", True)
    options = ["--eer", "tiff", "--eer-grouping", 5, "--eer-upsampling", 2]
    options += ["--eer-dtype", "uint16", "--eer-leftover", "keep", "--json"]
    summary = json.loads(run_in_process("compress", tmp_path / "session", "-o", tmp_path / "archive", *options).stdout)
    assert (summary["movies"], summary["original_bytes"]) == (1, (tmp_path / "session" / "x.eer").stat().st_size)
    facts = json.loads(run_in_process("info", tmp_path / "archive" / "x.mrc.tif", "--json").stdout)
    assert (facts["shape"], facts["mode"]) == ([4, 128, 160], 6)
    assert json.loads(run_in_process("verify", tmp_path / "archive", "--json").stdout)["movies"] == 1


def test_names_that_are_not_valid_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff.mrc")
    session, archive = tmp_path / "session", tmp_path / "archive"
    simulated(session / "ok.mrc", frames=4)
    simulated(session / name, frames=4, seed=1)
    (tmp_path / "page.html").write_text("old")
    (tmp_path / "gain").mkdir()
    left_draft(tmp_path / "gain")
    for arguments in (
        ["compress", session, "-o", archive],
        ["info", session / name],
        ["info", archive / f"{name}.tif", "--json"],
        ["estimate-gain", session, "-o", tmp_path / "gain"],
        ["preview", archive / f"{name}.tif", "-o", tmp_path / "x.png"],
        ["report", archive, "-o", tmp_path / "page.html"],
        ["verify", archive],
        ["extract", archive, "-o", tmp_path / "restored"],
    ):
        # its streams take UTF-8 alone
        done = run_in_process(*arguments, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (arguments, done.stderr)
    assert "bad\\xff.mrc" in (tmp_path / "page.html").read_text()
    assert not list((tmp_path / "gain").glob(".cryofs-draft-*"))
    assert (tmp_path / "restored" / name).read_bytes() == (session / name).read_bytes()


def test_compare_prints_figures_and_lists(tmp_path: Path) -> None:
    source, archive = tmp_path / "session", tmp_path / "archive"
    simulated(source / "m.mrc", frames=4)
    for name in ("equal", "edited", "line\nbreak"):
        (source / name).write_text("300 kV")
    run_in_process("compress", source, "-o", archive)
    assert run_in_process("compare", source, archive).stdout == "4 equal, 0 differing, 0 missing, 0 failed\n"
    (source / "edited").write_text("200 kV")
    (source / "new").touch()
    (source / "line\nbreak").unlink()
    done = run_in_process("compare", source, archive, "--json", check=False)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert {name: found[name] for name in ("equal", "differing", "missing", "removed", "failed")} == {
        "equal": 2,
        "differing": 1,
        "missing": 2,
        "removed": 0,
        "failed": 0,
    }
    assert found["files"]["missing"] == [
        {"path": str(archive / "line\nbreak"), "side": "source", "reason": ""},
        {"path": str(source / "new"), "side": "archive", "reason": ""},
    ]
    lines = done.stderr.splitlines()
    assert lines[:2] == [f"{archive}/line\\nbreak: not in SOURCE", f"{source / 'new'}: not in the archive"]
    assert lines[2].startswith(f"{source / 'edited'}: differs from the archive (")
    done = run_in_process("compare", source, archive, "--remove-source", check=False)
    assert done.returncode == 1
    assert done.stdout == "2 equal, 1 differing, 1 missing, 0 failed, 2 removed, 0 not removed, 1 only in the archive\n"
    assert sorted(path.name for path in source.iterdir()) == ["edited", "new"]


def test_extract_with_overwrite(tmp_path: Path) -> None:
    (tmp_path / "session").mkdir()
    (tmp_path / "session" / "notes.txt").write_text("300 kV")
    run_in_process("compress", tmp_path / "session", "-o", tmp_path / "archive")
    (tmp_path / "session" / "notes.txt").write_text("edited")
    done = run_in_process("extract", tmp_path / "archive", "-o", tmp_path / "session", check=False)
    assert done.returncode == 1
    assert "notes.txt: already exists and differs" in done.stderr
    assert (tmp_path / "session" / "notes.txt").read_text() == "edited"
    run_in_process("extract", tmp_path / "archive", "-o", tmp_path / "session", "--overwrite")
    assert (tmp_path / "session" / "notes.txt").read_text() == "300 kV"
