"""What this machine refuses: permissions, space, FUSE, stale mounts; one line with a remedy each."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryofs.fuse.control import is_mounted
from tests.cli.error_lines import PYTHON, error_line, run
from tests.privileges import CAN_MOUNT, CAN_USE_FUSE
from tests.support import DETACH_MOUNTS, cryofs, mounted, run_in_process, wait_for

as_root = pytest.mark.skipif(not CAN_MOUNT or shutil.which("unshare") is None, reason="needs root and unshare")
needs_fuse = pytest.mark.skipif(not CAN_USE_FUSE, reason="needs fuse3, /dev/fuse and the right to mount")
# prefix that removes the capabilities of root, so that permissions apply
POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@as_root
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "compress session/0.mrc session/1.mrc -o new",
            ("session/0.mrc: ", "Permission denied", "ask the owner for permission"),
        ),
        ("compress session/1.mrc -o closed", ("closed: Permission denied", "use another path")),
        ("compress session/1.mrc -o closed/new", ("closed/new: Permission denied", "use another path")),
        ("verify session/0.mrc.tif", ("session/0.mrc.tif: Permission denied", "ask the owner for permission")),
        ("info session/0.mrc", ("session/0.mrc: Permission denied", "ask the owner for permission")),
        ("config unread", ("unread: Permission denied", "ask the owner for permission")),
        ("report unread -o x.html", ("unread: Permission denied", "ask the owner for permission")),
        ("mount unread mnt", ("unread: Permission denied", "ask the owner for permission")),
        ("mount archive unread", ("unread: Permission denied", "ask the owner for permission")),
    ],
)
def test_missing_permissions(here: Path, command: str, message: tuple[str, ...]) -> None:
    shutil.copy("archive/0.mrc.tif", "session/0.mrc.tif")
    for name in ("session/0.mrc", "session/0.mrc.tif"):
        Path(name).chmod(0)
    Path("closed").mkdir(mode=0o500)
    Path("unread").mkdir(mode=0o300)
    line = error_line(
        run([*POWERLESS, *PYTHON, *command.split(), *(["--gain", "none"] if "compress" in command else [])])
    )
    for part in message:
        assert part in line


def apart(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in its own mount namespace; `$C` is the command."""
    return run(["unshare", "-m", "sh", "-c", f'{DETACH_MOUNTS}C="{" ".join(PYTHON)}"; {script}'], **environment)


@as_root
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "mount -t tmpfs -o size=64k none mnt; $C extract archive/0.mrc.tif -o mnt",
            ("mnt/0.mrc: No space", "free some space"),
        ),
        (
            "mount -t tmpfs -o size=64k none mnt; $C compress session -o mnt/a --gain none >/dev/null 2>mnt.log; "
            "tail -n 1 mnt.log >&2; exit 1",
            ("mnt/a: No space", "2 files are not done", "free some space", "--gain none --only-do-unfinished"),
        ),
        ("mount -t tmpfs -o ro none mnt; $C compress session -o mnt/a", ("mnt/a: Read-only", "use a writable path")),
        ("mount -t tmpfs -o ro none mnt; $C extract archive -o mnt/a", ("mnt/a: Read-only", "use a writable path")),
        ("mount -t tmpfs none /dev; $C mount archive mnt", ("/dev/fuse: missing or not accessible", "cryofs doctor")),
        ("mount --bind /dev/null /dev/fuse; $C mount archive mnt", ("mnt: not mounted: ", "cryofs doctor")),
    ],
)
def test_machine_without_space_or_fuse(here: Path, script: str, message: tuple[str, ...]) -> None:
    line = error_line(apart(script))
    for part in message:
        assert part in line


@needs_fuse
def test_background_mount_reports_its_error(here: Path) -> None:
    for options, message in (
        ({"FUSE_LIBRARY_PATH": "/nowhere.so"}, ("missing libfuse 3", "apt-get install fuse3")),
        ({}, ("no.gain: gain reference does not exist", "correct --eer-gain")),
    ):
        line = error_line(run([*PYTHON, "mount", "archive", "mnt", "--eer-gain", "no.gain"], **options))
        assert line.startswith(f"cryofs: {here}/mnt: not mounted: ")
        for part in message:
            assert part in line
        assert not is_mounted(here / "mnt")


@pytest.fixture
def mount(here: Path) -> Iterator[Path]:
    """Mounted archive."""
    cryofs("mount", "archive", "mnt")
    yield here / "mnt"
    if is_mounted(here / "mnt"):
        cryofs("umount", "--lazy", here / "mnt")


@needs_fuse
def test_mount_in_use(mount: Path) -> None:
    assert "mnt: already mounted; unmount it with cryofs umount " in error_line(
        run_in_process("mount", "archive", "mnt", check=False)
    )
    with subprocess.Popen(["sleep", "60"], cwd=mount) as inside:
        line = error_line(run_in_process("umount", "mnt", check=False))
        inside.kill()
    for part in (f"{mount}: ", "busy", f"fuser -vm {mount}", "--lazy"):
        assert part in line


@needs_fuse
def test_mountpoint_behind_a_link(here: Path) -> None:
    Path("link").symlink_to("mnt")
    cryofs("mount", "archive", "link")
    assert "mnt: already mounted" in error_line(run_in_process("mount", "archive", "link", check=False))
    os.kill(int(os.getxattr("link", "user.cryofs.pid")), signal.SIGKILL)
    wait_for(lambda: run_in_process("stats", "link", check=False).returncode)
    assert "removed a stale mount" in cryofs("mount", "archive", "link").stderr
    cryofs("umount", "link")
    assert not is_mounted(here / "mnt")


@needs_fuse
@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_mount_by_a_daemon_with_closed_streams(here: Path, closed: str) -> None:
    subprocess.run(f"{' '.join(PYTHON)} mount archive mnt {closed}", shell=True, check=True, timeout=60)
    assert (here / "mnt" / "0.mrc").read_bytes() == (here / "session" / "0.mrc").read_bytes()
    cryofs("umount", "mnt")


@pytest.fixture(scope="module")
def dead(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a mount `mnt` whose process was killed."""
    place = Path(shutil.copytree(made, tmp_path_factory.mktemp("dead") / "here"))
    with mounted(place / "archive", place / "mnt") as mount:
        os.kill(int(os.getxattr(mount, "user.cryofs.pid")), signal.SIGKILL)
        wait_for(lambda: run_in_process("stats", mount, check=False).returncode)
        yield place


@needs_fuse
@pytest.mark.parametrize("command", ["stats mnt", "verify mnt", "info mnt/0.mrc", "mount mnt eer"])
def test_stale_mount(dead: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(dead)
    line = error_line(run_in_process(*command.split(), check=False))
    assert "mnt" in line
    assert "stale mount" in line
    assert "cryofs umount" in line
