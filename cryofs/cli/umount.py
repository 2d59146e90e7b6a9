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
    dead: Annotated[
        bool,
        typer.Option("--dead", help="Only if its process is gone, be it in use or not; else do nothing, with success."),
    ] = False,
) -> None:
    """Unmount; returns when the mount and its process are gone.

    Example: cryofs umount /mnt/movies
    """
    from cryofs.fuse.control import is_dead, unmount

    if dead and not is_dead(mountpoint):
        return
    unmount(mountpoint, lazy=lazy or dead)
