"""Tables in Markdown."""

from collections.abc import Iterable, Sequence

# cell without a value
NOTHING = "-"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
