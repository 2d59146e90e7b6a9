"""`cryofs umount`: remove a mount, live or stale."""

from pathlib import Path

import click

from cryofs.cli.parameters import MOUNTPOINT


@click.command("umount")
@click.argument("mountpoint", type=MOUNTPOINT, help="Folder on which the archive is mounted.")
@click.option("--lazy", is_flag=True, help="Detach the mount even if it is in use; open files stay readable.")
def command(mountpoint: Path, lazy: bool) -> None:
    """Unmount an archive.

    Returns after the mount is removed and its process has ended, unless that process serves other mounts.

    Example: cryofs umount /mnt/movies
    """
    from cryofs.fuse.unmounting import unmount

    unmount(mountpoint, lazy=lazy)
