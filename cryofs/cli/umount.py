"""`cryofs umount`: remove a mount, live or stale."""

from pathlib import Path
from typing import Annotated

from cryofs.cli import declare


def command(
    mountpoint: Annotated[Path, declare.Argument(metavar="MOUNTPOINT", help="Folder on which the archive is mounted.")],
    lazy: Annotated[
        bool, declare.Option("--lazy", help="Detach a mount that is in use; open files stay readable.")
    ] = False,
) -> None:
    """Unmount an archive.

    Returns after the mount is removed and its process has ended, unless that process serves other mounts.

    Example: cryofs umount /mnt/movies
    """
    from cryofs.fuse.control import unmount

    unmount(mountpoint, lazy=lazy)
