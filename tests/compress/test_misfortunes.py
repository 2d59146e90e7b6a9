"""Errors of one movie are reported for that movie, and the others of the run are stored."""

import errno
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulate import Detector, header, write_movie
from cryofs.archive.info import describe
from cryofs.compress import movie_executor, run
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from cryofs.compress.row_blocks import OriginalSums
from cryofs.config.choices import NarrowChoice
from cryofs.errors import ArchiveError
from cryofs.gain import references
from cryofs.gain.estimation import Limits
from cryofs.gain.estimation_run import EstimationRun
from cryofs.gain.references import References
from cryofs.movies.mrc import MrcMovie
from cryofs.storage import atomic_file
from tests.support import SHAPE, Reported, archive, assert_verified, left_draft, names, restored, same_tree, simulated

pytestmark = pytest.mark.timeout(60)
FRAMES = 40
PLAIN = CompressOptions(gain="none", jobs=1)
DOUBLE = Detector.make(SHAPE, defects=20, arithmetic="double")
ReadRows = Callable[[MrcMovie, int, int, NDArray[np.uint8]], None]


def unreadable(read: ReadRows, path: Path, frame: int) -> ReadRows:
    """A way of reading rows that fails at a frame of a movie."""

    def read_rows(self: MrcMovie, index: int, first: int, raw: NDArray[np.uint8]) -> None:
        if self.name == str(path) and index == frame:
            raise OSError(errno.EIO, "Input/output error")
        read(self, index, first, raw)

    return read_rows


@pytest.mark.parametrize("frame", [0, FRAMES // 2, FRAMES - 1])
def test_a_movie_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: int) -> None:
    session = tmp_path / "session"
    for number in range(3):
        simulated(session / f"{number}.mrc", FRAMES, seed=number, detector=DOUBLE)
    bad = session / "0.mrc"
    monkeypatch.setattr(MrcMovie, "read_rows", unreadable(MrcMovie.read_rows, bad, frame))
    summary, reported = archive(session, tmp_path / "archive")
    assert (summary.movies, summary.failed) == (2, 1)
    assert str(bad) in str(reported.errors[bad])
    assert "Input/output error" in str(reported.errors[bad])
    assert names(tmp_path / "archive") == ["1.mrc.tif", "2.mrc.tif", "gain-reference.mrc"]
    assert_verified(tmp_path / "archive", 2)


@pytest.mark.parametrize(
    ("error", "message"), [(MemoryError("no more"), "out of memory"), (ZeroDivisionError("oops"), "a bug in cryofs")]
)
def test_an_error_while_a_checksum_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    """The reader, which waits for memory, must get the error too."""
    session = tmp_path / "session"
    session.mkdir()
    for number, count in enumerate((40, 41)):
        write_movie(session / f"{number}.mrc", Detector.make(SHAPE, seed=1), count, seed=number)
    add_rows = OriginalSums.add_rows

    def failing(self: OriginalSums, raw: NDArray[np.uint8], last: bool) -> None:
        if len(self.frames) == 40:
            raise error
        add_rows(self, raw, last)

    monkeypatch.setattr(OriginalSums, "add_rows", failing)
    summary, reported = archive(session, tmp_path / "archive")
    assert (summary.movies, summary.failed) == (1, 1)
    (name,) = reported.errors
    assert name == session / "1.mrc"
    assert isinstance(reported.errors[name], ArchiveError)
    assert message in str(reported.errors[name])
    assert_verified(tmp_path / "archive", 1)


def test_a_temporary_folder_with_a_name_too_long_for_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr(movie_executor, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr("multiprocessing.util.get_temp_dir", lambda: str(long))
    monkeypatch.setattr("multiprocessing.forkserver._forkserver._forkserver_pid", None)
    for number in range(3):
        simulated(tmp_path / "session" / f"{number}.mrc", seed=number)
    _, reported = archive(tmp_path / "session", tmp_path / "archive")
    assert not reported.errors
    assert sum("movies are stored one at a time" in note for note in reported.notes) == 1
    assert_verified(tmp_path / "archive", 3)


@pytest.mark.parametrize("narrow", ["auto", "exact", "never"])
def test_counts_that_no_integer_type_holds(tmp_path: Path, narrow: NarrowChoice) -> None:
    """Negative ones ask for signed pixels, later ones are too large for these."""
    rng = np.random.default_rng(1)
    values = rng.integers(-300, 300, (5, 300, 64)).astype("<f4")
    values[3] = rng.integers(-300, 60000, (300, 64))
    session = tmp_path / "session"
    session.mkdir()
    (session / "movie.mrc").write_bytes(header((5, 300, 64), 2) + values.tobytes())
    options = CompressOptions(gain="none", coding=Coding(narrow=narrow), jobs=2)
    _, reported = archive(session, tmp_path / "archive", options)
    assert not reported.errors
    assert reported.counted_frames == reported.expected_frames
    assert describe(tmp_path / "archive" / "movie.mrc.tif")["shape"] == [5, 300, 64]
    same_tree(session, restored(tmp_path / "archive", tmp_path / "restored"))


def test_an_infinity_among_large_counts(tmp_path: Path) -> None:
    values = np.random.default_rng(0).poisson(300, (3, 64, 64)).astype("<f2")
    values[1, 0, :3] = np.inf, 0.5, -np.inf
    session = tmp_path / "session"
    session.mkdir()
    (session / "movie.mrc").write_bytes(header((3, 64, 64), 12) + values.tobytes())
    _, reported = archive(session, tmp_path / "archive")
    assert not reported.errors
    same_tree(session, restored(tmp_path / "archive", tmp_path / "restored"))


def estimate(movie: Path, folder: Path) -> list[Any]:
    errors: list[Exception] = []
    with ThreadPoolExecutor(2) as pool:
        rows = list(EstimationRun(folder, 50, Limits(), pool, errors.append).rows([movie]))
    return rows + errors


@pytest.mark.parametrize(("shape", "frames"), [(SHAPE, 5), ((200, 128), FRAMES)])
def test_another_movie_under_the_name_of_one_that_went_into_an_estimate(
    tmp_path: Path, shape: tuple[int, int], frames: int
) -> None:
    movie, folder = tmp_path / "movie.mrc", tmp_path / "gain"
    write_movie(movie, DOUBLE, FRAMES)
    assert estimate(movie, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_movie(movie, Detector.make(shape, arithmetic="double"), frames)
    estimate(movie, folder)
    assert {path.name for path in folder.iterdir()} == set(before)
    assert (folder / "gain-reliability.mrc").read_bytes() == before["gain-reliability.mrc"]


def test_movies_of_floats_that_are_not_counts_are_sampled_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    start = MrcMovie.__init__

    def counting(self: MrcMovie, path: Path, *arguments: Any) -> None:
        opened.append(path)
        start(self, path, *arguments)

    session, movies = tmp_path / "session", 12
    session.mkdir()
    for number in range(movies):
        values = np.random.default_rng(number).normal(1, 0.3, (9, 20, 30)).astype("<f4")
        (session / f"{number:02}.mrc").write_bytes(header((9, 20, 30), 2) + values.tobytes())
    monkeypatch.setattr(MrcMovie, "__init__", counting)
    summary, _ = archive(session, tmp_path / "archive")
    assert summary.movies == movies
    assert len(opened) == movies


def refusing(monkeypatch: pytest.MonkeyPatch, method: str, refused: Path) -> None:
    """Let a method of paths fail for one of them, as it would for users who are not root."""
    real = getattr(Path, method)

    def may_fail(self: Path, *arguments: Any, **options: Any) -> Any:
        if self == refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, method, may_fail)


@pytest.mark.parametrize("method", ["is_symlink", "is_file", "is_dir"])
def test_files_without_permission_do_not_end_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    session = tmp_path / "session"
    session.mkdir()
    for name in ("bad.txt", "good.txt"):
        (session / name).write_text(name)
    bad = session / "bad.txt"
    refusing(monkeypatch, method, bad)
    reported = Reported()
    run.compress([bad, session / "good.txt"] if method == "is_dir" else [session], tmp_path / "a", PLAIN, reported)
    assert "Permission denied" in str(reported.errors[bad])
    assert names(tmp_path / "a") == ["good.txt"]


def test_a_movie_that_may_not_be_read_does_not_end_an_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    movies = [simulated(tmp_path / f"{number}.mrc", 4, seed=number) for number in range(3)]
    start = MrcMovie.__init__

    def may_fail(self: MrcMovie, path: Path, *arguments: Any) -> None:
        if path == movies[1]:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        start(self, path, *arguments)

    monkeypatch.setattr(MrcMovie, "__init__", may_fail)
    (tmp_path / "gain").mkdir()
    left_draft(tmp_path / "gain")
    errors: list[Exception] = []
    with ThreadPoolExecutor(2) as pool:
        rows = list(EstimationRun(tmp_path / "gain", 50, Limits(), pool, errors.append).rows(movies))
    assert len(rows) == 8
    assert [str(movies[1]) in str(error) for error in errors] == [True]
    assert names(tmp_path / "gain") == [
        "gain-estimate.npz",
        "gain-reference.mrc",
        "gain-reference_reliablity.mrc",
        "gain-reliability.mrc",
    ]


def test_a_damaged_reference_serves_no_movie_and_ends_no_run(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    target.mkdir()
    (target / "gain-reference.mrc").write_bytes(b"cut")
    simulated(tmp_path / "session" / "a.mrc", 4)
    summary, reported = archive(tmp_path / "session", target, PLAIN)
    assert (summary.movies, reported.notes) == (1, [])
    summary, reported = archive(tmp_path / "session", target)
    assert summary.movies == 1
    assert sum("not a valid gain reference" in note for note in reported.notes) == 1
    assert (target / "gain-reference.mrc").read_bytes() == b"cut"
    assert_verified(target, 1)


def test_a_folder_called_like_a_gain_reference(tmp_path: Path) -> None:
    session = tmp_path / "session"
    simulated(session / "a.mrc", 4)
    (session / "gain-reference.mrc").mkdir()
    (session / "gain-reference.mrc" / "old.txt").write_text("old")
    _, reported = archive(session, tmp_path / "archive")
    assert not reported.errors
    assert_verified(tmp_path / "archive", 1)
    assert len(list((tmp_path / "archive").glob("gain-reference-*.mrc"))) == 1


def test_two_runs_with_two_references_of_eer_movies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = atomic_file.write_file

    def meanwhile(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(references, "write_file", real)
        References(tmp_path).write_eer(b"of another run")
        real(*arguments, **options)

    monkeypatch.setattr(references, "write_file", meanwhile)
    References(tmp_path).write_eer(b"of this run")
    assert (tmp_path / "gain-reference-eer.mrc").read_bytes() == b"of another run"
    assert [path.read_bytes() for path in tmp_path.glob("gain-reference-eer-*.mrc")] == [b"of this run"]


def test_originals_called_like_drafts_are_reported(tmp_path: Path) -> None:
    session = tmp_path / "session"
    (session / ".cryofs-draft-folder").mkdir(parents=True)
    (session / ".cryofs-draft-notes").write_text("precious")
    (session / ".cryofs-draft-link").symlink_to("nowhere")
    _, reported = archive(session, tmp_path / "archive")
    assert set(reported.errors) == set(session.iterdir())
    assert not names(tmp_path / "archive")


def test_drafts_at_the_root_are_removed_by_a_run_from_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    simulated(tmp_path / "Movies" / "a.mrc", 3)
    Path("movies.lst").write_text("Movies/a.mrc\n")
    Path("archive").mkdir()
    left_draft(Path("archive"))
    archive(Path("movies.lst"), Path("archive"), PLAIN)
    assert names(Path("archive")) == ["Movies/a.mrc.tif"]


def test_one_movie_by_two_spellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    movie, reported = simulated(tmp_path / "Movies" / "a.mrc", 3), Reported()
    summary = run.compress([movie, Path("Movies/a.mrc")], tmp_path / "archive", PLAIN, reported)
    assert (summary.movies, reported.errors) == (1, {})
