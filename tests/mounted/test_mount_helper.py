"""Mounting by administrators: mount(8), lines of fstab, a bare environment, another namespace."""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryofs.fuse.control import is_mounted
from tests.mounted.support import NEEDS_MOUNTS
from tests.privileges import IS_ROOT
from tests.support import DETACH_MOUNTS, archive, run_in_process, same_tree, simulated, wait_for

HELPER = Path(sys.executable).with_name("mount.cryofs")
LINKS = (Path("/sbin/mount.cryofs"), Path("/sbin/mount.fuse.cryofs"))
pytestmark = [
    *NEEDS_MOUNTS,
    pytest.mark.skipif(not HELPER.exists(), reason="needs cryofs installed"),
]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a session folder and its archive, both with unusual names."""
    folder = tmp_path_factory.mktemp("helper") / "session"
    simulated(folder / "a.mrc")
    archive(folder, folder.with_name("an archive, ö"))
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Return a mountpoint."""
    folder = tmp_path / "mnt point"
    folder.mkdir()
    yield folder
    if is_mounted(folder):
        run_in_process("umount", folder)


@pytest.fixture
def linked() -> Iterator[None]:
    """Install the helper for mount(8), for one test at a time on this machine; never replace another helper."""
    if not IS_ROOT:
        pytest.skip("needs root, to link the helper into /sbin")
    made = []
    with contextlib.ExitStack() as stack:
        descriptor = os.open("/sbin", os.O_RDONLY)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for link in LINKS:
            if not os.path.lexists(link):
                link.symlink_to(HELPER.with_name(link.name))
                made.append(link)
            elif link.resolve() != HELPER.with_name(link.name).resolve():
                pytest.skip(f"{link} exists and does not belong to these tests")
        try:
            yield
        finally:
            for link in made:
                link.unlink()


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    words = list(map(str, command))
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def options_shown(place: Path) -> set[str]:
    done = run("findmnt", "--noheadings", "--output", "FSTYPE,OPTIONS", "--mountpoint", place)
    kind, _, options = done.stdout.strip().partition(" ")
    return {kind, *options.strip().split(",")}


@pytest.mark.usefixtures("linked")
@pytest.mark.parametrize("kind", ["cryofs", "fuse.cryofs"])
def test_mount_and_umount(session: Path, place: Path, kind: str) -> None:
    options = "allow_other,noauto,_netdev,x-systemd.automount,cache_size=64MiB,uid=1"
    done = run("mount", "-v", "-t", kind, session.with_name("an archive, ö"), place, "-o", options)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"mounted on {place}" in done.stdout
    assert {"fuse.cryofs", "ro", "nosuid", "nodev", "default_permissions", "allow_other"} <= options_shown(place)
    assert ((place / "a.mrc").stat().st_uid, os.getxattr(place, "user.cryofs.budget_bytes")) == (1, b"%d" % (64 << 20))
    same_tree(session, place)
    again = run("mount", "-t", kind, session.with_name("an archive, ö"), place)
    assert again.returncode == 32
    assert run("umount", place).returncode == 0
    assert not is_mounted(place)


@pytest.mark.usefixtures("linked")
def test_lines_of_fstab(session: Path, place: Path, tmp_path: Path) -> None:
    def escaped(path: Path) -> str:
        return str(path).replace(" ", r"\040")

    (tmp_path / "other").mkdir()
    archived = escaped(session.with_name("an archive, ö"))
    fstab = tmp_path / "fstab"
    fstab.write_text(
        f"{archived} {escaped(place)} fuse.cryofs allow_other,_netdev 0 0\n"
        f"{archived} {tmp_path}/other cryofs defaults,noauto,umask=077 0 0\n"
    )
    for _ in range(2):
        # existing mounts are skipped
        assert run("mount", "--fstab", fstab, "-a").returncode == 0
        assert is_mounted(place)
        assert not is_mounted(tmp_path / "other")
    assert run("mount", "-T", fstab, tmp_path / "other").returncode == 0
    assert (tmp_path / "other" / "a.mrc").stat().st_mode & 0o777 == 0o600
    same_tree(session, place)
    assert run("umount", tmp_path / "other", place).returncode == 0


@pytest.mark.usefixtures("linked")
def test_a_mount_in_another_namespace(session: Path, place: Path) -> None:
    with subprocess.Popen(["unshare", "-m", "sh", "-c", DETACH_MOUNTS + "echo; read x"], stdin=-1, stdout=-1) as inside:
        assert inside.stdin
        assert inside.stdout
        inside.stdout.readline()
        done = run("mount", "-N", inside.pid, "-t", "cryofs", session.with_name("an archive, ö"), place)
        assert (done.returncode, done.stderr) == (0, "")
        assert not is_mounted(place)
        table = Path(f"/proc/{inside.pid}/mountinfo").read_text()
        assert f"{str(place).replace(' ', chr(92) + '040')} " in table
        assert run("nsenter", f"--mount=/proc/{inside.pid}/ns/mnt", "umount", place).returncode == 0
        inside.stdin.write(b"\n")


def test_a_bare_environment(session: Path, place: Path) -> None:
    """Mount as during boot: no PATH, no HOME, no working directory."""
    log = Path(f"/var/log/cryofs/{str(place).strip('/').replace('/', '-')}.log")
    if not IS_ROOT:
        pytest.skip("checks the log of root")
    was_there = log.parent.is_dir()
    done = run("/usr/bin/env", "-i", HELPER, session.with_name("an archive, ö"), place, "-o", "rw", cwd="/")
    try:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        same_tree(session, place)
        wait_for(lambda: "index" in log.read_text())
        run_in_process("umount", place)
    finally:
        log.unlink(missing_ok=True)
        if not was_there and log.parent.is_dir():
            log.parent.rmdir()


def test_a_nonempty_folder_needs_an_option(session: Path, place: Path) -> None:
    (place / "mine.txt").write_text("mine")
    command = (HELPER, session.with_name("an archive, ö"), place)
    done = run(*command)
    assert (done.returncode, is_mounted(place)) == (32, False)
    assert done.stderr.startswith(f"mount.cryofs: {place}: not empty")
    assert run(*command, "-o", "rw,nonempty").returncode == 0
    same_tree(session, place)


def test_a_fake_mount_mounts_nothing(session: Path, place: Path) -> None:
    done = run(HELPER, session.with_name("an archive, ö"), place, "-fnsv", "-t", "fuse.cryofs", "-o", "ro")
    assert (done.returncode, done.stderr) == (0, "")
    assert not is_mounted(place)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 1, "expected an archive and a mountpoint"),
        (["archive"], 1, "expected an archive and a mountpoint"),
        (["archive", "mnt", "-q"], 1, "option -q not recognized"),
        (["archive", "mnt", "-o", "rw,allow_othr"], 1, "did you mean allow_other?"),
        (["archive", "mnt", "-o", "jobs=0"], 1, "jobs: invalid value '0'; expected a whole number"),
        (["nowhere", "mnt"], 32, "/nowhere: No such file or directory; check the path"),
        (["archive", "nowhere"], 32, "/nowhere: mountpoint does not exist"),
        (["archive", "mnt", "-o", "log_file=/proc/nowhere/log"], 32, "choose another file with -o log_file"),
        (["archive", "mnt", "-o", "metrics=x"], 1, "metrics: invalid address 'x'"),
        (["archive", "mnt", "-o", "metrics=192.0.2.1:9", "-o", "log_file=/dev/null"], 32, "mnt: not mounted"),
        (["archive", "mnt", "-N", "/proc/self/ns/net"], 32, "cannot enter the mount namespace"),
        (["archive", "mnt", "-N", "/nowhere"], 32, "/nowhere: not a mount namespace"),
    ],
)
def test_invalid_mounts_print_one_line(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "mnt").mkdir()
    done = run(HELPER, *arguments, cwd=tmp_path)
    assert done.returncode == code
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("mount.cryofs: ")
    assert message in line


def test_the_helper_imports_little() -> None:
    """Boot waits for the helper, so it imports little."""
    program = "import sys; from cryofs.cli.mount_helper import run; run(['/', '/', '-f']); print(*sys.modules)"
    loaded = run(sys.executable, "-c", program).stdout.split()
    assert "cryofs.config.mount_options" in loaded
    assert not {"numpy", "numba", "mfusepy", "click", "rich", "tifffile"} & set(loaded)


def test_help_has_an_example() -> None:
    assert "Example: mount -t fuse.cryofs " in run(HELPER, "--help").stdout
