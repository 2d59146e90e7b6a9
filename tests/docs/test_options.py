"""Commands and options named in the documentation exist."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from cryofs.cli.app import app
from tests.docs.pages import PAGES, ROOT, read_page

LONG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
# an invocation ends at the end of the line, a comment or a shell operator; lines of fstab contain other words
INVOCATION = re.compile(r"(?:^|[\s/])cryofs (?P<command>[a-z][a-z-]*)(?=[\s;|&)]|$)(?P<rest>[^\n#|;&]*)", re.MULTILINE)
# options of other programs in pages about cryofs
OTHERS = {"--cpus"}
# pages that also name options of other programs
ABOUT_OTHERS = {"from-relion.md", "tools.md"}


def options_of(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts} | {"--help", "--debug"}


CONTEXT = click.Context(app)
COMMANDS = {name: options_of(app.get_command(CONTEXT, name)) for name in app.list_commands(CONTEXT)}
EVERY = set.union(options_of(app), *COMMANDS.values())


def spans(prose: str) -> Iterator[str]:
    """Return the inline code of a page."""
    for paragraph in prose.split("\n\n"):
        for span in re.findall(r"`([^`]+)`", paragraph):
            yield " ".join(span.split())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_and_their_options_exist(path: Path) -> None:
    page = read_page(path)
    texts = [block.text.replace("\\\n", " ") for block in page.blocks if block.language != "python"]
    for text in (*texts, *spans(page.prose)):
        for found in INVOCATION.finditer(text):
            assert found["command"] in COMMANDS, f"{path.name}: {found[0].strip()}"
            assert set(LONG.findall(found["rest"])) <= COMMANDS[found["command"]], f"{path.name}: {found[0].strip()}"


@pytest.mark.parametrize("path", [path for path in PAGES if path.name not in ABOUT_OTHERS], ids=lambda path: path.name)
def test_options_named_without_a_command_exist(path: Path) -> None:
    for span in spans(read_page(path).prose):
        if span.startswith("--"):
            assert set(LONG.findall(span)) <= EVERY | OTHERS, f"{path.name}: {span}"


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_convert_to_tiff") is None, reason="needs relion")
def test_every_option_of_relion_has_a_row() -> None:
    help_text = subprocess.run(["relion_convert_to_tiff", "--help"], capture_output=True, text=True, check=False).stdout
    options = re.findall(r"^ *(--\w+)", help_text, re.MULTILINE)
    assert len(options) > 10
    page = (ROOT / "docs" / "from-relion.md").read_text()
    assert [option for option in options if not re.search(rf"^\| `{option}[ `]", page, re.MULTILINE)] == []
