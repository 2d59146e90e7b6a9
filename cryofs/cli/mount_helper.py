"""`mount.cryofs` and `mount.fuse.cryofs`: how mount(8), /etc/fstab and systemd mount an archive.

A boot waits for it, and may start it without PATH and HOME. So it imports only what it needs, and parses by itself what
mount(8) says, which never changes.
"""

import ctypes
import getopt
import os
import sys
from pathlib import Path

from cryofs.cli import open_standard_streams
from cryofs.errors import CryofsError, MountError, UsageError

# mount(8)
_DONE, _USAGE, _FAILED = 0, 1, 32
# from sched.h
_CLONE_NEWNS = 0x20000
HELP = """\
Usage: mount.cryofs ARCHIVE MOUNTPOINT [-fnsv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]

Mount an archive for mount(8), /etc/fstab and systemd; returns when the mount is live.

Found by mount(8) as /sbin/mount.cryofs and /sbin/mount.fuse.cryofs, links to where cryofs is installed. OPTIONS are
those of cryofs mount -o; words that mount(8), fstab and systemd keep to themselves, as noauto, _netdev, x-systemd.*,
are passed over.

Options:
  -f            Fake: check the options, and mount nothing.
  -n            Nothing, as there is no mtab to be left alone.
  -s            Nothing; options that do not exist are refused all the same.
  -v            Say what is done.
  -N NAMESPACE  Mount in another mount namespace, a file as in /proc/PID/ns/mnt.
  -o OPTIONS    Mount options, separated by commas.
  -t TYPE       Nothing; it is fuse.cryofs in any case.
  -h, --help    Show this.

Example: mount -t fuse.cryofs /archive/session /mnt/movies -o allow_other
"""


def main() -> None:
    """Entry point of the helper."""
    open_standard_streams()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run it; return its exit code as mount(8) knows them: 0 done, 1 usage, 32 not mounted."""
    try:
        chosen, places = getopt.gnu_getopt(arguments, "fhnsvN:o:t:", ["help"])
        options = dict(chosen)
        if "-h" in options or "--help" in options:
            print(HELP, end="")
            return _DONE
        if len(places) != 2:
            raise UsageError("name an archive and a mountpoint (mount.cryofs --help)")
        lists = ",".join(value for name, value in chosen if name == "-o")
        _mount(Path(places[0]).absolute(), Path(places[1]).absolute(), lists, options)
    except (CryofsError, OSError, getopt.GetoptError) as error:
        print(f"mount.cryofs: {' '.join(str(error).split())}", file=sys.stderr)
        return _USAGE if isinstance(error, (UsageError, getopt.GetoptError)) else _FAILED
    return _DONE


def _mount(archive: Path, mountpoint: Path, lists: str, options: dict[str, str]) -> None:
    from cryofs.config.mount_options import parse_options, without_words_of_mount
    from cryofs.config.settings import load_settings
    from cryofs.fuse.control import clear_dead_mount, place_of
    from cryofs.fuse.daemon import check_mountpoint, default_log, serve_in_background
    from cryofs.system.paths import check_archive

    if "-N" in options:
        _enter(options["-N"])
    mountpoint = place_of(mountpoint)
    ours = without_words_of_mount(lists)
    parsed, settings = parse_options(ours)
    if "-f" not in options and clear_dead_mount(mountpoint):
        print(f"mount.cryofs: {mountpoint}: a dead mount was in the way, and is cleared", file=sys.stderr)
    check_archive(archive)
    check_mountpoint(archive, mountpoint)
    load_settings(archive, settings)
    if "-f" in options:
        return
    log = Path(parsed.log_file) if parsed.log_file else default_log(mountpoint)
    serve_in_background(["-o", ours] if ours else [], archive, mountpoint, log)
    if "-v" in options:
        print(f"mount.cryofs: {archive} mounted on {mountpoint} (log: {log})")


def _enter(namespace: str) -> None:
    """Enter a mount namespace; os.setns came with Python 3.12."""
    try:
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(f"{namespace}: no mount namespace ({error.strerror}); name one as /proc/PID/ns/mnt") from error
    try:
        c_library = ctypes.CDLL(None, use_errno=True)
        if c_library.setns(descriptor, _CLONE_NEWNS):
            reason = os.strerror(ctypes.get_errno())
            raise MountError(f"{namespace}: this mount namespace cannot be entered ({reason}); mount as root")
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
