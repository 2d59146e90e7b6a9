"""Words that technical English does without, and one word for each concept."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, read_page

# Pages with sections that are rewritten together with the code that they describe.
LEFT = {"architecture.md", "concurrency.md"}
TEXTS = [path for path in (*PAGES, ROOT / "CHANGELOG.md") if path.name not in LEFT]
AVOIDED = re.compile(
    r"\b(nobody|somebody|whoever|whomever|told|absurd|anew|meanwhile|shall|besides)\b"
    r"|(?<!there )\b(?:is|are) none\b|\bof no use\b|\bbut for\b|\bpass(?:es|ed)? over\b|\bgives? back\b|\bdead mount"
)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def test_words_are_found() -> None:
    assert all(map(AVOIDED.search, ("whoever reads", "a file that is none", "it is passed over")))
    assert not any(map(AVOIDED.search, ("if there is none", "a passed test")))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_pages_avoid_words(path: Path) -> None:
    prose = " ".join(COMMENT.sub("", read_page(path).prose).split())
    found = [prose[max(0, match.start() - 30) : match.end() + 30] for match in AVOIDED.finditer(prose)]
    assert not found
