"""Every promise of docs/semantics.md names tests that are there."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "semantics.md").read_text()
NAMED = re.compile(r"tests/[\w/]+\.py::test_\w+")
# list items, rows of tables and paragraphs below the first heading; headings and the heads of tables promise nothing
PROMISES = [
    promise
    for promise in map(str.strip, re.split(r"\n(?=- |\||\n)", TEXT[TEXT.index("\n## ") :]))
    if promise and not promise.startswith(("## ", "|---", "| stat |", "| errno |"))
]


@functools.cache
def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_promises_are_found() -> None:
    assert len(PROMISES) > 60


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise[:40])
def test_a_promise_has_its_tests(promise: str) -> None:
    assert "<!--" in promise
    named = NAMED.findall(promise)
    assert named
    for test in named:
        path, _, name = test.partition("::")
        assert name in functions_of(ROOT / path), test
