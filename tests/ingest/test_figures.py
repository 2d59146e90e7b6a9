"""Figures and log lines about movies that are written through a mount."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from cryofs.errors import ArchiveError, FullDiskError
from cryofs.ingest import in_background
from cryofs.ingest.children import Children
from cryofs.ingest.outcomes import Outcomes
from cryofs.storage.file_state import state_of
from cryofs.text import MOST_LINES
from cryofs.vfs.writable import WritableFileSystem
from tests.ingest.mounts import CALLER, writable

SHAPE = (4, 64, 80)
MOVIE = header(SHAPE, 1) + np.random.default_rng(1).poisson(1, SHAPE).astype("<i2").tobytes()


def written(files: WritableFileSystem, name: str, data: bytes = MOVIE) -> None:
    handle = files.create(name, 0o644, os.O_RDWR, CALLER)
    files.write(handle, memoryview(data), 0)
    files.release(handle)


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """The errors that movies fail with, in order; the last one repeats."""
    found: list[Exception] = []

    def archive(_: Children, places: Iterator[Path], *__: object) -> Iterator[tuple[Path, Exception]]:
        for place in places:
            yield place, found.pop(0) if len(found) > 1 else found[0]

    monkeypatch.setattr(Children, "archive", archive)
    return found


def test_movies_that_wait_are_counted_by_reason(tmp_path: Path) -> None:
    with writable(tmp_path, settle=1000) as files:
        written(files, "/a.mrc")
        written(files, "/b.mrc", MOVIE[:-5])
        written(files, "/notes.txt")
        facts = files.archived.facts()
        assert (facts["waiting_files"], facts["waiting_bytes"]) == (2, 2 * len(MOVIE) - 5)
        assert 0 <= facts["oldest_seconds"] < 60
        assert {reason: found["files"] for reason, found in facts["waiting"].items() if found["files"]} == {
            "settling": 2
        }
        assert (facts["ingested"], facts["kept_plain"], facts["failed"], facts["alive"]) == (0, 0, 0, True)


def test_the_gain_reference_of_the_settings_stays_plain(tmp_path: Path) -> None:
    given = tmp_path / "set.mrc"
    given.write_bytes(header((1, 64, 80), 2) + np.ones((64, 80), "<f4").tobytes())
    with writable(tmp_path, settle=0, gain=str(given)) as files:
        written(files, "/a.mrc")
        wait_for(lambda: files.archived.facts()["ingested"])
        wait_for(lambda: not files.archived.facts()["waiting_files"])
        assert files.archived.facts()["ingested"] == 1
    assert given.exists()


def test_movies_that_cannot_proceed_are_named_with_the_reason(tmp_path: Path) -> None:
    with writable(tmp_path, settle=0) as files:
        written(files, "/cut.mrc", MOVIE[:-5])
        wait_for(lambda: files.archived.facts()["waiting"]["unfinished"]["files"])
        (line,) = files.archived.facts()["waiting"]["unfinished"]["names"]
        assert line.startswith("cut.mrc: truncated, 5 bytes missing")
        handle = files.open("/cut.mrc", os.O_RDWR)
        assert files.facts()["names_open_for_writing"] == ["cut.mrc"]
        files.release(handle)
        assert files.facts()["names_open_for_writing"] == []


def test_a_movie_that_failed_is_named_until_it_changes(tmp_path: Path, errors: list[Exception]) -> None:
    errors.append(ArchiveError("it is broken; mend it"))
    with writable(tmp_path, settle=0) as files:
        written(files, "/a.mrc")
        wait_for(lambda: files.archived.facts()["failed"])
        assert files.archived.facts()["failed_names"] == ["a.mrc: it is broken; mend it"]
        assert files.archived.facts()["waiting_files"] == 0
        files.names.remove("/a.mrc")
        wait_for(lambda: not files.archived.facts()["failed"])


def test_a_full_disk_is_logged_once_and_tried_again(
    tmp_path: Path, errors: list[Exception], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_background, "_QUOTA_SECONDS", 1.0)
    errors += [FullDiskError("no space left"), FullDiskError("no space left"), ArchiveError("it is broken")]
    caplog.set_level(logging.INFO, "cryofs")
    with writable(tmp_path, settle=0) as files:
        written(files, "/a.mrc")
        while len(errors) > 1:
            left = len(errors)
            wait_for(lambda: files.archived.facts()["waiting"]["room"]["names"] == ["a.mrc: no space left"])
            assert files.archived.facts()["last_error"].endswith("a.mrc: no space left")
            files.archived.settle_now()
            wait_for(partial(lambda left: len(errors) < left, left))
        wait_for(lambda: files.archived.facts()["failed"])
    lines = [record.getMessage() for record in caplog.records if "not archived" in record.getMessage()]
    assert lines == [
        f"{tmp_path}/a.mrc: not archived yet (no space left); trying again every 1 s",
        f"{tmp_path}/a.mrc: not archived (it is broken)",
    ]


def test_an_unexpected_error_ends_no_thread(tmp_path: Path, errors: list[Exception]) -> None:
    with writable(tmp_path, settle=0) as files:
        # without an error in the list, the stand-in raises IndexError
        written(files, "/a.mrc")
        wait_for(lambda: files.archived.facts()["failed"])
        assert files.archived.facts()["alive"]


def test_lists_of_names_are_short(tmp_path: Path) -> None:
    outcomes = Outcomes(lambda place: place.name)
    for number in range(2 * MOST_LINES):
        place = tmp_path / f"{number}.mrc"
        place.touch()
        outcomes.failed(place, state_of(place.lstat()), "a\nreason")
        outcomes.kept_plain(place, "reason " * 1000)
    facts = outcomes.facts()
    assert facts["failed"] == facts["kept_plain"] == 2 * MOST_LINES
    assert facts["failed_names"] == [f"{number}.mrc: a\\nreason" for number in range(MOST_LINES)]
    assert sum(map(len, facts["kept_plain_names"])) < 8000
