"""Modules and files that the documentation names exist."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, read_page

MODULE = re.compile(r"(?<![\w./-])[\w-]+(?:/[\w-]+)*/\w+\.py\b")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def named_modules(text: str) -> set[str]:
    """Return the relative paths of Python modules in the inline code of a page."""
    spans = re.findall(r"`([^`]+)`", COMMENT.sub("", text))
    return {path for span in spans for path in MODULE.findall(span)}


def test_modules_are_found_in_inline_code() -> None:
    text = "`vfs/views.py` and `archive/scan.py`; not vfs/old.py, <!-- `a/b.py` --> `/opt/c/d.py` or `e.py`"
    assert named_modules(text) == {"vfs/views.py", "archive/scan.py"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_modules_that_a_page_names_exist(path: Path) -> None:
    named = named_modules(read_page(path).prose)
    missing = {module for module in named if not any((root / module).is_file() for root in (ROOT / "cryofs", ROOT))}
    assert not missing


def test_architecture_names_modules() -> None:
    assert len(named_modules(read_page(ROOT / "docs" / "architecture.md").prose)) > 40


def test_folders_of_the_architecture_exist() -> None:
    named = re.findall(r"`((?:[\w-]+/)+)`", (ROOT / "docs" / "architecture.md").read_text())
    roots = (ROOT / "cryofs", ROOT, ROOT / "tests")
    assert not {folder for folder in named if not any((root / folder).is_dir() for root in roots)}
