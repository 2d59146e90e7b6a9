"""What a mount protects: the archive from changes, files from users without permission, the machine."""

import contextlib
import errno
import grp
import mmap
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cryofs.fuse.control import is_mounted
from tests.support import (
    DETACH_MOUNTS,
    archive,
    cryofs,
    keep_group_out,
    mounted,
    run_in_process,
    same_tree,
    simulated,
    wait_for,
)

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(
        shutil.which("fusermount3") is None or not os.access("/dev/fuse", os.R_OK | os.W_OK),
        reason="needs fuse3 and /dev/fuse",
    ),
]
NOBODY = 65534
# changing user ids is not enough; the process must not keep any capability of root
AS_NOBODY = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all --bounding-set=-all".split()


@pytest.fixture(scope="module")
def session() -> Iterator[Path]:
    """Return a session that any user can access, next to its archive."""
    base = Path(tempfile.mkdtemp(prefix="cryofs-protection-"))
    base.chmod(0o755)
    folder = base / "session"
    simulated(folder / "Movies" / "a.mrc", frames=10)
    (folder / "notes.txt").write_text("300 kV")
    (folder / "private.txt").write_text("mine")
    (folder / "private.mrc").write_bytes((folder / "Movies" / "a.mrc").read_bytes())
    for name in ("private.txt", "private.mrc"):
        (folder / name).chmod(0o600)
    (folder / "link").symlink_to("nowhere")
    for path in (folder, folder / "Movies"):
        path.chmod(0o755)
    archive(folder, base / "archive")
    (base / "archive").chmod(0o755)
    yield folder
    shutil.rmtree(base)


@pytest.fixture
def place(session: Path) -> Iterator[Path]:
    """Return a mountpoint that any user can access."""
    folder = Path(tempfile.mkdtemp(prefix="mnt", dir=session.parent))
    folder.chmod(0o755)
    yield folder
    if is_mounted(folder):
        run_in_process("umount", "--lazy", folder)
    folder.rmdir()


def fingerprint(folder: Path) -> dict[Path, tuple[object, ...]]:
    """Return the content of every file and everything that stat reports except the access time."""

    def state(path: Path) -> tuple[object, ...]:
        found = path.lstat()
        attributes = {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        }
        content = path.read_bytes() if stat.S_ISREG(found.st_mode) else b""
        return (*found[:7], found.st_mtime_ns, found.st_ctime_ns, found.st_blocks, attributes, content)

    return {path: state(path) for path in [folder, *folder.rglob("*")]}


WRITES: dict[str, Callable[[Path], object]] = {
    "open for writing": lambda mount: os.open(mount / "notes.txt", os.O_WRONLY),
    "open for both": lambda mount: os.open(mount / "Movies" / "a.mrc", os.O_RDWR),
    "open to append": lambda mount: os.open(mount / "notes.txt", os.O_WRONLY | os.O_APPEND),
    "open and cut": lambda mount: os.open(mount / "notes.txt", os.O_RDONLY | os.O_TRUNC),
    "create": lambda mount: os.open(mount / "new", os.O_CREAT | os.O_RDONLY),
    "truncate": lambda mount: os.truncate(mount / "Movies" / "a.mrc", 5),
    "unlink": lambda mount: (mount / "notes.txt").unlink(),
    "rename": lambda mount: (mount / "notes.txt").rename(mount / "other.txt"),
    "replace": lambda mount: (mount / "notes.txt").replace(mount / "private.txt"),
    "mkdir": lambda mount: (mount / "new").mkdir(),
    "rmdir": lambda mount: (mount / "Movies").rmdir(),
    "link": lambda mount: (mount / "new").hardlink_to(mount / "notes.txt"),
    "symlink": lambda mount: (mount / "new").symlink_to("notes.txt"),
    "mknod": lambda mount: os.mknod(mount / "new"),
    "mkfifo": lambda mount: os.mkfifo(mount / "new"),
    "chmod": lambda mount: (mount / "notes.txt").chmod(0o600),
    "chown": lambda mount: os.chown(mount / "notes.txt", 1, 1),
    "utime": lambda mount: os.utime(mount / "Movies" / "a.mrc", (1, 1)),
    "setxattr": lambda mount: os.setxattr(mount / "notes.txt", "user.x", b"1"),
    "removexattr": lambda mount: os.removexattr(mount, "user.cryofs.facts"),
    "counts": lambda mount: (mount / "@counts" / "Movies" / "a.mrc").unlink(),
    "archive": lambda mount: (mount / "@archive" / "Movies" / "a.mrc.tif").unlink(),
}


def test_the_archive_is_never_changed(session: Path, place: Path) -> None:
    target = session.with_name("archive")
    before = fingerprint(target)
    with mounted(target, place, "-o", "allow_other"):
        answers = {}
        for name, write in WRITES.items():
            try:
                write(place)
            except OSError as error:
                answers[name] = errno.errorcode[error.errno or 0]
        assert answers == dict.fromkeys(WRITES, "EROFS")
        with (place / "notes.txt").open("rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
            os.posix_fallocate(file.fileno(), 0, 10)
        same_tree(session, place)
        for view in ("@counts", "@archive"):
            for path in (place / view).rglob("*"):
                if path.is_file():
                    path.read_bytes()
        run_in_process("stats", place)
        os.kill(int(os.getxattr(place, "user.cryofs.pid")), signal.SIGHUP)
    assert fingerprint(target) == before


def test_protective_mount_options_cannot_be_disabled(session: Path, place: Path) -> None:
    with mounted(session.with_name("archive"), place):
        line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {place} " in line)
        own, superblock = line.split(" ")[5].split(","), line.rpartition(" ")[2].split(",")
        assert {"ro", "nosuid", "nodev"} <= set(own)
        assert {"ro", "default_permissions"} <= set(superblock)
    for option in ("rw", "suid", "dev"):
        done = run_in_process(
            "mount", session.with_name("archive"), place, "-o", option, "--log-file", f"{place}.log", check=False
        )
        assert done.returncode == 2
        assert "remove this option" in done.stderr
        assert not is_mounted(place)


def as_nobody(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*AS_NOBODY, *map(str, command)], capture_output=True, text=True, check=False, cwd="/")


needs_root = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")


@needs_root
def test_other_users_read_permitted_files(session: Path, place: Path) -> None:
    with mounted(session.with_name("archive"), place, "-o", "allow_other"):
        assert as_nobody("cat", place / "notes.txt").stdout == "300 kV"
        assert as_nobody("cmp", place / "Movies" / "a.mrc", session / "Movies" / "a.mrc").returncode == 0
        for name in ("private.txt", "private.mrc"):
            assert (place / name).read_bytes() == (session / name).read_bytes()
            assert "Permission denied" in as_nobody("cat", place / name).stderr


@needs_root
def test_other_users_have_no_access_without_allow_other(session: Path, place: Path) -> None:
    with mounted(session.with_name("archive"), place):
        assert "Permission denied" in as_nobody("cat", place / "notes.txt").stderr


# All users may open /dev/fuse here. $C is cryofs run by a user who mounts with fusermount3 and who may read any
# installation; $NOBODY runs a command as a user without privileges.
OPEN_DEVICE = f"""
set -e
mount --bind "$NODE" /dev/fuse
NOBODY="{" ".join(AS_NOBODY)}"
READING="--inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
C="setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups $READING env HOME=$PLACE.home {sys.executable} -m cryofs"
"""


@pytest.fixture
def as_user(session: Path, place: Path) -> Iterator[Callable[[str], subprocess.CompletedProcess[str]]]:
    """Return a function that runs a script in a private mount namespace where all users may open /dev/fuse."""
    node, home = place.with_name("fuse"), Path(f"{place}.home")
    try:
        os.mknod(node, stat.S_IFCHR | 0o666, Path("/dev/fuse").stat().st_rdev)
        node.chmod(0o666)
    except PermissionError:
        pytest.skip("no device may be made here")
    home.mkdir()
    for path in (place, home):
        os.chown(path, NOBODY, NOBODY)
    names = {"NODE": node, "PLACE": place, "ARCHIVE": session.with_name("archive"), "SESSION": session}
    environment = os.environ | {name: str(path) for name, path in names.items()}
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        environment.pop(name, None)

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "-m", "sh", "-c", DETACH_MOUNTS + OPEN_DEVICE + script]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    yield run
    node.unlink()
    shutil.rmtree(home)


@needs_root
def test_owner_and_permissions_of_the_mount(session: Path, place: Path) -> None:
    """The owner shown by the mount decides who may read a file, not the owner in the archive."""
    # mounts without these options come before and after, because cached state must not depend on them
    target = session.with_name("archive")
    for options in ("allow_other", f"allow_other,uid={NOBODY},gid=daemon,umask=037", "allow_other"):
        with mounted(target, place, "-o", options):
            for name in ("", "Movies", "private.txt", "private.mrc", "@counts/private.mrc", "@archive/notes.txt"):
                shown = (place / name).stat()
                real = (target / name.replace("@counts/", "").replace("@archive/", "")) if name else target
                mode = (real if real.exists() else session / real.name).stat().st_mode
                owned = "uid" in options
                assert (shown.st_uid, shown.st_gid) == ((NOBODY, grp.getgrnam("daemon").gr_gid) if owned else (0, 0))
                assert shown.st_mode == (mode & ~0o037 if owned else mode), name
            assert (place / "link").lstat().st_mode == (session / "link").lstat().st_mode
            result = as_nobody("cat", place / "private.txt")
            assert result.stdout == ("mine" if owned else "")
    for options in ("allow_other,uid=1", "allow_other,umask=007"):
        with mounted(target, place, "-o", options):
            allowed = "umask" not in options
            assert as_nobody("cat", place / "notes.txt").stdout == ("300 kV" if allowed else "")


@needs_root
def test_access_lists_of_the_archive_are_not_applied(session: Path, place: Path) -> None:
    target = copy_of_archive(session, session.parent)
    secret = target / "notes.txt"
    os.chown(secret, 0, NOBODY)
    keep_group_out(secret)
    try:
        assert "Permission denied" in as_nobody("cat", secret).stderr
        for options, result in (("allow_other", "300 kV"), ("allow_other,umask=077", "")):
            with mounted(target, place, "-o", options):
                assert as_nobody("cat", place / "notes.txt").stdout == result
                with pytest.raises(OSError, match="not supported"):
                    os.getxattr(place / "notes.txt", "system.posix_acl_access")
    finally:
        shutil.rmtree(target)


@needs_root
def test_a_user_without_privileges_mounts(as_user: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    done = as_user("""
        $C mount "$ARCHIVE" "$PLACE"
        grep " $PLACE " /proc/self/mountinfo
        $NOBODY cmp "$PLACE/Movies/a.mrc" "$SESSION/Movies/a.mrc"
        ! $NOBODY cat "$PLACE/private.txt"
        ! ls "$PLACE"
        $C umount "$PLACE"
        ! grep " $PLACE " /proc/self/mountinfo
    """)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert f"user_id={NOBODY}" in line
    assert {"ro", "nosuid", "nodev"} <= set(line.split()[5].split(","))
    # even root has no access without allow_other
    assert done.stderr.count("Permission denied") == 2


@needs_root
def test_a_mount_of_another_user(as_user: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    done = as_user(f"""
        {sys.executable} -m cryofs mount "$ARCHIVE" "$PLACE"
        ! $C umount "$PLACE"
        ! $C stats "$PLACE"
        {sys.executable} -m cryofs umount "$PLACE"
    """)
    assert done.returncode == 0, done.stderr
    by_umount, by_stats = done.stderr.splitlines()
    assert by_umount.endswith("mounted by another user (root); unmount it as that user or as root")
    assert "mounted by another user, without access for others" in by_stats
    assert "-o allow_other" in by_stats


@needs_root
def test_a_missing_fusermount3_is_reported(as_user: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    done = as_user("""
        mount --bind /dev/null "$(realpath "$(command -v fusermount3)")"
        $C mount "$ARCHIVE" "$PLACE"
    """)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "not mounted: " in line
    assert "fusermount3" in line
    assert "run cryofs doctor" in line


@contextlib.contextmanager
def readers(place: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start programs that read a movie repeatedly, bypassing the page cache, until a read fails."""
    endless = f"while dd if='{place}/Movies/a.mrc' of=/dev/null bs=64K iflag=direct; do :; done"
    alive, held = os.pipe()
    running = [
        subprocess.Popen(["sh", "-c", endless], stderr=subprocess.DEVNULL, pass_fds=[held], start_new_session=True)
        for _ in range(count)
    ]
    os.close(held)
    try:
        yield running
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # a dd that briefly outlives its shell would keep the mount busy
        with os.fdopen(alive, "rb") as pipe:
            pipe.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_under_load_ends_the_mount_without_hangs(session: Path, place: Path, number: int) -> None:
    cryofs("mount", session.with_name("archive"), place, "--log-file", f"{place}.log")
    pid = int(os.getxattr(place, "user.cryofs.pid"))
    with readers(place, 4) as running:
        wait_for(lambda: int(os.getxattr(place, "user.cryofs.reads")) > 50)
        os.kill(pid, number)
        for process in running:
            process.wait(30)
        wait_for(lambda: not psutil.pid_exists(pid))
    if number == signal.SIGKILL:
        done = run_in_process("stats", place, check=False)
        assert f"stale mount, its process has ended; remove it with cryofs umount {place}" in done.stderr
        run_in_process("umount", place)
    assert not is_mounted(place)
    with mounted(session.with_name("archive"), place):
        same_tree(session, place)


def test_hangups_under_load_keep_the_mount(session: Path, place: Path) -> None:
    with mounted(session.with_name("archive"), place):
        pid = int(os.getxattr(place, "user.cryofs.pid"))
        with readers(place, 2) as running:
            for _ in range(20):
                os.kill(pid, signal.SIGHUP)
                assert (place / "Movies" / "a.mrc").read_bytes() == (session / "Movies" / "a.mrc").read_bytes()
            assert [process.poll() for process in running] == [None, None]


def test_a_mount_in_use_can_be_detached(session: Path, place: Path) -> None:
    cryofs("mount", session.with_name("archive"), place, "--log-file", f"{place}.log")
    pid = int(os.getxattr(place, "user.cryofs.pid"))
    with (place / "Movies" / "a.mrc").open("rb") as file:
        done = run_in_process("umount", place, check=False)
        assert done.returncode == 1
        assert "--lazy" in done.stderr
        run_in_process("umount", "--lazy", place)
        assert not is_mounted(place)
        assert file.read() == (session / "Movies" / "a.mrc").read_bytes()
    wait_for(lambda: not psutil.pid_exists(pid))


# A mount whose reads of one file hang while a flag file exists.
HANGING = """
import os, sys, time
from cryofs.storage.byte_source import LocalFile
flag = sys.argv.pop()
def pread(descriptor, size, offset):
    while os.path.exists(flag) and "private.mrc" in os.readlink(f"/proc/self/fd/{descriptor}"):
        time.sleep(0.05)
    return os.pread(descriptor, size, offset)
LocalFile._pread = staticmethod(pread)
from cryofs.cli import main
main()
"""


def test_a_file_on_hanging_storage_does_not_block_others(session: Path, place: Path, tmp_path: Path) -> None:
    flag, log = tmp_path / "flag", tmp_path / "log"
    command = [sys.executable, "-c", HANGING, "mount", "-f", str(session.with_name("archive")), str(place)]
    with log.open("w") as output:
        mount = subprocess.Popen([*command, "--request-timeout", "2", str(flag)], stderr=output)
        wait_for(lambda: is_mounted(place) and (place / "private.mrc").stat())
        stuck = place / "private.mrc"
        early = os.open(stuck, os.O_RDONLY | os.O_DIRECT)
        flag.touch()
        offsets = range(100_000, stuck.stat().st_size, 100_000)
        # more readers than the default number of libfuse threads
        reads = [["dd", f"if={stuck}", "bs=4K", f"skip={offset // 4096}", "iflag=direct"] for offset in [*offsets] * 4]
        waiting = [subprocess.Popen(read, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for read in reads]
        assert len(waiting) > 10
        assert (place / "Movies" / "a.mrc").read_bytes() == (session / "Movies" / "a.mrc").read_bytes()
        assert "private.mrc" in os.listdir(place)
        assert stuck.stat().st_size == (session / "private.mrc").stat().st_size
        assert any(one.poll() is None for one in waiting), "other files were readable while these readers waited"
        assert all(b"timed out" in one.communicate(timeout=60)[1] for one in waiting)
        assert stuck.stat().st_size == (session / "private.mrc").stat().st_size
        with pytest.raises(TimeoutError):
            os.preadv(early, [mmap.mmap(-1, 4096)], 4096 * 100)
        os.close(early)
        assert f"{session.with_name('archive')}/private.mrc.tif, frame " in log.read_text()
        flag.unlink()
        wait_for(lambda: subprocess.run(["cmp", stuck, session / "private.mrc"], capture_output=True).returncode == 0)
        run_in_process("umount", place)
        assert mount.wait(60) == 0


def test_blocks_are_those_of_the_archive(session: Path, place: Path) -> None:
    with mounted(session.with_name("archive"), place):
        shown = (place / "Movies" / "a.mrc").stat()
        stored = (session.with_name("archive") / "Movies" / "a.mrc.tif").stat()
        assert (shown.st_blocks, shown.st_blksize) == (stored.st_blocks, 1 << 20)
        assert shown.st_size > 512 * shown.st_blocks


def copy_of_archive(session: Path, folder: Path) -> Path:
    return Path(shutil.copytree(session.with_name("archive"), folder / "copy", symlinks=True))


def test_an_error_under_a_map_is_a_signal(session: Path, place: Path, tmp_path: Path) -> None:
    target = copy_of_archive(session, tmp_path)
    (target / "gain-reference.mrc").unlink()
    read = "import mmap, sys; f = open(sys.argv[1]); mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[200_000]"
    with mounted(target, place):
        done = subprocess.run([sys.executable, "-c", read, place / "Movies" / "a.mrc"], check=False)
    assert done.returncode == -signal.SIGBUS


def test_sizes_are_those_of_the_new_file(session: Path, place: Path, tmp_path: Path) -> None:
    target = copy_of_archive(session, tmp_path)
    (tmp_path / "new").write_text("300 k")
    with mounted(target, place), (place / "notes.txt").open("rb", buffering=0) as old:
        assert old.read(2) == b"30"
        (tmp_path / "new").replace(target / "notes.txt")
        wait_for(lambda: (place / "notes.txt").stat().st_size == 5)
        assert os.pread(old.fileno(), 10, 0) in (b"300 kV", b"300 k")
        with (place / "notes.txt").open("rb", buffering=0) as new:
            assert new.read() == b"300 k"
            with pytest.raises(OSError, match="No such device"):
                mmap.mmap(new.fileno(), 0, prot=mmap.PROT_READ)
