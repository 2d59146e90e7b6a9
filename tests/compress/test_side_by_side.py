"""Runs into one archive at the same time: each movie is stored once or twice, and the last good one stays."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cryofs.compress import movie_task
from cryofs.compress.movie_task import Archiver, CompressOptions
from cryofs.storage import changes
from cryofs.storage.archive_lock import LOCK_NAME
from tests.support import Reported, archive, assert_verified, names, restored, same_archive, same_tree, simulated

OPTIONS = CompressOptions(jobs=1)
AGAIN = replace(OPTIONS, only_do_unfinished=True)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    for number in range(3):
        simulated(tmp_path / "session" / f"{number}.mrc", seed=number)
    (tmp_path / "session" / "notes.txt").write_text("300 kV")
    return tmp_path / "session"


def once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, before: Callable[[], object]) -> None:
    """Call a function before the first call of another."""
    real = getattr(owner, name)
    waiting = [before]

    def called(*arguments: Any, **options: Any) -> Any:
        while waiting:
            waiting.pop()()
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, called)


def test_whether_a_movie_is_done_is_asked_when_it_begins(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "archive"
    other: list[dict[str, int]] = []

    def inodes() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in target.iterdir() if path.name != LOCK_NAME}

    def run_completely() -> None:
        archive(session, target, OPTIONS)
        other.append(inodes())

    once(monkeypatch, Archiver, "store", run_completely)
    summary, reported = archive(session, target, AGAIN)
    assert not reported.errors
    assert (summary.movies, summary.skipped) == (0, 3)
    assert reported.counted_frames == reported.expected_frames
    assert other == [inodes()]


@pytest.mark.parametrize("options", [OPTIONS, AGAIN])
def test_a_movie_that_another_run_stores_meanwhile_stays(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: CompressOptions
) -> None:
    target = tmp_path / "archive"
    once(monkeypatch, movie_task, "archive_movie", lambda: archive(session, target, OPTIONS))
    kept: list[int] = []
    finish = Reported.frames

    def frames(self: Reported, count: int) -> None:
        if (target / "0.mrc.tif").exists() and not kept:
            kept.append((target / "0.mrc.tif").stat().st_ino)
        finish(self, count)

    monkeypatch.setattr(Reported, "frames", frames)
    summary, reported = archive(session, target, options)
    assert not reported.errors
    assert summary.skipped == (3 if options.only_do_unfinished else 1)
    assert (target / "0.mrc.tif").stat().st_ino == kept[0]
    assert_verified(target, 3)
    same_tree(session, restored(target, tmp_path / "restored"))


def test_a_movie_is_not_published_over_something_else(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "archive"

    def another_original() -> None:
        (tmp_path / "elsewhere").mkdir()
        simulated(tmp_path / "elsewhere" / "0.mrc", seed=77)
        archive(tmp_path / "elsewhere", target, OPTIONS)

    once(monkeypatch, movie_task, "archive_movie", another_original)
    summary, reported = archive(session, target, OPTIONS)
    assert (summary.movies, summary.failed) == (2, 1)
    assert "written by another program while" in str(reported.errors[session / "0.mrc"])
    assert (restored(target, tmp_path / "restored") / "0.mrc").read_bytes() == (
        tmp_path / "elsewhere" / "0.mrc"
    ).read_bytes()


def test_a_source_that_changes_while_it_is_read_is_not_published(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced() -> None:
        simulated(session / "new", seed=5).replace(session / "0.mrc")

    once(monkeypatch, movie_task, "archive_movie", replaced)
    _, reported = archive(session, tmp_path / "archive", OPTIONS)
    assert list(reported.errors) == [session / "0.mrc"]
    assert "0.mrc.tif" not in names(tmp_path / "archive")


@pytest.mark.parametrize("code", [errno.EPERM, errno.EIO, errno.EOPNOTSUPP])
def test_a_reference_has_its_content_name_without_hard_links(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(changes.disk, "link", link)
    _, reported = archive(session, tmp_path / "archive", OPTIONS)
    assert not reported.errors
    (name,) = (name for name in names(tmp_path / "archive") if name.startswith("gain"))
    assert len(name) == len("gain-reference-01234567.mrc")
    assert_verified(tmp_path / "archive", 3, all_have_checksums=True)
    same_tree(session, restored(tmp_path / "archive", tmp_path / "restored"))


@pytest.mark.parametrize("options", [[], ["--only-do-unfinished"]])
def test_two_complete_runs_at_once(session: Path, tmp_path: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "cryofs", "compress", str(session), "-o", str(tmp_path / "archive"), *options]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [run.communicate(timeout=200) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    stored = [line for _, lines in outputs for line in lines.splitlines() if ".mrc.tif: " in line]
    assert 3 <= len(stored) <= 6
    archive(session, tmp_path / "whole", replace(OPTIONS))
    same_archive(tmp_path / "whole", tmp_path / "archive")
    assert_verified(tmp_path / "archive", 3, all_have_checksums=True)
