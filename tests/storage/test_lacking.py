"""Storage that cannot do everything: what it lacks is left out with one notice, and errors stay errors."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cryofs.compress.movie_task import CompressOptions
from cryofs.storage import coarse_times
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.system import notices
from tests.archive.comparing import compared
from tests.storage.test_power_cut import counts_movie
from tests.support import archive, assert_verified, names, restored, same_tree

SECOND = 10**9
PLAIN = CompressOptions(gain="none", jobs=2)
AGAIN = CompressOptions(gain="none", jobs=2, only_do_unfinished=True)


@contextlib.contextmanager
def storage(folder: Path, **calls: Callable[..., Any]) -> Iterator[list[str]]:
    """Have functions of `os` fail below a folder; return the notices."""
    found: list[str] = []
    with pytest.MonkeyPatch.context() as patch, notices.shown(found.append):
        for name, call in calls.items():
            patch.setattr(os, name, _below(folder, getattr(os, name), call))
        yield found


def _below(folder: Path, real: Callable[..., Any], call: Callable[..., Any]) -> Callable[..., Any]:
    def replaced(file: Any, *arguments: Any, **options: Any) -> Any:
        path = Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else Path(file)
        if path == folder or folder in path.parents:
            return call(real, path, file, *arguments, **options)
        return real(file, *arguments, **options)

    return replaced


def failing(code: int, *, only_folders: bool = False) -> Callable[..., Any]:
    def call(real: Callable[..., Any], path: Path, *arguments: Any, **options: Any) -> Any:
        if only_folders and not path.is_dir():
            return real(*arguments, **options)
        raise OSError(code, os.strerror(code))

    return call


def rounding(step: int) -> Callable[..., Any]:
    def call(real: Callable[..., Any], _: Path, file: Any, *, ns: tuple[int, int], **options: Any) -> None:
        real(file, ns=(ns[0] // step * step, ns[1] // step * step), **options)

    return call


@pytest.fixture
def session(tmp_path: Path) -> Path:
    counts_movie(tmp_path / "session" / "a.mrc", seed=0)
    counts_movie(tmp_path / "session" / "sub" / "b.mrc", seed=1)
    for number in range(3):
        (tmp_path / "session" / f"{number}.txt").write_text(str(number))
        time = 1_700_000_001 * SECOND + number * SECOND + 123_456_789
        os.utime(tmp_path / "session" / f"{number}.txt", ns=(time, time))
    return tmp_path / "session"


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        ({"fsync": failing(errno.EINVAL, only_folders=True)}, "cannot sync folders"),
        ({"chmod": failing(errno.EPERM)}, "does not keep permissions"),
        ({"utime": failing(errno.EPERM)}, "does not let this user set times"),
    ],
)
def test_all_files_are_archived_and_restored_with_one_notice(
    session: Path, tmp_path: Path, calls: dict[str, Callable[..., Any]], text: str
) -> None:
    target = tmp_path / "archive"
    with storage(target, **calls) as found:
        _, reported = archive(session, target, PLAIN)
    assert not reported.errors
    assert len(found) == 1
    assert found[0].startswith(str(target))
    assert text in found[0]
    assert names(target) == ["0.txt", "1.txt", "2.txt", "a.mrc.tif", "sub/b.mrc.tif"]
    assert_verified(target, 2, all_have_checksums=True)
    with storage(tmp_path / "restored", **calls) as found:
        restored(target, tmp_path / "restored")
    assert len(found) == 1


def test_locks_of_the_kernel_are_not_needed(session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with storage(tmp_path / "archive") as found:
        _, reported = archive(session, tmp_path / "archive", PLAIN)
    assert not reported.errors
    assert not found
    assert_verified(tmp_path / "archive", 2, all_have_checksums=True)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("name", ["fsync", "chmod"])
def test_errors_stay_errors(session: Path, tmp_path: Path, code: int, name: str) -> None:
    (tmp_path / "archive").mkdir()
    target = tmp_path / "archive"
    with storage(target, **{name: failing(code)}) as found, contextlib.suppress(OSError):
        summary, reported = archive(session, target, PLAIN)
        assert summary.failed
        assert reported.errors
    assert not found
    assert not list(target.rglob("*.tif"))


def test_eperm_for_a_file_of_another_user_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryofs.storage import changes

    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with storage(tmp_path, chmod=failing(errno.EPERM)) as found, pytest.raises(PermissionError):
        changes.disk.set_mode(tmp_path / "folder", 0o700)
    assert not found


@pytest.mark.parametrize("step", [100, 10_000_000, SECOND, 2 * SECOND])
def test_files_are_copied_once_where_times_are_rounded(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(coarse_times, "_steps", {})
    target = tmp_path / "archive"
    # on storage with steps of two seconds, an odd second shows no rounding by itself
    os.utime(session / "0.txt", ns=(1_700_000_003 * SECOND,) * 2)
    with storage(target, utime=rounding(step)):
        archive(session, target, PLAIN)
        assert (target / "1.txt").stat().st_mtime_ns % step == 0
        summary, reported = archive(session, target, AGAIN)
        assert not reported.errors
        assert (summary.copied, summary.up_to_date, summary.skipped) == (0, 3, 2)
        assert compared(session, target)[0].all_equal
    assert len((target / LIST_NAME).read_bytes().splitlines()) == 3


def test_a_file_with_another_time_is_copied_again(session: Path, tmp_path: Path) -> None:
    """On storage that keeps times, a whole second differs from the next one."""
    target = tmp_path / "archive"
    os.utime(session / "0.txt", ns=(1_700_000_004 * SECOND,) * 2)
    archive(session, target, PLAIN)
    (session / "0.txt").write_text("x")
    os.utime(session / "0.txt", ns=(1_700_000_005 * SECOND,) * 2)
    (session / "1.txt").write_text("y")
    summary, _ = archive(session, target, AGAIN)
    assert summary.copied == 2
    same_tree(session / "sub", restored(target, tmp_path / "restored") / "sub")
    assert (target / "0.txt").read_text() == "x"
