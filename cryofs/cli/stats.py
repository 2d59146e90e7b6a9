"""`cryofs stats`: print savings of an archive, and cache and read figures of a mount."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryofs.cli.ingest_lines import outcome_lines, waiting_lines
from cryofs.cli.output import Reporter, print_json
from cryofs.cli.parameters import PATH, json_option
from cryofs.errors import ArchiveError
from cryofs.text import percent, printable, size_text

if TYPE_CHECKING:
    from cryofs.archive.info import Savings


@click.command("stats")
@click.argument("path", type=PATH, help="Archive or mountpoint.")
@json_option("Print the figures as JSON.")
def command(path: Path, as_json: bool) -> None:
    """Print the savings of an archive or a mount.

    For a mountpoint, also prints cache and read figures, and for a writable one the movies that wait to be archived.

    Example: cryofs stats /mnt/movies
    """
    from cryofs.archive.eer_checks import SECONDS
    from cryofs.archive.info import savings
    from cryofs.fuse.control import mount_facts

    mounted = mount_facts(path)
    if mounted is None and not path.exists():
        raise ArchiveError(f"{path}: no such archive or mountpoint; check the path")
    # the mount may hide the path of the archive, or this user may lack access do not check EER files again: the mount
    # has already done so
    saved = savings([path / "@archive" if mounted else path], 0 if mounted else SECONDS)
    figures = {name: value for name, value in vars(saved).items() if name != "eers"}
    facts = {**figures, "unread": len(saved.unread), "ratio": saved.ratio, "eer": _eer_facts(saved)}
    with Reporter() as reporter:
        for error in saved.unread:
            reporter.error(error)
    if mounted:
        facts["mount"] = mounted
    if as_json:
        print_json(facts)
    else:
        _print(saved, mounted or {})
    raise click.exceptions.Exit(1 if saved.unread else 0)


def _eer_facts(saved: "Savings") -> dict[str, Any]:
    damaged = {printable(str(path)): printable(text) for path, text in saved.eers.damaged.items()}
    return {"files": saved.eers.files, "looked_at": saved.eers.looked_at, "damaged": damaged}


def _print(saved: "Savings", mounted: dict[str, Any]) -> None:
    print(
        f"{saved.movies} movies: {size_text(saved.original_bytes)} -> {size_text(saved.stored_bytes)} "
        f"({percent(saved.ratio)})"
    )
    ingest = mounted.pop("ingest", None)
    if not saved.movies + saved.damaged + len(saved.unread) and not ingest:
        print("no archived movies found; pass the folder that cryofs compress wrote (-o), or a mountpoint")
    if saved.damaged:
        print(f"{saved.damaged} damaged movies; list them with cryofs verify")
    eers = saved.eers
    if eers.looked_at:
        sampled = f", {eers.looked_at} of them checked" if eers.looked_at < eers.files else ""
        print(f"{eers.files} EER files{sampled}: {len(eers.damaged) or 'none'} damaged")
    if ingest:
        lines = [*outcome_lines(ingest), *waiting_lines(ingest)]
        if names := mounted.pop("names_open_for_writing"):
            lines += [f"open for writing: {mounted['open_for_writing']}", *(f"    {name}" for name in names)]
        room, reserve = (size_text(mounted.pop(name)) for name in ("room", "reserve"))
        lines.append(f"room for writers: {room}, besides a reserve of {reserve}")
        for line in lines:
            print(printable(line))
    damaged = mounted.pop("damaged", [])
    for name, value in mounted.items():
        print(printable(f"{name:16} {value}"))
    for line in [*eers.damaged.values(), *damaged]:
        print(printable(line))
    if mounted.get("damaged_files", 0) > len(damaged):
        print("see the log of the mount for all damaged files")
