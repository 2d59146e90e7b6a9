"""The file system alone, without FUSE."""

import os
import stat
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofs.codecs import registry
from cryofs.config.settings import Settings, Size
from cryofs.errors import DamagedError
from cryofs.movies.gain_library import GainLibrary
from cryofs.vfs import file_system
from cryofs.vfs.file_system import FileSystem
from tests.support import archive, listed_in, simulated
from tests.vfs.serving import started

FRAMES = 12


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vfs") / "session"
    movie = simulated(folder / "Movies" / "one.mrc", frames=FRAMES)
    with movie.open("ab") as file:
        file.write(os.urandom(777))
    simulated(folder / "two.mrcs", seed=1)
    (folder / "notes.txt").write_text("300 kV")
    (folder / "notes.mrc.tif").write_bytes(b"no movie of ours")
    archive(folder, folder.with_name("archive"))
    return folder


@pytest.fixture(scope="module")
def files(session: Path) -> Iterator[FileSystem]:
    with started(FileSystem(session.with_name("archive"), Settings(cache_size=Size(1 << 20), jobs=2))) as made:
        yield made


def read_all(files: FileSystem, path: str, size: int = 1 << 30) -> bytes:
    handle = files.open(path)
    try:
        return bytes(files.read(handle, size, 0))
    finally:
        files.release(handle)


def test_names_are_those_of_the_originals(files: FileSystem) -> None:
    assert [name for name, _ in listed_in(files, "/")] == ["Movies", "notes.mrc.tif", "notes.txt", "two.mrcs"]
    assert [name for name, _ in listed_in(files, "/Movies")] == ["one.mrc"]
    assert stat.S_ISDIR(files.attributes("/").mode)


def test_archived_names_are_not_names_of_the_mount(files: FileSystem) -> None:
    for path in ("/two.mrcs.tif", "/gain-reference.mrc", "/Movies/one.mrc.tif", "/one.mrc"):
        with pytest.raises(FileNotFoundError):
            files.attributes(path)


def test_attributes_are_those_of_the_originals(session: Path, files: FileSystem) -> None:
    for name in ("Movies/one.mrc", "two.mrcs", "notes.txt", "notes.mrc.tif"):
        expected, found = (session / name).stat(), files.attributes("/" + name)
        assert (found.size, found.mtime_ns, found.mode) == (expected.st_size, expected.st_mtime_ns, expected.st_mode)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_read_gives_the_original_bytes(session: Path, files: FileSystem, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["Movies/one.mrc", "two.mrcs", "notes.txt"]))
    original = (session / name).read_bytes()
    offset = data.draw(
        st.one_of(st.integers(0, len(original) + 5), st.sampled_from([1024, max(0, len(original) - 777)]))
    )
    size = data.draw(st.one_of(st.integers(0, 5000), st.integers(0, len(original))))
    handle = files.open("/" + name)
    assert bytes(files.read(handle, size, offset)) == original[offset : offset + size]
    files.release(handle)


def test_headers_need_no_decode_and_no_gain_reference(session: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "one.mrc.tif").write_bytes((session.with_name("archive") / "Movies" / "one.mrc.tif").read_bytes())
    made = FileSystem(alone, Settings(jobs=1))
    made.start()
    original = (session / "Movies" / "one.mrc").read_bytes()
    assert read_all(made, "/one.mrc", 1024) == original[:1024]
    handle = made.open("/one.mrc")
    assert bytes(made.read(handle, 1000, len(original) - 777)) == original[-777:]
    made.release(handle)
    assert made.facts()["decodes"] == 0
    made.stop()


def test_reading_on_decodes_ahead(session: Path) -> None:
    made = FileSystem(session.with_name("archive"), Settings(jobs=2))
    made.start()
    handle = made.open("/two.mrcs")
    frame = 300 * 257 * 4
    for index in range(FRAMES):
        made.read(handle, frame, 1024 + index * frame)
    facts = made.facts()
    made.release(handle)
    made.stop()
    assert facts["decodes"] == FRAMES
    assert facts["read_ahead"] > 0


def test_a_damaged_record_is_an_error_for_its_movie_alone(session: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    content = (session.with_name("archive") / "two.mrcs.tif").read_bytes()
    (place / "broken.mrc.tif").write_bytes(content[:-1])
    (place / "notes.txt").write_text("300 kV")
    made = FileSystem(place, Settings(jobs=1))
    made.start()
    assert [name for name, _ in listed_in(made, "/")] == ["broken.mrc", "notes.txt"]
    with pytest.raises(DamagedError, match=r"broken\.mrc\.tif.*restore"):
        made.open("/broken.mrc")
    assert made.attributes("/broken.mrc").size == 1
    assert read_all(made, "/notes.txt") == b"300 kV"
    made.stop()


def test_a_thread_that_outlives_the_end_still_reaches_the_archive(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loaded machine may take longer to load the gain reference than the end waits for it."""
    loading, go_on = threading.Event(), threading.Event()
    reached: list[list[str]] = []

    def prepare(_: object) -> None:
        loading.set()
        go_on.wait()
        # under the number of the archive's descriptor, another folder must not be found either
        reached.append([path.name for path in GainLibrary(made._root.path).paths(made._root.path)])

    made = FileSystem(session.with_name("archive"), Settings(jobs=1))
    monkeypatch.setattr(file_system, "_ENDING_SECONDS", 0.0)
    monkeypatch.setattr(made._opener, "prepare", prepare)
    made.start()
    assert loading.wait(60)
    made.stop()
    go_on.set()
    made._preparing.join()
    assert reached == [["gain-reference.mrc"]]


def test_nothing_is_loaded_for_a_mount_that_ends(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loading, go_on = threading.Event(), threading.Event()

    def load_compiled() -> None:
        # the mount that other tests share loads its own
        if threading.current_thread() is made._preparing:
            loading.set()
            go_on.wait()

    made = FileSystem(session.with_name("archive"), Settings(jobs=1))
    monkeypatch.setattr(registry, "load_compiled", load_compiled)
    monkeypatch.setattr(file_system, "_ENDING_SECONDS", 0.0)
    monkeypatch.setattr(made._opener, "prepare", lambda *_: pytest.fail("the gain reference was loaded"))
    made.start()
    assert loading.wait(60)
    made.stop()
    go_on.set()
    made._preparing.join()


def test_opening_what_is_not_a_file(files: FileSystem) -> None:
    with pytest.raises(IsADirectoryError):
        files.open("/Movies")
    with pytest.raises(FileNotFoundError):
        files.open("/nothing")


def test_many_threads_read_one_open_file(tmp_path: Path) -> None:
    """The kernel sends reads of one reader to several threads; none of them trips over what another began."""
    movie = simulated(tmp_path / "session" / "0.mrc", frames=100)
    archive(movie.parent, tmp_path / "archive")
    original, piece = movie.read_bytes(), 1 << 17
    files = FileSystem(tmp_path / "archive", Settings(cache_size=Size(4 << 20), jobs=2))
    files.start()
    handle = files.open("/0.mrc")
    offsets = iter([offset for _ in range(10) for offset in range(0, len(original), piece)])
    interval = sys.getswitchinterval()
    # threads change places as often as they can
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as readers:
            read = [(offset, readers.submit(files.read, handle, piece, offset)) for offset in offsets]
            for offset, data in read:
                assert bytes(data.result()) == original[offset : offset + piece]
    finally:
        sys.setswitchinterval(interval)
        files.release(handle)
        files.stop()
