"""Sources are removed only from storage, and for an archive on storage, that keeps what it acknowledges."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.archive import refusals, same_bytes
from cryofs.errors import ArchiveError
from cryofs.fuse.control import FILE_SYSTEM_TYPE
from cryofs.system.mount_table import Mount, mount_table
from tests.archive.comparing import compared, entries
from tests.privileges import CAN_MOUNT
from tests.support import archive, names, simulated


def test_everything_is_on_the_disk_before_it_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "session", tmp_path / "archive"
    simulated(source / "sub" / "m.mrc", frames=4)
    (source / "sub" / "notes.txt").write_text("300 kV")
    archive(source, target)
    (target / "sub" / ".cryofs-sha256").touch()
    events: list[tuple[str, str]] = []

    def noting(what: str, function: Callable[..., object], of: Callable[..., str]) -> Callable[..., object]:
        def noted(*arguments: object, **named: object) -> object:
            events.append((what, of(*arguments)))
            return function(*arguments, **named)

        return noted

    def opened(descriptor: object, *_: object) -> str:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        return str(path.relative_to(tmp_path))

    monkeypatch.setattr(os, "fsync", noting("sync", os.fsync, opened))
    monkeypatch.setattr(os, "posix_fadvise", noting("drop", os.posix_fadvise, opened))
    monkeypatch.setattr(os, "unlink", noting("remove", os.unlink, lambda name, **_: str(name)))
    for name in ("file_difference", "movie_difference"):
        function = getattr(same_bytes, name)
        monkeypatch.setattr(
            f"cryofs.archive.compare_file.{name}",
            noting("read", function, lambda _, stored, *rest: opened(getattr(stored, "source", stored).descriptor)),
        )
    assert compared(source, target, remove_source=True)[0].removed == 2
    for name, stored, needs in (
        ("m.mrc", "archive/sub/m.mrc.tif", ["archive/gain-reference.mrc"]),
        ("notes.txt", "archive/sub/notes.txt", []),
    ):
        read = events.index(("read", stored))
        for each in (stored, "archive/sub/.cryofs-sha256", *needs):
            assert events.index(("sync", each)) < events.index(("drop", each)) < read
        for each in ("archive", "archive/sub"):
            assert events.index(("sync", each)) < read
        assert read < events.index(("remove", name))


def test_storage_that_cannot_sync(small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = small
    before = entries(source)

    def fsync(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ArchiveError, match="--trust-storage"):
        compared(source, target, remove_source=True)
    assert entries(source) == before
    assert compared(source, target, remove_source=True, trust_storage=True)[0].removed == 7


def mounted_as(monkeypatch: pytest.MonkeyPatch, place: Path, kind: str) -> None:
    """Have the table of mounts say that a folder is a mount of some type."""
    table = [*mount_table(), Mount(place, "0:9999", kind)]
    monkeypatch.setattr("cryofs.archive.compare.mount_table", lambda: table)


@pytest.mark.parametrize("kind", ["fuse.sshfs", "fuse.rclone", "fuse"])
def test_storage_whose_fsync_promises_nothing(
    small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source, target = small
    mounted_as(monkeypatch, target / "Movies", kind)
    assert compared(source, target)[0].all_equal
    with pytest.raises(ArchiveError, match=f"fsync on {kind} .* --trust-storage"):
        compared(source, target, remove_source=True)
    assert compared(source, target, remove_source=True, trust_storage=True)[0].removed == 7


@pytest.mark.parametrize("kind", ["ext4", "fuseblk", "nfs4", "xfs"])
def test_storage_whose_fsync_counts(small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounted_as(monkeypatch, small[1], kind)
    assert compared(*small, remove_source=True)[0].removed == 7


def test_sources_on_a_network_are_not_leased(small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    # NFS refuses a lease as if the file were in use
    mounted_as(monkeypatch, small[0], "nfs4")
    monkeypatch.setattr("cryofs.storage.leases.take_write_lease", lambda _: pytest.fail("asked for a lease"))
    assert compared(*small, remove_source=True)[0].removed == 7


@pytest.mark.parametrize("place", ["session", "session/Movies", "archive"])
@pytest.mark.parametrize("remove", [False, True])
def test_a_mount_of_cryofs_is_refused(
    small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, place: str, remove: bool
) -> None:
    before = entries(small[0])
    mounted_as(monkeypatch, small[0].parent / place, refusals.MOUNT_TYPE)
    with pytest.raises(ArchiveError, match="a cryofs mount"):
        compared(*small, remove_source=remove)
    assert entries(small[0]) == before


def test_the_type_of_mounts_is_that_of_this_program() -> None:
    assert refusals.MOUNT_TYPE == FILE_SYSTEM_TYPE


@pytest.mark.skipif(not CAN_MOUNT, reason="needs root to mount")
def test_folders_that_are_one_by_a_bind_mount_are_refused(small: tuple[Path, Path]) -> None:
    source, target = small
    (source / "bound").mkdir()
    before = names(source)
    subprocess.run(["mount", "--bind", target, source / "bound"], check=True)
    try:
        with pytest.raises(ArchiveError, match="overlap"):
            compared(source, target, remove_source=True)
        (target / "back").mkdir()
        subprocess.run(["mount", "--bind", source / "Movies", target / "back"], check=True)
        subprocess.run(["umount", source / "bound"], check=True)
        subprocess.run(["mount", "--bind", target / "back", source / "bound"], check=True)
        with pytest.raises(ArchiveError, match="overlap"):
            compared(source, target, remove_source=True)
    finally:
        for place in (source / "bound", target / "back"):
            subprocess.run(["umount", place], check=False, capture_output=True)
    assert names(source) == before


def test_files_that_an_overlay_shows_again_are_not_removed(tmp_path: Path) -> None:
    lower, overlay = tmp_path / "lower", tmp_path / "overlay"
    for name in ("lower/session/below", "upper", "work", "overlay"):
        (tmp_path / name).mkdir(parents=True)
    (lower / "session" / "below" / "notes.txt").write_text("300 kV")
    layers = f"lowerdir={lower},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
    mounting = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, overlay], check=False)
    if mounting.returncode:
        pytest.skip("needs overlays")
    try:
        with pytest.raises(ArchiveError, match="overlap"):
            compared(lower / "session", overlay / "session", remove_source=True)
        # an overlay has its own change time for a folder that was written to
        (overlay / "session" / "new.txt").write_text("new")
        (overlay / "session" / "below" / "new.txt").write_text("new")
        done, _ = compared(lower / "session", overlay / "session", remove_source=True)
        assert "compared with itself" in done.not_removed[0].reason
        assert names(lower) == ["session/below/notes.txt"]
    finally:
        subprocess.run(["umount", overlay], check=True)
