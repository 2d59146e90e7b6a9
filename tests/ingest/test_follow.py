"""`cryofs ingest` that follows, and originals that stay hidden."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulate import Detector
from cryofs.errors import ArchiveError
from cryofs.ingest import hidden
from cryofs.ingest.run import IngestOptions, _Run
from cryofs.movies.mrc import MrcMovie
from tests.ingest.runs import Listener, figures, following, ingested, noise, remote
from tests.support import archive, assert_verified, names, restored, simulated, wait_for, written_movie


def test_follow_takes_movies_as_they_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryofs.ingest.run._SEARCH_SECONDS", 0.05)
    listener = Listener()
    with following(tmp_path, listener) as found:
        for seed in range(2):
            written_movie(tmp_path / f"{seed}.mrc", seed)
            wait_for(lambda: len(listener.done) == seed + 1)  # noqa: B023
            with pytest.raises(ArchiveError, match="in use by cryofs ingest"):
                archive(tmp_path / "0.mrc.tif", tmp_path)
    assert figures(found[0]) == (2, 0, 0, 0)
    assert names(tmp_path) == ["0.mrc.tif", "1.mrc.tif"]


def test_originals_on_network_storage_stay_hidden_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote(monkeypatch)
    plain = written_movie(tmp_path / "a.mrc")
    data = plain.read_bytes()
    summary, _ = ingested(tmp_path)
    assert (summary.ingested, summary.hidden) == (1, 1)
    (kept,) = tmp_path.glob(".cryofs-kept-*")
    assert kept.read_bytes() == data
    assert ingested(tmp_path)[0].hidden == 1
    assert kept.exists()
    assert_verified(tmp_path, 1)
    monkeypatch.setattr(hidden, "KEPT_SECONDS", 0.0)
    assert ingested(tmp_path)[0].hidden == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.mrc.tif"]


@pytest.mark.parametrize("taken", [False, True])
def test_an_original_that_changes_while_it_is_hidden_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    remote(monkeypatch)
    plain = written_movie(tmp_path / "a.mrc")
    with plain.open("r+b") as writer:
        assert ingested(tmp_path)[0].hidden == 1
        if taken:
            shutil.copy(written_movie(tmp_path.parent / "new.mrc", seed=1), plain)
        writer.write(b"x")
    summary, listener = ingested(tmp_path, IngestOptions(settle=1000))
    assert summary.hidden == 0
    (note,) = (note for note in listener.notes if "changed after it was archived" in note)
    if not taken:
        assert names(tmp_path) == ["a.mrc"]
        assert plain.read_bytes()[:1] == b"x"
    else:
        (beside,) = tmp_path.glob("a.changed-*.mrc")
        assert beside.name in note
        assert beside.read_bytes()[:1] == b"x"
        assert names(tmp_path) == [beside.name, "a.mrc", "a.mrc.tif"]


def test_a_hidden_file_that_is_not_the_recorded_original_is_never_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote(monkeypatch)
    plain = written_movie(tmp_path / "a.mrc")
    ingested(tmp_path)
    (kept,) = tmp_path.glob(".cryofs-kept-*")
    found = kept.stat()
    with kept.open("r+b") as file:
        file.write(b"x")
    os.utime(kept, ns=(found.st_atime_ns, found.st_mtime_ns))
    monkeypatch.setattr(hidden, "KEPT_SECONDS", 0.0)
    _, listener = ingested(tmp_path)
    assert kept.exists()
    assert "has another original" in listener.notes[0]
    assert not plain.exists()


def test_a_waiting_movie_is_tried_again_when_a_reference_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryofs.ingest.run._SEARCH_SECONDS", 0.02)
    simulated(tmp_path / "other" / "a.mrc", 12)
    archive(tmp_path / "other", tmp_path / "archive of others")
    folder = tmp_path / "session"
    simulated(folder / "b.mrc", 3, seed=5)
    listener = Listener()
    searches: list[None] = []
    search = _Run._search

    def counted(run: _Run) -> None:
        searches.append(None)
        search(run)

    monkeypatch.setattr(_Run, "_search", counted)
    with following(folder, listener):
        wait_for(lambda: len(searches) > 5)
        # it was tried once, and waits for further movies
        assert (listener.expected, listener.done) == (3, [])
        shutil.copy(tmp_path / "archive of others" / "gain-reference.mrc", folder)
        wait_for(lambda: listener.done)
    assert_verified(folder, 1)


def test_a_gain_is_estimated_as_movies_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryofs.ingest.run._SEARCH_SECONDS", 0.02)
    stacks: list[str] = []
    stack = MrcMovie.stack

    def counted(movie: MrcMovie, *rows: Any) -> Any:
        stacks.append(movie.path.name)
        return stack(movie, *rows)

    monkeypatch.setattr(MrcMovie, "stack", counted)
    detector = Detector.make((64, 60), defects=4)
    folder, listener = tmp_path / "session", Listener()
    folder.mkdir()
    data = {}
    with following(folder, listener):
        for seed in range(8):
            path = simulated(tmp_path / f"{seed}.mrc", 6, seed=seed, detector=detector)
            data[path.name] = path.read_bytes()
            path.rename(folder / path.name)
            wait_for(lambda: listener.done or any(f"{seed}.mrc: waits" in note for note in listener.notes))  # noqa: B023
            if listener.done:
                break
            assert (folder / path.name).read_bytes() == data[path.name]
        wait_for(lambda: len(listener.done) == len(data))
    assert 3 <= len(data) < 8
    # two bands of rows of each movie until the estimate settled, once
    assert set(Counter(stacks).values()) == {2}
    assert names(folder) == [*(f"{name}.tif" for name in sorted(data)), "gain-reference.mrc"]
    restored(folder, tmp_path / "back")
    assert {name: (tmp_path / "back" / name).read_bytes() for name in data} == data


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_that_follows(tmp_path: Path, number: signal.Signals) -> None:
    written_movie(tmp_path / "a.mrc")
    command = [sys.executable, "-m", "cryofs", "ingest", str(tmp_path), "--follow", "--settle", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: not (tmp_path / "a.mrc").exists())
            process.send_signal(number)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert json.loads(output)["ingested"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.mrc.tif"]


def test_drafts_of_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryofs.ingest.drafts._WORTH_PROCESSES", 0)
    originals = {f"{seed}.mrc": written_movie(tmp_path / "a" / f"{seed}.mrc", seed).read_bytes() for seed in range(4)}
    originals["float.mrc"] = simulated(tmp_path / "a" / "float.mrc", 3).read_bytes()
    noise(tmp_path / "a" / "noise.mrc")
    summary, listener = ingested(tmp_path / "a")
    assert (figures(summary), listener.errors) == ((5, 0, 1, 0), [])
    assert listener.counted >= 15
    restored(tmp_path / "a", tmp_path / "back")
    assert {name: (tmp_path / "back" / name).read_bytes() for name in originals} == originals
    assert sorted(path.name for path in (tmp_path / "a").iterdir() if "draft" in path.name) == []
