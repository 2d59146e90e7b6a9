"""`cryofs config`: the settings of an archive's mounts, and where each is from."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cryofs.cli.output import print_json
from cryofs.system.paths import check_archive
from cryofs.text import size_text

NAME = "config"


@dataclass(frozen=True)
class _InForce:
    """A setting: its value, where that is from, and the line of the file."""

    value: Any
    origin: str
    line: int | None = None


def command(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Folder of the archive.", readable=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the settings as JSON.")] = False,
) -> None:
    """Show each setting of an archive's mounts: what is in force, and whether by default or by cryofs.toml.

    Options of cryofs mount override both.

    Example: cryofs config /archive/session
    """
    check_archive(archive)
    found = _in_force(archive)
    if as_json:
        print_json({name: asdict(one) for name, one in found.items()})
        return
    width = max(map(len, found))
    values = {name: _text(one.value) for name, one in found.items()}
    widest = max(map(len, values.values()))
    for name, one in found.items():
        place = f"{one.origin}, line {one.line}" if one.line else one.origin
        print(f"{name:{width}}  {values[name]:{widest}}  {place}")


def _in_force(archive: Path) -> dict[str, _InForce]:
    from cryofs.config.settings import FILE_NAME, Settings, load_settings, read_file

    settings = load_settings(archive, {})
    text = read_file(archive)
    found = {}
    for name in Settings.__struct_fields__:
        # settings stand at the top level of the file, so each has a line that begins with its name
        line = re.search(rf"""^[ \t]*["']?{name}["']?[ \t]*=""", text, re.MULTILINE)
        value = getattr(settings, name)
        if line is None:
            found[name] = _InForce(value, "default")
        else:
            found[name] = _InForce(value, FILE_NAME, text.count("\n", 0, line.start()) + 1)
    return found


def _text(value: Any) -> str:
    from cryofs.config.settings import Size

    if isinstance(value, Size):
        return f"{value} ({size_text(value)})"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value is None else str(value)
