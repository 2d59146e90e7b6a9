"""File names as text: one line of valid Unicode without control characters."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryofs.text import as_unicode, printable

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Movies/Gr\u00f6\u00dfe \u96fb\u5b50.mrc", "Movies/Gr\u00f6\u00dfe \u96fb\u5b50.mrc"),
        ("two  spaces", "two  spaces"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2Jgone\x07", r"\x1b[2Jgone\x07"),
        ("\x7f\x9b31m", r"\x7f\x9b31m"),
        ("gpj.\u202ecrm", r"gpj.\u202ecrm"),
        ("a\u2028b\u2066c", r"a\u2028b\u2066c"),
        (os.fsdecode(b"bad\xff"), r"bad\xff"),
        ("half \ud800 a pair", r"half \ud800 a pair"),
    ],
)
def test_control_characters_are_escaped(name: str, shown: str) -> None:
    assert printable(name) == shown


@given(ANY_TEXT)
def test_any_text_becomes_one_line_of_unicode(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert len(f"{shown}|".splitlines()) == 1
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in shown)
    assert not any(unicodedata.bidirectional(char) in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI") for char in shown)


@given(ANY_TEXT)
def test_printable_names_do_not_change(text: str) -> None:
    as_unicode(text).encode()
    if text.isprintable():
        assert printable(text) == as_unicode(text) == text
