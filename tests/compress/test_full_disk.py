"""A disk that becomes full at any step of writing: a clear error, nothing lost, no draft; a later run succeeds."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cryofs.cli.output import one_line
from cryofs.compress import full_disk as full_disk_module
from cryofs.compress.movie_task import CompressOptions
from cryofs.errors import CryofsError
from cryofs.gain.estimation import Limits
from cryofs.gain.estimation_run import EstimationRun
from cryofs.gain.estimation_state import load
from cryofs.storage.atomic_file import DRAFT_PREFIX, Draft
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.text import size_text
from tests.full_disk import full_disk
from tests.outcomes import verified
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
    assert not verified(target)[1]
    for name in names(target):
        if not name.endswith(".tif") and name != "gain-reference.mrc":
            one, other = session / name, target / name
            assert other.readlink() == one.readlink() if one.is_symlink() else other.read_bytes() == one.read_bytes()


def run(session: Path, target: Path) -> tuple[int, list[str]]:
    """Return the failed files of a run, and the lines that the user sees."""
    try:
        summary, reported = archive(session, target, CompressOptions(only_do_unfinished=True, jobs=1))
    except (CryofsError, OSError) as error:
        return 1, [one_line(error)]
    return summary.failed, [one_line(error) for error in reported.errors.values()]


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
            failed, printed = run(session, target)
        assert_nothing_half_done(target, session)
        if disk.steps > number:
            assert failed
            assert printed
            for line in printed:
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


def test_a_run_ends_at_a_full_disk_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    for number in range(5):
        simulated(session / "Movies" / f"{number}.mrc", frames=6, seed=number)
    size = (session / "Movies" / "0.mrc").stat().st_size
    (session / "Movies" / "z.bin").write_bytes(bytes(1000))
    (session / "Later" / "deep").mkdir(parents=True)
    (session / "Later" / "deep" / "notes.txt").write_text("x" * 500)
    (session / "Empty").mkdir()
    monkeypatch.setattr(full_disk_module, "_free_bytes", lambda _: 1000)
    publish = Draft.publish

    def full_from_the_third_on(made: Draft) -> None:
        if made.target.name in ("2.mrc.tif", "z.bin", "notes.txt"):
            raise OSError(errno.ENOSPC, NO_SPACE, str(made.target))
        publish(made)

    monkeypatch.setattr(Draft, "publish", full_from_the_third_on)
    summary, reported = archive(session, target, CompressOptions(jobs=1))
    assert (summary.movies, summary.failed, summary.unfinished) == (2, 1, 5)
    ((place, error),) = reported.errors.items()
    assert place == target
    assert summary.ratio is not None
    needed = size_text(3 * size * summary.ratio + 1500 - 1000)
    assert f"{target}: {NO_SPACE}, 5 files are not done (about {needed} more space needed)" in str(error)
    # folders that nothing came into are gone, apart from one whose original is empty
    assert sorted(path.name for path in target.iterdir() if path.is_dir()) == ["Empty", "Movies"]
    monkeypatch.undo()
    summary, _ = archive(session, target, CompressOptions(only_do_unfinished=True, jobs=1))
    assert (summary.movies, summary.skipped, summary.failed, summary.unfinished) == (3, 2, 0, 0)
    same_tree(session, restored(target, tmp_path / "restored"))


def test_a_full_disk_while_checksums_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    session.mkdir()
    for number in range(3):
        (session / f"{number}.txt").write_text("x" * 100)
    publish = Draft.publish

    def full(made: Draft) -> None:
        if made.target.name == LIST_NAME:
            raise OSError(errno.ENOSPC, NO_SPACE, str(made.target))
        publish(made)

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "publish", full)
        summary, reported = archive(session, target, CompressOptions(jobs=1))
    assert (summary.failed, summary.unfinished, list(reported.errors)) == (1, 3, [target])
    summary, reported = archive(session, target, CompressOptions(only_do_unfinished=True, jobs=1))
    assert (summary.failed, reported.errors) == (0, {})
    assert len((target / LIST_NAME).read_text().splitlines()) == 3


def test_an_old_movie_stays_until_the_new_one_is_there(session: Path, tmp_path: Path) -> None:
    target = tmp_path / "archive"
    run(session, target)
    stored = target / "Movies" / "a.mrc.tif"
    old = stored.read_bytes()

    def attempt(number: int) -> int:
        with full_disk(number) as disk:
            _, reported = archive(session / "Movies", target / "Movies", CompressOptions(gain="none", jobs=1))
        # without a gain the file is another one
        published = stored.read_bytes() != old
        assert not list(target.rglob(DRAFT_PREFIX + "*"))
        assert published or reported.errors
        stored.write_bytes(old)
        return disk.steps

    assert each_step(attempt) > 5


def test_estimate_gain(tmp_path: Path) -> None:
    movies = [simulated(tmp_path / f"{number}.mrc", frames=6, seed=number) for number in range(2)]

    def unexpected(error: Exception) -> None:
        raise AssertionError from error

    def estimate(folder: Path) -> None:
        with ThreadPoolExecutor(1) as pool:
            run = EstimationRun(folder, 50, Limits(), pool, unexpected)
            assert len(list(run.rows(movies))) in (0, 6, 12)

    estimate(tmp_path / "right")
    right = {path.name: path.read_bytes() for path in (tmp_path / "right").iterdir()}

    def attempt(number: int) -> int:
        folder = tmp_path / f"gain {number}"
        with full_disk(number) as disk:
            printed = ""
            try:
                estimate(folder)
            except OSError as error:
                printed = one_line(error)
        if disk.steps > number:
            assert NO_SPACE in printed
            assert str(tmp_path) in printed, "the folder or file is named"
        if folder.is_dir():
            assert not list(folder.glob(DRAFT_PREFIX + "*"))
            for path in folder.iterdir():
                assert path.name.endswith(".npz") or path.read_bytes() == right[path.name]
            if (folder / "gain-estimate.npz").exists():
                assert len(load(folder).changes) in (6, 12)
        estimate(folder)
        assert (folder / "gain-reference.mrc").read_bytes() == right["gain-reference.mrc"]
        return disk.steps

    assert each_step(attempt) > 8
