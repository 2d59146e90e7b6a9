"""Random operations on a writable mount have the same results as on a plain folder."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from cryofs.system import file_calls, renaming
from tests.mounted.support import NEEDS_MOUNTS, wait_for_unlocked
from tests.support import mounted

pytestmark = NEEDS_MOUNTS

NAMES = ["a", "b", "c.mrc", "d", "d/a", "d/c.mrc", "d/d"]
LARGEST = 300_000
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
name = st.sampled_from(NAMES)
offsets = st.one_of(st.integers(0, 5000), st.integers(0, LARGEST))
data = st.one_of(st.binary(max_size=50), st.integers(1, 255).map(lambda value: bytes([value]) * 70_001))


class Both:
    """A folder of the mount and a plain folder."""

    def __init__(self, shown: Path, plain: Path):
        self.places = (shown, plain)

    def call(self, function: Callable[..., Any], *names: str) -> Any:
        """Call a function with the paths in either folder; return what it returns, which is the same."""
        return self.each(*[lambda place=place: function(*(place / name for name in names)) for place in self.places])

    def each(self, *calls: Callable[[], Any]) -> Any:
        """Return what two calls return or raise; assert that it is the same."""
        (shown, error), (plain, expected) = map(outcome, calls)
        assert error == expected, (error and os.strerror(error), expected and os.strerror(expected))
        if isinstance(shown, Opened) or shown is None:
            return shown, plain
        assert shown == plain
        return shown


class Opened(int):
    """A descriptor."""


def outcome(call: Callable[[], Any]) -> tuple[Any, int | None]:
    try:
        return call(), None
    except OSError as error:
        return None, error.errno


def tree(folder: Path, *, folder_times: bool = True) -> dict[str, tuple[Any, ...]]:
    """Return what a folder and its subfolders hold."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        content: Any = None
        if stat.S_ISREG(about.st_mode):
            attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
            content = about.st_size, path.read_bytes(), attributes
        elif path.is_symlink():
            content = str(path.readlink())
        mtime: int | str = about.st_mtime_ns if about.st_mtime_ns < 10**15 else "now"
        if stat.S_ISDIR(about.st_mode) and not folder_times:
            mtime = "any"
        found[str(path.relative_to(folder))] = about.st_mode, about.st_uid, about.st_gid, mtime, content
    return found


def inodes(folder: Path) -> dict[str, int]:
    """Return the inode number of each name in a folder and its subfolders, which its entry has too."""
    found = {}
    for above, _, _ in os.walk(folder):
        with os.scandir(above) as entries:
            for entry in entries:
                inode = found[os.path.relpath(entry.path, folder)] = entry.stat(follow_symlinks=False).st_ino
                assert entry.inode() == inode
    return found


class Writing(RuleBasedStateMachine):
    mount: Path
    plain: Path
    folder_times = True
    handles = Bundle("handles")

    def __init__(self) -> None:
        super().__init__()
        shown = Path(tempfile.mkdtemp(dir=self.mount))
        plain = Path(tempfile.mkdtemp(dir=self.plain))
        self.both = Both(shown, plain)
        self.open: set[tuple[int, int]] = set()
        # inode numbers of the mount, by those of the plain folder
        self.inodes: dict[int, int] = {}

    @rule(
        target=handles,
        path=name,
        access=st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR]),
        flags=st.lists(st.sampled_from([os.O_CREAT, os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND])),
    )
    def opens(self, path: str, access: int, flags: list[int]) -> Any:
        combined = access
        for flag in flags:
            combined |= flag
        found = self.both.call(lambda place: Opened(os.open(place, combined, 0o644)), path)
        if found[0] is None:
            return multiple()
        self.open.add(found)
        return found

    @rule(pair=consumes(handles))
    def closes(self, pair: tuple[Any, Any]) -> None:
        self.each(pair, os.close)
        self.open.discard(pair)

    @rule(pair=handles, bytes_=data, offset=offsets)
    def writes(self, pair: tuple[Any, Any], bytes_: bytes, offset: int) -> None:
        self.each(pair, lambda file: os.pwrite(file, bytes_, offset))

    @rule(pair=handles, bytes_=data)
    def appends(self, pair: tuple[Any, Any], bytes_: bytes) -> None:
        self.each(pair, lambda file: os.write(file, bytes_))

    @rule(pair=handles, size=offsets)
    def cuts(self, pair: tuple[Any, Any], size: int) -> None:
        self.each(pair, lambda file: os.ftruncate(file, size))

    @rule(path=name, size=offsets)
    def cuts_by_name(self, path: str, size: int) -> None:
        self.both.call(lambda place: os.truncate(place, size), path)

    @rule(
        pair=handles,
        mode=st.sampled_from([0, KEEP_SIZE, KEEP_SIZE | PUNCH_HOLE, ZERO_RANGE]),
        offset=offsets,
        size=st.integers(1, 9000),
    )
    def allocates(self, pair: tuple[Any, Any], mode: int, offset: int, size: int) -> None:
        self.each(pair, lambda file: file_calls.allocate(file, mode, offset, size))

    @rule(pair=handles)
    def syncs(self, pair: tuple[Any, Any]) -> None:
        self.each(pair, os.fsync)

    @rule(path=name)
    def removes(self, path: str) -> None:
        self.both.call(os.unlink, path)

    @rule(path=name, to=name, flags=st.sampled_from([0, 0, renaming.NO_REPLACE, renaming.EXCHANGE]))
    def renames(self, path: str, to: str, flags: int) -> None:
        self.both.call(lambda one, other: file_calls.move(AT_FDCWD, str(one), AT_FDCWD, str(other), flags), path, to)

    @rule(path=name)
    def makes_a_folder(self, path: str) -> None:
        self.both.call(lambda place: place.mkdir(0o750), path)

    @rule(path=name)
    def removes_a_folder(self, path: str) -> None:
        self.both.call(os.rmdir, path)

    @rule(path=name, text=st.sampled_from(["a", "nowhere", "c.mrc"]))
    def links(self, path: str, text: str) -> None:
        self.both.call(lambda place: place.symlink_to(text), path)

    @rule(path=name, mode=st.sampled_from([0o600, 0o755, 0o4711, 0o2755]))
    def sets_mode(self, path: str, mode: int) -> None:
        self.both.call(lambda place: place.chmod(mode), path)

    @rule(path=name, owner=st.sampled_from([(0, 0), (-1, 5), (7, -1)]))
    def sets_owner(self, path: str, owner: tuple[int, int]) -> None:
        self.both.call(lambda place: os.chown(place, *owner, follow_symlinks=False), path)

    @rule(path=name, times=st.sampled_from([(1, 2), (10**9 + 1, 5 * 10**9 + 7)]))
    def sets_times(self, path: str, times: tuple[int, int]) -> None:
        self.both.call(lambda place: os.utime(place, ns=times, follow_symlinks=False), path)

    @rule(path=name, value=st.sampled_from([b"", b"x" * 10]), flags=st.sampled_from([0, os.XATTR_CREATE]))
    def sets_attribute(self, path: str, value: bytes, flags: int) -> None:
        self.both.call(lambda place: os.setxattr(place, "user.test", value, flags), path)

    @rule(path=name)
    def removes_attribute(self, path: str) -> None:
        self.both.call(lambda place: os.removexattr(place, "user.test"), path)

    @invariant()
    def is_equal(self) -> None:
        shown, plain = (tree(place, folder_times=self.folder_times) for place in self.both.places)
        assert shown == plain
        for pair in self.open:
            self.each(pair, lambda file: (os.fstat(file).st_size, os.fstat(file).st_mode, os.fstat(file).st_nlink))
            self.each(pair, lambda file: os.pread(file, 3 * LARGEST, 0))
        self.has_the_same_inodes()

    def has_the_same_inodes(self) -> None:
        """Names and handles share an inode number where they do in the plain folder, and keep it as long."""
        shown, plain = map(inodes, self.both.places)
        pairs = [(plain[path], shown[path]) for path in plain]
        pairs += [(os.fstat(file).st_ino, os.fstat(other).st_ino) for other, file in self.open]
        found = dict(pairs)
        assert len(set(pairs)) == len(found) == len(set(found.values())), pairs
        for inode, number in found.items():
            assert self.inodes.get(inode, number) == number
        self.inodes = found

    def each(self, pair: tuple[Any, Any], call: Callable[[int], Any]) -> None:
        if pair in self.open:
            self.both.each(*[lambda file=file: call(file) for file in pair])

    def teardown(self) -> None:
        for pair in self.open:
            for file in pair:
                os.close(file)
        for place in self.both.places:
            shutil.rmtree(place)


AT_FDCWD = -100


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A writable mount of an empty archive, and a plain folder."""
    base = tmp_path_factory.mktemp("writing")
    for folder in ("archive", "plain"):
        (base / folder).mkdir()
    with mounted(base / "archive", base / "mnt", "--writable", "-o", "close=fast") as mount:
        yield mount, base / "plain"
    wait_for_unlocked(base / "archive")
    assert list((base / "archive").iterdir()) == []


def run(folders: tuple[Path, Path], examples: int, steps: int, base: type[Writing] = Writing) -> None:
    machine = type("Machine", (base,), {"mount": folders[0], "plain": folders[1]})
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    chosen = settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=health)
    run_state_machine_as_test(machine, settings=chosen)


def test_random_operations_equal_those_on_a_plain_folder(folders: tuple[Path, Path]) -> None:
    run(folders, 15, 25)


@pytest.mark.slow
def test_many_random_operations_equal_those_on_a_plain_folder(folders: tuple[Path, Path]) -> None:
    run(folders, 300, 60)
