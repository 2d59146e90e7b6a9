"""A disk that becomes full at any step of writing: a clear error, nothing lost, no draft; a later run succeeds."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cryofs.archive.verify import verify
from cryofs.cli.output import one_line
from cryofs.compress.movie_task import CompressOptions
from cryofs.errors import CryofsError
from cryofs.gain.estimation import Estimation, Limits, continue_estimation
from cryofs.storage.atomic_file import DRAFT_PREFIX
from tests.full_disk import full_disk
from tests.support import archive, names, restored, same_tree, simulated

NO_SPACE = os.strerror(errno.ENOSPC)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A movie whose gain has to be estimated, a file, a link, folders."""
    folder = tmp_path / "session"
    simulated(folder / "Movies" / "a.mrc", frames=6)
    (folder / "notes.txt").write_text("300 kV" * 1000)
    (folder / "link").symlink_to("nowhere")
    (folder / "Empty").mkdir()
    return folder


def assert_nothing_half_done(target: Path, session: Path) -> None:
    """Assert that whatever has a final name is whole."""
    if not target.is_dir():
        return
    assert not list(target.rglob(DRAFT_PREFIX + "*"))
    errors: list[object] = []
    verify([target], 1, lambda _, e: errors.append(e) if e else None, lambda *_: None, lambda _: None)
    assert not errors
    for name in names(target):
        if not name.endswith(".tif") and name != "gain-reference.mrc":
            one, other = session / name, target / name
            assert other.readlink() == one.readlink() if one.is_symlink() else other.read_bytes() == one.read_bytes()


def run(session: Path, target: Path) -> tuple[int, list[str]]:
    """Failed files of a run, and what the user is told."""
    try:
        summary, heard = archive(session, target, CompressOptions(only_do_unfinished=True, jobs=1))
    except (CryofsError, OSError) as error:
        return 1, [one_line(error)]
    return summary.failed, [one_line(error) for error in heard.errors.values()]


def each_step(attempt: Callable[[int], int]) -> int:
    """Let the disk be full at every step in turn, until there are no more."""
    number = 0
    while attempt(number) > number:
        number += 1
    return number


def test_compress(session: Path, tmp_path: Path) -> None:
    sources = {path: path.lstat() for path in session.rglob("*")}

    def attempt(number: int) -> int:
        target = tmp_path / f"archive {number}"
        with full_disk(number) as disk:
            failed, told = run(session, target)
        assert_nothing_half_done(target, session)
        if disk.steps > number:
            assert failed
            assert told
            for line in told:
                assert NO_SPACE in line
                assert str(tmp_path) in line, "the file is named"
                assert "\n" not in line
        assert run(session, target) == (0, [])
        assert_nothing_half_done(target, session)
        if number % 5 == 0:
            same_tree(session, restored(target, tmp_path / f"restored {number}"))
        return disk.steps

    assert each_step(attempt) > 15
    for path, found in sources.items():
        assert (path.lstat().st_mtime_ns, path.lstat().st_size) == (found.st_mtime_ns, found.st_size)


def test_an_old_movie_stays_until_the_new_one_is_there(session: Path, tmp_path: Path) -> None:
    target = tmp_path / "archive"
    run(session, target)
    stored = target / "Movies" / "a.mrc.tif"
    old = stored.read_bytes()

    def attempt(number: int) -> int:
        with full_disk(number) as disk:
            _, heard = archive(session / "Movies", target / "Movies", CompressOptions(gain="none", jobs=1))
        # without a gain the file is another one
        published = stored.read_bytes() != old
        assert not list(target.rglob(DRAFT_PREFIX + "*"))
        assert published or heard.errors
        stored.write_bytes(old)
        return disk.steps

    assert each_step(attempt) > 5


def test_estimate_gain(tmp_path: Path) -> None:
    movies = [simulated(tmp_path / f"{number}.mrc", frames=6, seed=number) for number in range(2)]

    def unexpected(error: Exception) -> None:
        raise AssertionError from error

    def estimate(folder: Path) -> None:
        with ThreadPoolExecutor(1) as pool:
            assert len(list(continue_estimation(movies, folder, 50, Limits(), pool, unexpected))) in (0, 12)

    estimate(tmp_path / "right")
    right = {path.name: path.read_bytes() for path in (tmp_path / "right").iterdir()}

    def attempt(number: int) -> int:
        folder = tmp_path / f"gain {number}"
        with full_disk(number) as disk:
            told = ""
            try:
                estimate(folder)
            except OSError as error:
                told = one_line(error)
        if disk.steps > number:
            assert NO_SPACE in told
            assert str(tmp_path) in told, "the folder or file is named"
        if folder.is_dir():
            assert not list(folder.glob(DRAFT_PREFIX + "*"))
            for path in folder.iterdir():
                assert path.name.endswith(".npz") or path.read_bytes() == right[path.name]
            if (folder / "gain-estimate.npz").exists():
                assert len(Estimation.load(folder).changes) == 12
        estimate(folder)
        assert (folder / "gain-reference.mrc").read_bytes() == right["gain-reference.mrc"]
        return disk.steps

    assert each_step(attempt) > 8
