"""Tables of the documentation are complete."""

import re
from pathlib import Path

from cryofs.config.settings import Settings

ROOT = Path(__file__).parents[2]


def first_column(page: str) -> set[str]:
    """Return the inline code in the first column of the tables of a page."""
    return set(re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / page).read_text(), re.MULTILINE))


def test_all_settings_are_documented() -> None:
    assert set(Settings.__struct_fields__) <= first_column("operations.md")


def test_all_packages_and_modules_are_documented() -> None:
    package = ROOT / "cryofs"
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    assert first_column("architecture.md") == rooms | modules
