"""`cryofs config`: print the settings for mounts of an archive, with their origins."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from cryofs.cli.output import print_json
from cryofs.cli.parameters import PATH, json_option
from cryofs.system.paths import check_archive
from cryofs.system.request_limit import request_limit
from cryofs.text import printable, size_text


@dataclass(frozen=True)
class _Setting:
    """A setting: its value, its origin, and its line in cryofs.toml."""

    value: Any
    origin: str
    line: int | None = None


@click.command("config")
@click.argument("archive", type=PATH, help="Folder of the archive.")
@json_option("Print the settings as JSON.")
def command(archive: Path, as_json: bool) -> None:
    """Print the settings for mounts of an archive.

    Prints each setting with its value and origin: the default, a line of cryofs.toml, or a limit of this kernel.
    Options of cryofs mount override the first two.

    Example: cryofs config /archive/session
    """
    check_archive(archive)
    found = _effective_settings(archive)
    if as_json:
        print_json({name: asdict(setting) for name, setting in found.items()})
        return
    width = max(map(len, found))
    values = {name: _text(setting.value) for name, setting in found.items()}
    widest = max(map(len, values.values()))
    for name, setting in found.items():
        origin = f"{setting.origin}, line {setting.line}" if setting.line else setting.origin
        print(printable(f"{name:{width}}  {values[name]:{widest}}  {origin}"))


def _effective_settings(archive: Path) -> dict[str, _Setting]:
    from cryofs.config.settings import FILE_NAME, Settings, load_settings, read_file

    settings = load_settings(archive, {})
    text = read_file(archive)
    found = {}
    for name in Settings.__struct_fields__:
        # all settings are top-level keys, so the line of a setting begins with its name
        line = re.search(rf"""^[ \t]*["']?{name}["']?[ \t]*=""", text, re.MULTILINE)
        value = getattr(settings, name)
        if line is None:
            found[name] = _Setting(value, "default")
        else:
            found[name] = _Setting(value, FILE_NAME, text.count("\n", 0, line.start()) + 1)
    limit = request_limit()
    if limit is not None and settings.request_timeout > limit.storage_seconds:
        origin = f"a third of the kernel's limit of {limit.seconds} s, {limit.name}"
        found["request_timeout"] = _Setting(limit.storage_seconds, origin)
    return found


def _text(value: Any) -> str:
    from cryofs.config.settings import Size

    if isinstance(value, Size):
        return f"{value} ({size_text(value)})"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value is None else str(value)
