"""systemd accepts the unit files, and the service notifies it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cryofs.cli.app import app
from cryofs.fuse.control import is_mounted
from tests.privileges import CAN_USE_FUSE
from tests.support import archive, cryofs, simulated

UNITS = sorted((Path(__file__).parents[2] / "systemd").iterdir())
COMMAND = Path(sys.executable).with_name("cryofs")


def by_name(name: str) -> str:
    return next(path for path in UNITS if path.name == name).read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.skipif(not COMMAND.exists(), reason="needs cryofs installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    assert {path.suffix for path in UNITS} == {".service", ".mount", ".automount"}
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace("/usr/local/bin/cryofs", str(COMMAND)))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, tmp_path.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-escape") is None, reason="needs systemd-escape")
def test_mount_units_are_named_after_their_mountpoint() -> None:
    for path in UNITS:
        for place in re.findall("^Where=(.+)$", path.read_text(), re.MULTILINE):
            done = subprocess.run(["systemd-escape", "--path", place], capture_output=True, text=True, check=True)
            assert path.stem == done.stdout.strip()


@pytest.mark.parametrize("unit", ["cryofs@.service", "cryofs-writable@.service"])
def test_services_of_mounts_make_no_mount_namespace(unit: str) -> None:
    """In a private mount namespace, other processes would not see the mount."""
    settings = re.findall(r"^(\w+)=", by_name(unit), re.MULTILINE)
    private = r"Protect(System|Home|Proc|Kernel\w+|ControlGroups)|Private(Tmp|Devices|Mounts|Users)|ProcSubset|Root\w+"
    hiding = r"|\w+Paths|Bind\w+|TemporaryFileSystem|MountFlags|MountAPIVFS|DynamicUser"
    assert [name for name in settings if re.fullmatch(private + hiding, name)] == []


def test_commands_of_the_units_exist() -> None:
    context = click.Context(app)
    for path in UNITS:
        for line in re.findall(r"^ExecSt(?:art|op)=-?/usr/local/bin/cryofs (.+)$", path.read_text(), re.MULTILINE):
            name, *words = line.split()
            options = {word for word in words if word.startswith("--") and word != "--"}
            command = app.get_command(context, name)
            assert command
            known = {option for parameter in command.params for option in parameter.opts}
            assert options <= known, path.name


def test_a_writable_mount_has_the_settings_of_a_read_only_one() -> None:
    """Both services differ only where writing needs it."""
    read_only, writable = (
        dict(re.findall(r"^(\w+=.*)$()", by_name(name), re.MULTILINE))
        for name in ("cryofs@.service", "cryofs-writable@.service")
    )
    differing = {line.partition("=")[0] for line in read_only.keys() ^ writable.keys()}
    expected = {"Description", "ExecStart", "KillMode", "TimeoutStopSec", "CapabilityBoundingSet", "RestrictSUIDSGID"}
    assert differing == expected


@pytest.mark.mounted
@pytest.mark.skipif(
    not CAN_USE_FUSE,
    reason="needs fuse3, /dev/fuse and the right to mount",
)
def test_a_mount_notifies_when_live_and_when_stopping(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "a.mrc")
    archive(tmp_path / "session", tmp_path / "archive")
    place = tmp_path / "mnt"
    place.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        mount = [sys.executable, "-m", "cryofs", "mount", str(tmp_path / "archive"), str(place)]
        with subprocess.Popen([*mount, "-f"], env=environment, stderr=subprocess.DEVNULL) as process:
            assert manager.recv(10_000).decode() == f"READY=1\nSTATUS=Serving {tmp_path}/archive at {place}"
            assert (place / "a.mrc").read_bytes() == (tmp_path / "session" / "a.mrc").read_bytes()
            process.send_signal(signal.SIGTERM)
            assert manager.recv(10_000).decode().startswith("STOPPING=1\nSTATUS=")
        assert process.returncode == 0
        # a background mount sends no notifications, because its process is not the one that was started
        cryofs("mount", tmp_path / "archive", place, "--log-file", tmp_path / "log", env=environment)
        cryofs("umount", place)
        assert not is_mounted(place)
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(10_000)
