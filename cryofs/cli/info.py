"""`cryofs info`: what a movie file holds."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cryofs.cli.output import percent, print_json, size_text

NAME = "info"


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A movie, archived or plain.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
) -> None:
    """Show format, size and savings of a movie.

    Example: cryofs info /archive/session/movie.mrc.tif
    """
    from cryofs.archive.savings import describe

    facts = describe(file)
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name:16} {_text(name, value)}")


def _text(name: str, value: Any) -> str:
    if name == "ratio":
        return percent(value)
    if name in ("stored_bytes", "exception_bytes"):
        return f"{value} ({size_text(value)})"
    if name == "shape":
        return "{} frames of {} x {}".format(*value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return "-" if value is None else str(value)
