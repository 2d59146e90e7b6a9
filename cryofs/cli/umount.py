"""`cryofs umount`: remove a mount, alive or dead."""

from pathlib import Path
from typing import Annotated

import typer

NAME = "umount"


def command(
    mountpoint: Annotated[Path, typer.Argument(metavar="MOUNTPOINT", help="Where the archive is mounted.")],
    lazy: Annotated[
        bool, typer.Option("--lazy", help="Even if it is in use: programs that have files open go on with them.")
    ] = False,
) -> None:
    """Unmount; returns when the mount is gone, and its process unless that serves other mounts.

    Example: cryofs umount /mnt/movies
    """
    from cryofs.fuse.control import unmount

    unmount(mountpoint, lazy=lazy)
