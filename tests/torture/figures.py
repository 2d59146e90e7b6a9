"""Figures of a part of the torture test, and the table of all parts."""

from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<!-- torture: begin -->", "<!-- torture: end -->"


@dataclass
class Figures:
    """Amount of work of a part, and counts of failures, which must be zero."""

    part: str
    done: int = 0
    unit: str = ""
    wrong_bytes: int = 0
    lost: int = 0
    crashes: int = 0
    hung: int = 0

    @property
    def good(self) -> bool:
        """True if there were no failures."""
        return not (self.wrong_bytes or self.lost or self.crashes or self.hung)


def table(parts: list[Figures]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| Part | Done | Wrong bytes | Lost or half-written files | Crashes | Hung requests |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(row, parts)]) + "\n"


def row(one: Figures) -> str:
    """Return the table row of a part."""
    return f"| {one.part} | {one.done:,} {one.unit} | {one.wrong_bytes} | {one.lost} | {one.crashes} | {one.hung} |"


def write_into(page: Path, text: str) -> None:
    """Write a text between the markers of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
