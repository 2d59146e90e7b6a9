"""STAR files keep what is not changed."""

import pytest

from cryofs.errors import FormatError
from cryofs.formats.star import StarFile

TEXT = """
# version 30001

data_general

_rlnImageSizeZ                24
_rlnMicrographMovieName       'Movies/a b.mrc'

data_shifts

loop_
_rlnFrame #1
_rlnX #2
_rlnNote #3
1   0.5   "first one"
2   1.5   none
"""


def test_values_that_do_not_change_keep_their_text() -> None:
    star = StarFile(TEXT, "x.star")
    star.set_value("general", "rlnImageSizeZ", "72")
    star.set_value("general", "rlnEERGrouping", "8")
    text = star.text()
    assert text.count("# version 30001") == 2
    assert "_rlnMicrographMovieName 'Movies/a b.mrc'" in text
    assert '1 0.5 "first one"' in text
    again = StarFile(text, "y.star")
    assert again.value("general", "rlnImageSizeZ") == "72"
    assert again.value("general", "rlnEERGrouping") == "8"
    assert again.value("general", "rlnMicrographMovieName") == "Movies/a b.mrc"
    assert again.column("shifts", "rlnNote") == ["first one", "none"]
    assert again.text() == text


def test_rows_take_other_columns_from_old_rows() -> None:
    star = StarFile(TEXT, "x.star")
    star.set_rows("shifts", [0, 1, 1], {"rlnFrame": ["1", "2", "3"], "rlnX": ["a b", "_c", "d/e.mrc"]})
    again = StarFile(star.text(), "x.star")
    assert again.column("shifts", "rlnNote") == ["first one", "none", "none"]
    assert again.column("shifts", "rlnX") == ["a b", "_c", "d/e.mrc"]
    # RELION 3 does not remove quotes
    assert "3 d/e.mrc none" in star.text()


def test_blocks_can_be_removed() -> None:
    star = StarFile(TEXT, "x.star")
    star.remove("shifts")
    star.remove("missing")
    assert star.has("general")
    assert not star.has("shifts")
    assert star.column("shifts", "rlnX") == []


@pytest.mark.parametrize("value", ["", "data_x", "loop_", "a'b c", "#1", ";x", "stop_", "$y", "[z"])
def test_odd_values_come_back(value: str) -> None:
    star = StarFile(TEXT, "x.star")
    star.set_value("general", "rlnImageSizeZ", value)
    assert StarFile(star.text(), "x.star").value("general", "rlnImageSizeZ") == value


def test_other_text_is_refused() -> None:
    with pytest.raises(FormatError, match=r"x\.star: not a valid STAR file"):
        StarFile("loop_ of nothing", "x.star")
    with pytest.raises(FormatError, match="missing block data_other"):
        StarFile(TEXT, "x.star").set_value("other", "rlnX", "1")
