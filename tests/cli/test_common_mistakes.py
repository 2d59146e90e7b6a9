"""Common mistakes of users: one line with the file, the problem and the fix."""

import os
from pathlib import Path

import numpy as np
import pytest

from cryofs.fuse.control import is_mounted
from tests.cli.error_lines import error_line
from tests.cli.mistakes import MISTAKES, Mistake
from tests.support import SHAPE, header, run_in_process


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_is_one_line_with_a_remedy(here: Path, mistake: Mistake) -> None:
    mistake.prepare()
    line = error_line(run_in_process(*mistake.command.split(), check=False), mistake.code)
    for part in mistake.message:
        assert part in line
    assert not any(is_mounted(here / place) for place in ("mnt", "archive", "archive/mnt", "."))


def test_unsuitable_gain_is_reported_for_each_movie(here: Path) -> None:
    ones = header((1, *SHAPE), 2) + np.ones(SHAPE, "<f4").tobytes()
    Path("ones.gain.mrc").write_bytes(ones)
    for name, reason in (
        ("small", "size mismatch: expected 300 x 257, got 5 x 6"),
        ("ones", "it does not yield counts"),
    ):
        done = run_in_process("compress", "session", "-o", name, "--gain", f"{name}.gain.mrc")
        (line, *_) = [line for line in done.stderr.splitlines() if "given gain reference" in line]
        assert "session/0.mrc" in line
        assert reason in line
        assert "--gain auto" in line


def test_verify_without_any_checksum_is_an_error(here: Path) -> None:
    for command in (["verify", "session"], ["verify", "session", "--json"], ["verify", "mnt"]):
        line = error_line(run_in_process(*command, check=False))
        assert "no file has a checksum; pass the archive (-o of cryofs compress)" in line


def test_session_of_copied_files(here: Path) -> None:
    assert "0 movies, 0 failed, 0 skipped, 1 copied" in run_in_process("compress", "eer", "-o", "new").stdout
    assert "copied" not in run_in_process("compress", "eer", "-o", "new", "--only-do-unfinished").stdout
    assert "0 movies good, 0 failed, 1 other files good" in run_in_process("verify", "new").stdout


def test_stats_without_archived_movies(here: Path) -> None:
    assert "no archived movies found; pass the folder" in run_in_process("stats", "session").stdout


@pytest.mark.parametrize("command", ["report archive -o", "preview session/0.mrc -o"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_result_replaces_only_regular_files(here: Path, command: str, kind: str) -> None:
    result = here / "result.png"
    if kind == "folder":
        result.mkdir()
    elif kind == "pipe":
        os.mkfifo(result)
    else:
        result.symlink_to("pipe")
        os.mkfifo(here / "pipe")
    before = result.lstat()
    line = error_line(run_in_process(*command.split(), result, check=False))
    assert "pass the path of a regular or new file" in line
    assert str(result) in line
    assert (result.lstat().st_mode, result.lstat().st_ino) == (before.st_mode, before.st_ino)


@pytest.mark.parametrize("arguments", [["verify", ""], ["compress", "", "-o", "new"], ["extract", "archive", "-o", ""]])
def test_empty_argument_is_an_error(here: Path, arguments: list[str]) -> None:
    line = error_line(run_in_process(*arguments, check=False), code=2)
    assert "empty argument" in line
    assert not (here / "new").exists()


@pytest.mark.parametrize("command", ["verify", "stats", "adopt"])
def test_pipe_is_neither_file_nor_folder(here: Path, command: str) -> None:
    os.mkfifo("pipe.tif")
    assert "pipe.tif: not a file or folder" in run_in_process(command, "pipe.tif", check=False).stderr


@pytest.mark.parametrize("command", ["comprss session -o new", "compress session -o new --gian auto"])
def test_closest_name_is_suggested(here: Path, command: str) -> None:
    done = run_in_process(*command.split(), check=False)
    assert done.returncode == 2
    assert ("compress" if "comprss" in command else "--gain") in done.stderr.splitlines()[-1]
