"""A power cut at any moment of a run: the archive holds old files or new ones, each of them whole."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchmarks.simulate import header
from cryofs.compress.movie_task import CompressOptions
from cryofs.storage.atomic_file import OWN_PREFIX, Draft
from tests.outcomes import adopted, verified
from tests.power_cut import Recorder, durable, read_tree, recorded, states, write_tree
from tests.support import archive, names, simulated

PLAIN = CompressOptions(gain="none", jobs=2)


def compressed(session: Path, target: Path, options: CompressOptions = PLAIN) -> Recorder:
    """Record a run of compress."""
    with recorded(target) as recorder:
        _, reported = archive(session, target, options)
    assert not reported.errors
    return recorder


def failures(folder: Path) -> list[Exception]:
    return verified(folder)[1]


def check_states(recorder: Recorder, tmp_path: Path) -> list[Path]:
    """Assert that every state is whole, and that nothing is lost once the run has ended; return copies of them."""
    before = {} if recorder.before is None else dict(next(states(recorder))[1])
    after = read_tree(recorder.root)
    assert durable(recorder) == after
    copies = []
    for number, (moment, found) in enumerate(states(recorder)):
        for name, data in found.items():
            if data is not None and not Path(name).name.startswith(OWN_PREFIX):
                assert data in (before.get(name), after.get(name)), f"{moment}: {name} is neither old nor new"
        for name in before:
            assert name in found or name not in after, f"{moment}: {name} is lost"
        copies.append(tmp_path / f"state {number}")
        write_tree(found, copies[-1])
        assert not failures(copies[-1]), moment
    return copies


def counts_movie(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).poisson(1, (3, 40, 50)).astype("<i2")
    path.write_bytes(header((3, 40, 50), 1) + values.tobytes())
    return path


def test_a_run_that_estimates_a_gain_reference(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    for number in range(2):
        simulated(session / "Movies" / f"{number}.mrc", frames=8, seed=number)
    recorder = compressed(session, target, CompressOptions(jobs=2))
    assert names(target) == ["Movies/0.mrc.tif", "Movies/1.mrc.tif", "gain-reference.mrc"]
    copies = check_states(recorder, tmp_path)
    # states with a movie that needs the reference, and states before the reference
    found = [names(copy) for copy in copies]
    assert any("gain-reference.mrc" not in each for each in found)
    assert any("Movies/0.mrc.tif" in each and "Movies/1.mrc.tif" not in each for each in found)


def test_a_plain_copy_with_its_checksum(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    (session / "deep" / "deeper").mkdir(parents=True)
    (session / "notes.txt").write_text("300 kV")
    (session / "deep" / "deeper" / "log.txt").write_text("defocus")
    os.link(session / "notes.txt", session / "twin.txt")
    copies = check_states(compressed(session, target), tmp_path)
    for number, copy in enumerate(copies):
        # the same command goes on from any of them
        _, reported = archive(session, copy, CompressOptions(gain="none", only_do_unfinished=number % 2 == 0, jobs=2))
        assert not reported.errors
        assert read_tree(copy) == read_tree(target)


@pytest.mark.parametrize("unfinished", [False, True])
def test_files_and_movies_that_are_replaced(tmp_path: Path, unfinished: bool) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    counts_movie(session / "movie.mrc", seed=0)
    (session / "notes.txt").write_text("300 kV")
    (session / "other.txt").write_text("stays")
    archive(session, target, PLAIN)
    counts_movie(session / "movie.mrc", seed=1)
    (session / "notes.txt").write_text("200 kV")
    recorder = compressed(session, target, CompressOptions(gain="none", only_do_unfinished=unfinished, jobs=2))
    copies = check_states(recorder, tmp_path)
    held = {((copy / "movie.mrc.tif").read_bytes(), (copy / "notes.txt").read_text()) for copy in copies}
    assert len(held) == 3


def test_a_movie_that_replaces_its_plain_copy(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    movie = counts_movie(session / "movie.mrc", seed=0)
    target.mkdir()
    shutil.copy2(movie, target / "movie.mrc")
    adopted(target)
    recorder = compressed(session, target)
    assert names(target) == ["movie.mrc.tif"]
    for copy in check_states(recorder, tmp_path):
        assert {"movie.mrc", "movie.mrc.tif"} & set(names(copy))


def test_adopting(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    (target / "sub").mkdir(parents=True)
    (target / "notes.txt").write_text("300 kV")
    frames = np.random.default_rng(0).poisson(1, (3, 40, 50)).astype(np.uint8)
    tifffile.imwrite(target / "sub" / "movie.tif", frames, compression="zlib", photometric="minisblack")
    with recorded(target) as recorder:
        done, _ = adopted(target)
    assert (done.movies, done.files, done.failed) == (1, 1, 0)
    copies = check_states(recorder, tmp_path)
    assert len({(copy / "sub" / "movie.tif").read_bytes() for copy in copies}) == 2


@pytest.mark.parametrize("method", ["sync", "publish"])
def test_a_run_that_syncs_too_little_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def flush(draft: Draft) -> None:
        draft.file.flush()

    def rename(draft: Draft) -> None:
        from cryofs.storage import changes

        changes.disk.move(draft.path, draft.target)

    session = tmp_path / "session"
    session.mkdir()
    (session / "notes.txt").write_text("300 kV")
    monkeypatch.setattr(Draft, method, flush if method == "sync" else rename)
    recorder = compressed(session, tmp_path / "archive")
    with pytest.raises(AssertionError):
        check_states(recorder, tmp_path)
