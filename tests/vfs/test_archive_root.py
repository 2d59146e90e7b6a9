"""Nobody is led out of the archive: not by links, not by dots, not by a folder that becomes a link meanwhile."""

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cryofs.config.settings import Settings
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.archive_root import Root
from cryofs.vfs.file_system import FileSystem
from tests.support import archive, listed_in, simulated

SECRET = "not for everybody"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An archive with a movie and a text in a folder, and beside it a folder of the same names."""
    session = tmp_path / "session"
    simulated(session / "Movies" / "a.mrc")
    (session / "Movies" / "notes.txt").write_text("300 kV")
    (session / "Movies" / "link").symlink_to("nowhere")
    archive(session, tmp_path / "archive")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "notes.txt").write_text(SECRET)
    (outside / "more.txt").write_text(SECRET)
    (outside / "link").symlink_to(SECRET)
    (outside / "a.mrc.tif").write_bytes((tmp_path / "archive" / "Movies" / "a.mrc.tif").read_bytes())
    return tmp_path / "archive"


@pytest.fixture
def root(place: Path) -> Iterator[Root]:
    made = Root(place)
    yield made
    made.close()


USES: list[Callable[[Root, Path], object]] = [
    Root.lstat,
    Root.open,
    Root.read_link,
    lambda root, place: list(root.entries(place)),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("way", ["..", "../outside/notes.txt", "Movies/../../outside/notes.txt", "Movies/../.."])
def test_dots_lead_nowhere(root: Root, use: Callable[[Root, Path], object], way: str) -> None:
    with pytest.raises(FileNotFoundError):
        use(root, root.path / way)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("way", ["way", "way/notes.txt", "deep/way/notes.txt"])
@pytest.mark.parametrize("absolute", [True, False])
def test_links_lead_nowhere(
    place: Path, root: Root, use: Callable[[Root, Path], object], way: str, absolute: bool
) -> None:
    (place / "deep").mkdir()
    outside = place.with_name("outside")
    (place / "way").symlink_to(outside if absolute else "../outside")
    (place / "deep" / "way").symlink_to(outside if absolute else "../../outside")
    if way == "way" and use in (Root.lstat, Root.read_link):
        assert use(root, root.path / way), "the link itself is there"
    else:
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            use(root, root.path / way)


def test_only_files_are_opened(place: Path, root: Root) -> None:
    os.mkfifo(place / "pipe")
    for name in ("pipe", "Movies"):
        with pytest.raises(OSError, match="not a regular file"):
            root.open(root.path / name)


def test_no_descriptor_is_left_open(place: Path, root: Root) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in ("Movies/a.mrc.tif", "Movies", "nothing/below", "Movies/notes.txt/below", ".."):
        for use in USES:
            try:
                found = use(root, root.path / name)
            except OSError:
                continue
            if isinstance(found, LocalFile):
                found.close()
    assert len(os.listdir("/proc/self/fd")) == before


def text_of(files: FileSystem, path: str) -> bytes:
    handle = files.open(path)
    try:
        return bytes(files.read(handle, 100, 0))
    finally:
        files.release(handle)


@pytest.mark.parametrize("view", ["", "/@archive"])
def test_a_folder_that_turns_into_a_link_and_back_never_leads_out(place: Path, view: str) -> None:
    """Requests come all the time while the folder is replaced; each sees the archive, or nothing."""
    files = FileSystem(place, Settings(jobs=1))
    files.start()
    folder, aside = place / "Movies", place / "aside"
    stop = threading.Event()
    rng = np.random.default_rng(0)

    def replace() -> None:
        while not stop.is_set():
            folder.rename(aside)
            folder.symlink_to(place.with_name("outside"))
            stop.wait(rng.uniform(0, 0.002))
            folder.unlink()
            aside.rename(folder)
            stop.wait(rng.uniform(0, 0.02))

    replacing = threading.Thread(target=replace)
    replacing.start()
    uses: dict[Callable[[], object], object] = {
        lambda: "more.txt" in dict(listed_in(files, f"{view}/Movies")): False,
        lambda: files.read_link(f"{view}/Movies/link"): "nowhere",
        lambda: text_of(files, f"{view}/Movies/notes.txt"): b"300 kV",
        lambda: files.attributes(f"{view}/Movies/more.txt"): None,
    }
    seen: set[Callable[[], object]] = set()
    nothing = 0
    try:
        # on a busy machine the thread that replaces the folder may rest for long
        until = time.monotonic() + 20
        while (len(seen) < 3 or nothing <= 1000) and time.monotonic() < until:
            for use, right in uses.items():
                try:
                    assert use() == right
                    seen.add(use)
                except OSError:
                    nothing += 1
    finally:
        stop.set()
        replacing.join()
        files.stop()
    assert len(seen) == 3
    assert nothing > 1000, "what is only outside is never there"


@pytest.fixture
def few_files() -> Iterator[None]:
    """A limit that leaves a few more open files."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir("/proc/self/fd")}
    free = [number for number in range(len(used) + 8) if number not in used]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[7] + 1, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


DEPTH = 200


@pytest.mark.usefixtures("few_files")
def test_deep_folders_need_few_open_files(root: Root) -> None:
    deep = Path(*["d"] * DEPTH)
    (root.path / deep).mkdir(parents=True)
    (root.path / deep / "notes.txt").write_text("300 kV")
    place = root.path / deep
    assert root.names(place) == ["notes.txt"]
    assert [name for name, _ in root.entries(place)] == ["notes.txt"]
    assert root.lstat(place / "notes.txt").st_size == len("300 kV")
    with root.open(place / "notes.txt") as source:
        assert source.read(3, 0) == b"300"
    assert len(root.devices(place)) == DEPTH + 1
