"""`make man`: generate a manual page for each command from its `--help` text.

`python -m release.man FOLDER` writes cryofs.1, cryofs-mount.1 and so on, and mount.cryofs.8.
"""

import re
import sys
from pathlib import Path
from typing import Any

from cryofs.cli.app import app
from cryofs.cli.mount_helper import HELP
from cryofs.version import VERSION

_EXIT_STATUS = (("0", "Done."), ("1", "Some files failed; the others are done."), ("2", "Usage."))
_HELPER_STATUS = (("0", "Mounted."), ("1", "Usage."), ("32", "Not mounted."))
_EXAMPLE = re.compile(r"Example: (.+)")


def main() -> None:
    """Write all pages to the folder given as argument."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / f"{name}.1").write_text(text, "utf-8")
    (folder / "mount.cryofs.8").write_text(helper_page(), "utf-8")
    (folder / "mount.fuse.cryofs.8").write_text(".so man8/mount.cryofs.8\n", "utf-8")
    print(f"{folder}: wrote {len(pages())} pages; show the first with man -l {folder}/cryofs.1")


def pages() -> dict[str, str]:
    """Return all pages by name: cryofs, cryofs-mount, ..."""
    commands = _commands(app)
    names = [f"cryofs-{name}" for name in commands]
    made = {"cryofs": _page(app, "cryofs", names)}
    for name, command in commands.items():
        made[f"cryofs-{name}"] = _page(command, f"cryofs {name}", ["cryofs"])
    return made


def _commands(command: Any) -> dict[str, Any]:
    """Return the commands of a group, by name; of other commands, none."""
    names = command.list_commands(None) if hasattr(command, "list_commands") else []
    return {name: command.get_command(None, name) for name in names}


def helper_page() -> str:
    """Return the page of the mount(8) helper."""
    usage, *paragraphs = _EXAMPLE.sub("", HELP).strip().split("\n\n")
    described = [_one_line(paragraph) for paragraph in paragraphs if not paragraph.startswith("Options:")]
    options = re.findall(r"^  (-.+?)  +(.+)$", HELP, re.MULTILINE)
    lines = [
        f'.TH "MOUNT.CRYOFS" "8" "" "cryofs {VERSION}" "cryofs manual"',
        ".SH NAME",
        _roff("mount.cryofs, mount.fuse.cryofs") + f" \\- {_roff(described[0].partition(';')[0])}",
        ".SH SYNOPSIS",
        _roff(usage.removeprefix("Usage: ")),
        ".SH DESCRIPTION",
    ]
    for paragraph in described:
        lines += [".PP", _roff(paragraph)] if paragraph is not described[0] else [_roff(paragraph)]
    lines.append(".SH OPTIONS")
    for names, explained in options:
        lines += [".TP", f"\\fB{_roff(names)}\\fR", _roff(explained)]
    lines += [".SH EXAMPLE", ".nf", *map(_roff, _EXAMPLE.findall(HELP)), ".fi", *_status(_HELPER_STATUS)]
    lines += [".SH SEE ALSO", "\\fBcryofs\\-mount\\fR(1), \\fBmount\\fR(8), \\fBfstab\\fR(5)"]
    return "\n".join(lines) + "\n"


def _page(command: Any, called: str, others: list[str]) -> str:
    context = command.make_context(called, [], resilient_parsing=True)
    title = called.replace(" ", "-")
    text = command.help or ""
    summary, _, description = _EXAMPLE.sub("", text).strip().partition("\n\n")
    lines = [
        f'.TH "{title.upper()}" "1" "" "cryofs {VERSION}" "cryofs manual"',
        ".SH NAME",
        f"{_roff(title)} \\- {_roff(_one_line(summary).rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_roff(called)}",
        _roff(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        _roff(_one_line(summary)),
    ]
    for paragraph in filter(None, map(_one_line, description.split("\n\n"))):
        lines += [".PP", _roff(paragraph)]
    for heading, kind in (("ARGUMENTS", "argument"), ("OPTIONS", "option")):
        records = [
            param.get_help_record(context) for param in command.get_params(context) if param.param_type_name == kind
        ]
        if found := [record for record in records if record]:
            lines.append(f".SH {heading}")
            for names, explained in found:
                lines += [".TP", f"\\fB{_roff(names)}\\fR", _roff(_one_line(explained)) or "\\&"]
    for name, inner in _commands(command).items():
        lines += [".SH COMMANDS"] if ".SH COMMANDS" not in lines else []
        lines += [".TP", f"\\fB{_roff(name)}\\fR", _roff(_one_line((inner.help or "").partition("\n\n")[0]))]
    if examples := _EXAMPLE.findall(text):
        lines += [".SH EXAMPLE", ".nf", *map(_roff, examples), ".fi"]
    lines += _status(_EXIT_STATUS)
    lines += [".SH SEE ALSO", ", ".join(f"\\fB{_roff(other)}\\fR(1)" for other in others)]
    return "\n".join(lines) + "\n"


def _status(codes: tuple[tuple[str, str], ...]) -> list[str]:
    lines = [".SH EXIT STATUS"]
    for code, meaning in codes:
        lines += [".TP", code, meaning]
    return lines


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _roff(text: str) -> str:
    """Return text with the special characters of roff escaped."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    main()
