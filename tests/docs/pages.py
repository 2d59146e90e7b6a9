"""Pages of the documentation, divided into prose and fenced blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
MARK = re.compile(r"<!-- not run: (\S.*) -->")
FENCE = re.compile(r"```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes
    ----------
    line : int
        First line, for messages.
    title : str
        Name of the file with this content, or empty.
    reason : str
        Reason why the block is not run, or empty.
    """

    line: int
    language: str
    title: str
    text: str
    reason: str


@dataclass(frozen=True)
class Page:
    """A page: its blocks, its other lines, and problems of its format."""

    blocks: list[Block]
    prose: str
    faults: list[str]


def read_page(path: Path) -> Page:
    """Read a page."""
    lines = path.read_text().splitlines()
    blocks: list[Block] = []
    prose: list[str] = []
    faults: list[str] = []
    comment = False
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if not comment and line.startswith("```"):
            first = number
            while number < len(lines) and lines[number] != "```":
                number += 1
            text = "\n".join(lines[first:number])
            number += 1
            opening = FENCE.fullmatch(line)
            if opening is None or not opening["language"]:
                faults.append(f"{path.name}:{first}: a fence has a language and at most a title")
                continue
            mark = MARK.fullmatch(lines[first - 2]) if first > 1 else None
            blocks.append(Block(first, opening["language"], opening["title"] or "", text, mark[1] if mark else ""))
            continue
        indented = line.startswith(("    ", "\t")) and prose and not prose[-1]
        if not comment and (indented or re.match(r"\s*(~~~|<pre|\s+```)", line)):
            faults.append(f"{path.name}:{number}: code blocks need ``` fences at the start of a line")
        comment = line.rfind("<!--") > line.rfind("-->") or (comment and "-->" not in line)
        prose.append(line)
    return Page(blocks, "\n".join(prose), faults)
