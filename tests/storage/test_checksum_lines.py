"""Lines of a checksum list: every file name comes back."""

import hashlib
import os

from hypothesis import given
from hypothesis import strategies as st

from cryofs.storage.checksum_lines import encode_line, parse

file_names = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


@given(st.dictionaries(file_names, st.binary(max_size=4), max_size=6))
def test_any_names_come_back(files: dict[bytes, bytes]) -> None:
    sums = {os.fsdecode(name): hashlib.sha256(data).hexdigest() for name, data in files.items()}
    lines = parse(b"".join(encode_line(*line) for line in sums.items()))
    assert (lines.sums, lines.bad) == (sums, [])
    assert parse(lines.encode()).sums == sums
