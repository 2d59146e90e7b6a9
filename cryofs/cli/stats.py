"""`cryofs stats`: what an archive saves, what a mount has done."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryofs.cli.output import Reporter, print_json
from cryofs.errors import ArchiveError
from cryofs.text import percent, size_text

if TYPE_CHECKING:
    from cryofs.archive.info import Savings

NAME = "stats"


def command(
    path: Annotated[Path, typer.Argument(metavar="PATH", readable=False, help="An archive or a mountpoint.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Show the savings of an archive; for a mountpoint also cache and read figures.

    Example: cryofs stats /mnt/movies
    """
    from cryofs.archive.info import savings
    from cryofs.fuse.control import mount_facts

    mounted = mount_facts(path)
    if mounted is None and not path.exists():
        raise ArchiveError(f"{path}: no such archive or mountpoint")
    # its own path may not lead to the archive: the mount may lie over it, or show it to who cannot reach it
    saved = savings([path / "@archive" if mounted else path])
    facts = {**vars(saved), "unread": len(saved.unread), "ratio": saved.ratio}
    with Reporter() as reporter:
        for error in saved.unread:
            reporter.error(error)
    if mounted:
        facts["mount"] = mounted
    if as_json:
        print_json(facts)
    else:
        _print(saved, mounted or {})
    raise typer.Exit(1 if saved.unread else 0)


def _print(saved: "Savings", mounted: dict[str, Any]) -> None:
    print(
        f"{saved.movies} movies: {size_text(saved.original_bytes)} -> {size_text(saved.stored_bytes)} "
        f"({percent(saved.ratio)})"
    )
    if not saved.movies + saved.damaged + len(saved.unread):
        print("no archived movie was found; name the folder that cryofs compress was given by -o, or a mountpoint")
    if saved.damaged:
        print(f"{saved.damaged} damaged movies; cryofs verify names them")
    for name, value in mounted.items():
        print(f"{name:16} {value}")
