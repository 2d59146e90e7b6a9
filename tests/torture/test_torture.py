"""A short run of `make torture`."""

from pathlib import Path

import pytest

from tests.privileges import CAN_USE_FUSE
from tests.torture.__main__ import parts, run
from tests.torture.figures import BEGIN, END, Figures, table, write_into

PARTS = parts(kills=5, damaged=10, minutes=0.05, readers=8, seed=1, stressed=0)


@pytest.mark.mounted
@pytest.mark.skipif(
    not CAN_USE_FUSE,
    reason="needs fuse3, /dev/fuse and the right to mount",
)
@pytest.mark.parametrize("name", PARTS)
def test_a_short_torture(tmp_path: Path, name: str) -> None:
    (found,) = run({name: PARTS[name]}, tmp_path)
    assert found.done
    assert found.good, table([found])


def test_the_table_replaces_the_previous_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before {BEGIN} old {END} after\n")
    figures = Figures("a part", 1234, "kills", lost=2)
    assert not figures.good
    for _ in range(2):
        write_into(page, table([figures]))
    assert page.read_text().startswith(f"before {BEGIN}\n\n| Part |")
    assert "| a part | 1,234 kills | 0 | 2 | 0 | 0 |\n" in page.read_text()
    assert page.read_text().endswith(f"{END} after\n")
    assert "old" not in page.read_text()
