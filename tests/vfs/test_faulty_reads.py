"""Storage that fails below a mount: right bytes or an error, and right bytes again once it is back."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.config.settings import Settings, Size
from cryofs.errors import CryofsError
from cryofs.vfs.file_system import FileSystem
from tests import faults
from tests.support import archive, listed_in, movie_values, simulated
from tests.vfs.serving import started

FRAMES = 5
NAMES = ["/movie.mrc", "/notes.txt", "/rays.mrc", "/@counts/movie.mrc", "/rays.eer"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of every kind of file, its movie with exceptions and trailing bytes."""
    session = tmp_path_factory.mktemp("faulty") / "session"
    movie = simulated(session / "movie.mrc", FRAMES)
    values = movie_values(FRAMES)
    values[2, 7] = np.nan
    movie.write_bytes(movie.read_bytes()[:1024] + values.tobytes() + b"trailing bytes")
    (session / "notes.txt").write_text("300 kV" * 1000)
    shape = (64, 60)
    write_eer(session / "rays.eer", list(random_frames(80, shape, 0.02, Widths())), shape, Widths())
    archive(session, session.with_name("archive"))
    return session.with_name("archive")


def serving(place: Path) -> AbstractContextManager[FileSystem]:
    return started(FileSystem(place, Settings(cache_size=Size(64 << 20), jobs=2)))


def content(files: FileSystem, name: str) -> bytes:
    """A file as a program reads it that asks for its size and goes on until it has as much."""
    size = files.attributes(name).size
    handle = files.open(name)
    try:
        pieces = [bytes(files.read(handle, 50_000, offset)) for offset in range(0, size, 50_000)]
    finally:
        files.release(handle)
    return b"".join(pieces)


@pytest.fixture(scope="module")
def originals(place: Path) -> dict[str, bytes]:
    with serving(place) as files:
        found = {name: content(files, name) for name in NAMES}
    assert found["/movie.mrc"] == (place.with_name("session") / "movie.mrc").read_bytes()
    return found


def quiet(patch: pytest.MonkeyPatch) -> None:
    """No reads but those of the test."""
    patch.setattr("cryofs.vfs.indexer.Indexer._run", lambda _: None)
    patch.setattr("cryofs.vfs.file_system.FileSystem._prepare", lambda _: None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [faults.error_at, faults.end_at])
def test_a_fault_at_any_read_is_an_error_and_passes(
    place: Path,
    originals: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: Callable[[int], faults.Fault],
) -> None:
    quiet(monkeypatch)
    for number in range(1000):
        with serving(place) as files:
            with monkeypatch.context() as patch:
                faulty = faults.inject(patch, kind(number))
                try:
                    found = content(files, name)
                except (CryofsError, OSError):
                    pass
                else:
                    # a plain file has no sum: it may have become shorter meanwhile, as on any file system
                    plain = name in ("/notes.txt", "/rays.eer") and kind is faults.end_at
                    assert originals[name].startswith(found) if plain else found == originals[name]
            assert content(files, name) == originals[name]
        if faulty.reads <= number:
            break
    assert number > 0
    assert faulty.reads == number, "all reads had their turn"


def test_short_reads_are_continued(place: Path, originals: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    faults.inject(monkeypatch, faults.short)
    with serving(place) as files:
        assert {name: content(files, name) for name in NAMES} == originals


def test_an_archive_that_goes_away_and_comes_back(place: Path, originals: dict[str, bytes], tmp_path: Path) -> None:
    with serving(place) as files:
        handle = files.open("/movie.mrc")
        moved = place.rename(tmp_path / "elsewhere")
        try:
            assert content(files, "/movie.mrc") == originals["/movie.mrc"], "it is reached by its descriptor"
        finally:
            moved.rename(place)
        contents = tmp_path / "contents"
        contents.mkdir()
        for path in sorted(place.iterdir()):
            path.rename(contents / path.name)
        try:
            assert listed_in(files, "/") == []
            for name in NAMES:
                with pytest.raises(FileNotFoundError):
                    files.attributes(name)
            assert bytes(files.read(handle, 1 << 20, 0)) == originals["/movie.mrc"][: 1 << 20]
        finally:
            for path in contents.iterdir():
                path.rename(place / path.name)
        files.release(handle)
        assert {name: content(files, name) for name in NAMES} == originals
