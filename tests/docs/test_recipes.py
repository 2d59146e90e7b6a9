"""The recipes of CONTRIBUTING.md: short, and followed by what is there."""

import importlib
import re

import pytest

from cryofs.cli.app import COMMANDS
from tests.cli.test_command_line import COMMANDS as TESTED
from tests.docs.pages import ROOT

RECIPES = re.findall(r"^## (Add .*)\n\n((?:.+\n)+)", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)


def test_four_recipes() -> None:
    assert [title for title, _ in RECIPES] == ["Add a command", "Add a codec", "Add a kind of movie", "Add a view"]


@pytest.mark.parametrize(("title", "text"), RECIPES)
def test_a_recipe_is_short(title: str, text: str) -> None:
    assert len(text.splitlines()) <= 10, title


def test_every_command_module_is_listed_and_tested() -> None:
    paths = sorted((ROOT / "cryofs" / "cli").glob("*.py"))
    modules = [importlib.import_module(f"cryofs.cli.{path.stem}") for path in paths if path.stem != "__init__"]
    commands = {module.__name__.rpartition(".")[2] for module in modules if hasattr(module, "command")}
    assert commands == {name.replace("-", "_") for name in COMMANDS}
    assert set(COMMANDS) == set(TESTED)
