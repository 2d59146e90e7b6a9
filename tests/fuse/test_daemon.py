"""Start of background mounts, checks of the mountpoint, location of the log."""

import os
import threading
from pathlib import Path

import pytest

from cryofs.config.mount_options import MountOptions
from cryofs.config.settings import Settings
from cryofs.errors import MountError
from cryofs.fuse import daemon
from cryofs.fuse.daemon import check_mountpoint, serve_in_background
from cryofs.fuse.log_file import open_log
from cryofs.system.mount_table import Mount


def test_a_mount_stays_in_the_process_group_of_its_command_until_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autofs blocks access of other process groups to the mountpoint until the mount is live."""

    def refuse(*_: object) -> None:
        raise MountError(f"{os.getpgrp()}, {os.environ.get('NOTIFY_SOCKET', 'no socket')}")

    monkeypatch.setattr(daemon, "serve_here", refuse)
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    with pytest.raises(MountError) as caught:
        serve_in_background(tmp_path, tmp_path, Settings(), MountOptions(), open_log(tmp_path, f"{tmp_path}/new/log"))
    assert f"not mounted: {os.getpgrp()}, no socket (log: {tmp_path}/new/log)" in str(caught.value)


def test_a_mount_keeps_no_file_of_its_command_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mountpoint: Path
) -> None:
    """Otherwise programs that wait for the end of a pipe would wait for the end of the mount."""

    def refuse(*_: object) -> None:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.exists()]
        raise MountError(f"still open: {[link.name for link in links if mountpoint in link.readlink().parents]}")

    monkeypatch.setattr(daemon, "serve_here", refuse)
    (mountpoint / "lock").touch()
    with (mountpoint / "lock").open(), pytest.raises(MountError) as caught:
        serve_in_background(tmp_path, mountpoint, Settings(), MountOptions(), open_log(tmp_path, f"{tmp_path}/log"))
    assert "still open: []" in str(caught.value)


def test_an_unexpected_error_of_the_process_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("division")

    monkeypatch.setattr(daemon, "serve_here", fail)
    with pytest.raises(MountError, match=r"not mounted: Traceback.*ZeroDivisionError: division"):
        serve_in_background(tmp_path, tmp_path, Settings(), MountOptions(), open_log(tmp_path, f"{tmp_path}/log"))


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    """Return an empty folder next to a nonempty archive."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "notes.txt").touch()
    (tmp_path / "mnt").mkdir()
    return tmp_path / "mnt"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a machine with a usable /dev/fuse."""
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, *rest, **more: path == "/dev/fuse" or real(path, *rest, **more))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", ["file", ".hidden", "folder/"])
def test_a_nonempty_mountpoint_is_rejected(mountpoint: Path, name: str) -> None:
    archive = mountpoint.with_name("archive")
    check_mountpoint(archive, mountpoint)
    (mountpoint / name).mkdir() if name.endswith("/") else (mountpoint / name).touch()
    with pytest.raises(MountError, match=f"{mountpoint}: not empty, .*; use an empty folder, or add -o nonempty"):
        check_mountpoint(archive, mountpoint)
    check_mountpoint(archive, mountpoint, nonempty=True)


@pytest.mark.usefixtures("device")
def test_an_archive_may_be_mounted_over_itself(mountpoint: Path) -> None:
    archive = mountpoint.with_name("archive")
    check_mountpoint(archive, archive)
    mountpoint.rmdir()
    mountpoint.symlink_to(archive)
    check_mountpoint(archive, mountpoint)


def test_swapped_arguments_are_detected_by_an_empty_archive(mountpoint: Path) -> None:
    archive = mountpoint.with_name("archive")
    with pytest.raises(MountError, match=f"cryofs mount {archive} {mountpoint}"):
        check_mountpoint(mountpoint, archive)


@pytest.mark.usefixtures("device")
def test_automount_points_do_not_count_as_entries(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mountpoint / "session").mkdir()
    archive = mountpoint.with_name("archive")
    on_demand = [Mount(mountpoint / "session", "0:1", "autofs")]
    monkeypatch.setattr(daemon, "mount_table", lambda: on_demand)
    check_mountpoint(archive, mountpoint)
    (mountpoint / "other").mkdir()
    with pytest.raises(MountError, match="not empty"):
        check_mountpoint(archive, mountpoint)


def test_listing_a_mountpoint_may_mount_it(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing the folder of a systemd automount unit mounts it."""
    (mountpoint / "a.mrc").touch()
    answers = [False, True]
    monkeypatch.setattr(daemon, "is_mounted", lambda _: answers.pop(0))
    with pytest.raises(MountError, match="already mounted"):
        check_mountpoint(mountpoint.with_name("archive"), mountpoint)


@pytest.mark.usefixtures("device")
def test_an_unreadable_mountpoint(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: object) -> None:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=str(mountpoint)):
        check_mountpoint(mountpoint.with_name("archive"), mountpoint)
    check_mountpoint(mountpoint.with_name("archive"), mountpoint, nonempty=True)


def test_a_mountpoint_whose_storage_hangs(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    back = threading.Event()
    monkeypatch.setattr(os, "scandir", lambda _: back.wait())
    try:
        with pytest.raises(MountError, match=f"{mountpoint}: storage did not respond"):
            check_mountpoint(mountpoint.with_name("archive"), mountpoint, seconds=0.05)
    finally:
        back.set()
