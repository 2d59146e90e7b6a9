"""Users of a mount: who may read, who may mount, whose files are shown."""

import grp
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mounted.support import NEEDS_MOUNTS, archive_copy
from tests.privileges import IS_ROOT
from tests.support import DETACH_MOUNTS, keep_group_out, mounted

pytestmark = NEEDS_MOUNTS
NOBODY = 65534
# changing user ids is not enough; the process must not keep any capability of root
AS_NOBODY = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all --bounding-set=-all".split()
needs_root = pytest.mark.skipif(not IS_ROOT or shutil.which("setpriv") is None, reason="needs root and setpriv")


def as_nobody(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*AS_NOBODY, *map(str, command)], capture_output=True, text=True, check=False, cwd="/")


@needs_root
def test_other_users_read_permitted_files(readable_session: Path, place: Path) -> None:
    with mounted(readable_session.with_name("archive"), place, "-o", "allow_other"):
        assert as_nobody("cat", place / "notes.txt").stdout == "300 kV"
        assert as_nobody("cmp", place / "Movies" / "a.mrc", readable_session / "Movies" / "a.mrc").returncode == 0
        for name in ("private.txt", "private.mrc"):
            assert (place / name).read_bytes() == (readable_session / name).read_bytes()
            assert "Permission denied" in as_nobody("cat", place / name).stderr


@needs_root
def test_other_users_have_no_access_without_allow_other(readable_session: Path, place: Path) -> None:
    with mounted(readable_session.with_name("archive"), place):
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
def as_user(readable_session: Path, place: Path) -> Iterator[Callable[[str], subprocess.CompletedProcess[str]]]:
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
    names = {
        "NODE": node,
        "PLACE": place,
        "ARCHIVE": readable_session.with_name("archive"),
        "SESSION": readable_session,
    }
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
def test_owner_and_permissions_of_the_mount(readable_session: Path, place: Path) -> None:
    """The owner shown by the mount decides who may read a file, not the owner in the archive."""
    # mounts without these options come before and after, because cached state must not depend on them
    target = readable_session.with_name("archive")
    for options in ("allow_other", f"allow_other,uid={NOBODY},gid=daemon,umask=037", "allow_other"):
        with mounted(target, place, "-o", options):
            for name in ("", "Movies", "private.txt", "private.mrc", "@counts/private.mrc", "@archive/notes.txt"):
                shown = (place / name).stat()
                real = (target / name.replace("@counts/", "").replace("@archive/", "")) if name else target
                mode = (real if real.exists() else readable_session / real.name).stat().st_mode
                owned = "uid" in options
                assert (shown.st_uid, shown.st_gid) == ((NOBODY, grp.getgrnam("daemon").gr_gid) if owned else (0, 0))
                assert shown.st_mode == (mode & ~0o037 if owned else mode), name
            assert (place / "link").lstat().st_mode == (readable_session / "link").lstat().st_mode
            result = as_nobody("cat", place / "private.txt")
            assert result.stdout == ("mine" if owned else "")
    for options in ("allow_other,uid=1", "allow_other,umask=007"):
        with mounted(target, place, "-o", options):
            allowed = "umask" not in options
            assert as_nobody("cat", place / "notes.txt").stdout == ("300 kV" if allowed else "")


@needs_root
def test_access_lists_of_the_archive_are_not_applied(readable_session: Path, place: Path) -> None:
    target = archive_copy(readable_session, readable_session.parent / "copy")
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
