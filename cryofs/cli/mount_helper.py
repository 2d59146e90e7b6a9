"""`mount.cryofs` and `mount.fuse.cryofs`: mount an archive for mount(8), /etc/fstab and systemd.

The boot process waits for this program, and PATH and HOME may be unset. It therefore imports few modules, and parses
the fixed arguments of mount(8) itself.
"""

import ctypes
import getopt
import os
import sys
from pathlib import Path

from cryofs.cli import open_standard_streams, use_utf8
from cryofs.errors import CryofsError, MountError, UsageError
from cryofs.text import printable

# exit codes of mount(8)
_DONE, _USAGE, _FAILED = 0, 1, 32
# from sched.h
_CLONE_NEWNS = 0x20000
HELP = """\
Usage: mount.cryofs ARCHIVE MOUNTPOINT [-fnsv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]

Mount an archive for mount(8), /etc/fstab and systemd; returns when the mount is live.

mount(8) finds this program as /sbin/mount.cryofs and /sbin/mount.fuse.cryofs, which are links to the installed file.
OPTIONS are those of cryofs mount -o. Options that mount(8), fstab and systemd handle themselves, such as noauto,
_netdev and x-systemd.*, are ignored.

Options:
  -f            Check the options without mounting.
  -n            Ignored; there is no mtab to update.
  -s            Ignored; unknown options are always an error.
  -v            Print the mountpoint and the log file.
  -N NAMESPACE  Mount in another mount namespace, a file such as /proc/PID/ns/mnt.
  -o OPTIONS    Mount options, separated by commas.
  -t TYPE       Ignored; the type is always fuse.cryofs.
  -h, --help    Show this help.

Example: mount -t fuse.cryofs /archive/session /mnt/movies -o allow_other
"""


def main() -> None:
    """Run the helper and exit."""
    open_standard_streams()
    use_utf8()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the helper and return an exit code of mount(8): 0 mounted, 1 invalid usage, 32 not mounted."""
    try:
        chosen, places = getopt.gnu_getopt(arguments, "fhnsvN:o:t:", ["help"])
        options = dict(chosen)
        if "-h" in options or "--help" in options:
            print(HELP, end="")
            return _DONE
        if len(places) != 2:
            raise UsageError("expected an archive and a mountpoint; see mount.cryofs --help")
        options_text = ",".join(value for name, value in chosen if name == "-o")
        _mount(Path(places[0]).absolute(), Path(places[1]).absolute(), options_text, options)
    except (CryofsError, OSError, getopt.GetoptError) as error:
        print(f"mount.cryofs: {printable(str(error))}", file=sys.stderr)
        return _USAGE if isinstance(error, (UsageError, getopt.GetoptError)) else _FAILED
    return _DONE


def _mount(archive: Path, mountpoint: Path, options_text: str, options: dict[str, str]) -> None:
    from cryofs.config.mount_options import parse_options, without_mount_words
    from cryofs.config.settings import load_settings
    from cryofs.fuse.control import check_responds, place_of
    from cryofs.fuse.daemon import check_mountpoint, serve_in_background
    from cryofs.fuse.log_file import open_log
    from cryofs.fuse.unmounting import clear_dead_mount
    from cryofs.ingest.mounting import archived_movies
    from cryofs.system.paths import check_archive

    if "-N" in options:
        _enter(options["-N"])
    mountpoint = place_of(mountpoint)
    parsed, settings = parse_options(without_mount_words(options_text))
    if "-f" not in options and clear_dead_mount(mountpoint):
        print(printable(f"mount.cryofs: {mountpoint}: removed a stale mount"), file=sys.stderr)
    check_responds(archive)
    check_archive(archive)
    check_mountpoint(archive, mountpoint, nonempty=parsed.nonempty)
    loaded = load_settings(archive, settings)
    if not loaded.suits_every_eer_file:
        from cryofs.vfs.eer_check import check_eer

        for line in check_eer(archive, loaded):
            print(printable(f"mount.cryofs: {line}"), file=sys.stderr)
    make_archived = archived_movies(loaded) if parsed.writable else None
    if "-f" in options:
        return
    log = open_log(mountpoint, parsed.log_file)
    if log.warning:
        print(printable(f"mount.cryofs: {log.warning}"), file=sys.stderr)
    serve_in_background(archive, mountpoint, loaded, parsed, log, make_archived)
    if "-v" in options:
        print(printable(f"mount.cryofs: {archive} mounted on {mountpoint} (log: {log.path})"))


def _enter(namespace: str) -> None:
    """Enter a mount namespace by setns(2), because os.setns requires Python 3.12."""
    try:
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(
            f"{namespace}: not a mount namespace ({error.strerror}); use a file such as /proc/PID/ns/mnt"
        ) from error
    try:
        c_library = ctypes.CDLL(None, use_errno=True)
        if c_library.setns(descriptor, _CLONE_NEWNS):
            reason = os.strerror(ctypes.get_errno())
            raise MountError(f"{namespace}: cannot enter the mount namespace ({reason}); mount as root")
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
