"""The record: an intact record is restored, any damage is detected."""

import itertools
import os
import struct
import tracemalloc
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryofs.errors import DamagedError
from cryofs.formats import record
from cryofs.formats.blob import Blob, deflate_blob, deflated_size, inflate, read_blob
from cryofs.formats.record import Adopted, Frame, FrameExceptions, Gain, Original, Record, Rendered
from cryofs.storage.checksums import xxh3_checksum
from tests.conftest import open_bytes

SIZES = st.integers(0, 2**63 - 1)
COUNTS = st.integers(0, 2**31 - 1)
TEXTS = st.text(max_size=20)
SUMS = st.text("0123456789abcdef", min_size=32, max_size=32)
BLOBS = st.builds(Blob, offset=SIZES, stored=SIZES, size=SIZES, sum=SUMS)
FRAMES = st.builds(
    Frame,
    sum=SUMS,
    offsets=st.lists(SIZES, max_size=3),
    byte_counts=st.lists(SIZES, max_size=3),
    strip_sums=st.lists(SUMS, max_size=3),
    exceptions=st.none() | st.builds(FrameExceptions, count=COUNTS, blob=BLOBS, near=COUNTS),
)
ORIGINALS = st.builds(
    Original,
    name=TEXTS,
    bytes=SIZES,
    sha256=TEXTS,
    mtime_ns=st.integers(-(2**63), 2**63 - 1),
    atime_ns=SIZES,
    mode=st.integers(0, 0o7777),
)
RENDERED = st.builds(
    Rendered,
    name=TEXTS,
    bytes=SIZES,
    mtime_ns=SIZES,
    frames=COUNTS,
    grouping=COUNTS,
    upsampling=COUNTS,
    damaged_frames=st.lists(COUNTS, max_size=3),
)
GAINS = st.builds(
    Gain,
    sha256=TEXTS,
    name=TEXTS,
    arithmetic=TEXTS,
    scale=st.floats(allow_nan=False, allow_infinity=False),
    rounding=st.sampled_from([None, "even", "up", "down"]),
)
RECORDS = st.builds(
    Record,
    original=ORIGINALS,
    header=BLOBS,
    trailing=st.lists(BLOBS, max_size=3),
    shape=st.tuples(COUNTS, COUNTS, COUNTS),
    mrc_mode=COUNTS,
    byte_order=st.sampled_from("<>"),
    stored_dtype=st.sampled_from(["uint8", "int8", "uint16", "int16", "float32"]),
    compression=st.sampled_from(["none", "lzw", "deflate"]),
    predictor=st.sampled_from(["none", "horizontal", "float"]),
    rows_per_strip=COUNTS,
    pixel_size=st.none() | st.floats(0, allow_infinity=False),
    gain=st.none() | GAINS,
    frames=st.lists(FRAMES, max_size=3),
    writer=TEXTS,
    rendered=st.none() | RENDERED,
    coder=TEXTS,
    adopted=st.none() | st.builds(Adopted, name=TEXTS, bytes=SIZES, sha256=TEXTS, gain=st.none() | GAINS),
)

BLOB = Blob(8, 20, 1024, "0" * 32)
EXAMPLE = Record(
    original=Original("movie.mrc", 5024, "a" * 64, 1_700_000_000_123_456_789, 0, 0o644),
    header=BLOB,
    trailing=[],
    shape=(2, 20, 50),
    mrc_mode=2,
    byte_order="<",
    stored_dtype="uint8",
    compression="deflate",
    predictor="none",
    rows_per_strip=20,
    pixel_size=1.06,
    gain=Gain("b" * 64, "gain-reference.mrc"),
    frames=[
        Frame("c" * 32, [300], [77], ["e" * 32]),
        Frame("d" * 32, [400], [78], ["f" * 32], FrameExceptions(3, BLOB)),
    ],
    writer="cryofs",
)
TIFF = b"II*\0" + bytes(200) + record.MARK.encode() + bytes(100)
WHOLE = TIFF + record.encode_record(EXAMPLE, len(TIFF))
FOOTER_BYTES = 48


def read(data: bytes) -> Record:
    with open_bytes(data, "movie.mrc.tif") as source:
        return record.read_record(source)


def archived(data: bytes) -> bool:
    with open_bytes(data, "x.tif") as source:
        return record.is_archived(source)


def with_footer(body: bytes, version: int = record.VERSION) -> bytes:
    """Return a file that ends in `body` and a matching footer."""
    digest = bytes.fromhex(xxh3_checksum(body))
    return TIFF + body + struct.pack("<8sIIQQ16s", record.MAGIC, version, 0, len(TIFF), len(body), digest)


def undetected_flips(first: int, end: int) -> list[tuple[int, int]]:
    """Return position and bit of flips that reading does not detect."""
    found = []
    for position in range(first, end):
        for bit in range(8):
            data = bytearray(WHOLE)
            data[position] ^= 1 << bit
            try:
                read(bytes(data))
            except DamagedError:
                continue
            found.append((position - first, bit))
    return found


@given(RECORDS, st.binary(max_size=50))
def test_round_trip(written: Record, before: bytes) -> None:
    data = before + record.encode_record(written, len(before))
    assert read(data) == written
    assert archived(data)


def test_the_source_is_the_original_or_the_rendered_eer_file() -> None:
    assert EXAMPLE.source_bytes == 5024
    rendered = Rendered("movie.eer", 777, 0, frames=30, grouping=15, upsampling=1, damaged_frames=[])
    assert msgspec.structs.replace(EXAMPLE, rendered=rendered).source_bytes == 777


def test_a_record_without_later_fields_is_read() -> None:
    fields = msgspec.to_builtins(EXAMPLE)
    del fields["rendered"], fields["coder"], fields["frames"][1]["exceptions"]["near"]
    assert set(fields["gain"]) == {"sha256", "name"}
    assert read(with_footer(zlib.compress(msgspec.json.encode(fields)))) == EXAMPLE


@pytest.mark.parametrize("name", ["ü µ 電子.mrc", 'a\n"\\\x7f.mrc', "caf\\xe9.mrc"])
def test_file_names_are_restored(name: str) -> None:
    original = msgspec.structs.replace(EXAMPLE.original, name=name)
    found = read(record.encode_record(msgspec.structs.replace(EXAMPLE, original=original), 0))
    assert found.original.name == name


def test_every_flipped_bit_of_the_record_is_detected() -> None:
    assert undetected_flips(len(TIFF), len(WHOLE) - FOOTER_BYTES) == []


def test_every_flipped_bit_of_the_footer_is_detected() -> None:
    assert undetected_flips(len(WHOLE) - FOOTER_BYTES, len(WHOLE)) == []


def test_truncation_anywhere_is_detected() -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(DamagedError, match=r"movie\.mrc\.tif"):
            read(WHOLE[:length])


def test_trailing_bytes_are_detected() -> None:
    with pytest.raises(DamagedError):
        read(WHOLE + b"\0")
    with pytest.raises(DamagedError):
        read(b"\0" + WHOLE)


def test_files_written_by_cryofs_are_recognised() -> None:
    assert archived(WHOLE)
    assert archived(WHOLE[:-1]), "its mark distinguishes it from TIFF files of other programs"
    assert archived(bytes(len(TIFF)) + WHOLE[len(TIFF) :]), "so does its footer"
    for foreign in (b"", b"II*\0", bytes(5000), WHOLE[:100], record.MAGIC + bytes(FOOTER_BYTES)):
        assert not archived(foreign)


def test_a_later_version_is_rejected_with_a_remedy() -> None:
    body = zlib.compress(msgspec.json.encode(EXAMPLE))
    assert read(with_footer(body)) == EXAMPLE
    with pytest.raises(DamagedError, match="newer cryofs"):
        read(with_footer(body, record.VERSION + 1))


def test_a_flipped_bit_never_makes_another_version() -> None:
    for one, other in itertools.combinations(record.VERSIONS, 2):
        assert (one ^ other).bit_count() >= 2


@pytest.mark.parametrize(
    "body",
    [b"", b"no stream", zlib.compress(b""), zlib.compress(b"{}"), zlib.compress(msgspec.json.encode(EXAMPLE)[:-1])],
)
def test_bodies_that_are_not_records(body: bytes) -> None:
    with pytest.raises(DamagedError):
        read(with_footer(body))


@pytest.mark.parametrize("body", [zlib.compress(b'{"x":' + b"[" * 200_000), zlib.compress(bytes(64 << 20))])
def test_a_record_that_expands_to_much_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError, match=r"movie\.mrc\.tif: invalid record"):
            read(with_footer(body))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_a_record_of_a_sparse_file_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may consist of holes, so its size does not limit its record."""
    monkeypatch.setattr(record, "_MAX_TEXT_BYTES", 1 << 20)
    text = msgspec.json.encode(EXAMPLE)
    body = zlib.compress(text[:-1] + b" " * (64 << 20) + text[-1:])
    place = 1 << 34
    footer = struct.pack(
        "<8sIIQQ16s", record.MAGIC, record.VERSION, 0, place, len(body), bytes.fromhex(xxh3_checksum(body))
    )
    with open_bytes(TIFF, "movie.mrc.tif", place + len(body) + len(footer)) as source:
        os.pwrite(source.descriptor, body + footer, place)
        tracemalloc.start()
        try:
            with pytest.raises(DamagedError, match=r"movie\.mrc\.tif: invalid record"):
                record.read_record(source)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 4 << 20


def test_an_oversized_record_is_not_read() -> None:
    place, length = 1000, 1 << 33
    footer = struct.pack("<8sIIQQ16s", record.MAGIC, record.VERSION, 0, place, length, bytes(16))
    with open_bytes(TIFF, "movie.mrc.tif", place + length + len(footer)) as source:
        os.pwrite(source.descriptor, footer, place + length)
        with pytest.raises(DamagedError, match=r"movie\.mrc\.tif: damaged footer"):
            record.read_record(source)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("compression", "zstd"),
        ("byte_order", "="),
        ("stored_dtype", "float64"),
        ("frames", None),
        ("shape", [-1, 20, 50]),
        ("shape", [2, 20, 2**63]),
        ("rows_per_strip", -1),
        ("frames", [{"sum": "", "offsets": [-8], "byte_counts": [77], "strip_sums": [""]}]),
        ("frames", [{"sum": "", "offsets": [8], "byte_counts": [2**70], "strip_sums": [""]}]),
        ("original", {**msgspec.to_builtins(EXAMPLE.original), "mode": 0o10644}),
        ("original", {**msgspec.to_builtins(EXAMPLE.original), "bytes": -1}),
    ],
)
def test_a_record_of_unknown_values(field: str, value: Any) -> None:
    fields = {**msgspec.to_builtins(EXAMPLE), field: value}
    with pytest.raises(DamagedError):
        read(with_footer(zlib.compress(msgspec.json.encode(fields))))


@given(st.binary(max_size=300), st.integers(0, 50))
def test_blobs_are_restored(data: bytes, offset: int) -> None:
    blob, stored = deflate_blob(data)
    assert (blob.stored, blob.size) == (len(stored), len(data))
    assert deflated_size(data) == len(stored)
    assert inflate(stored) == data
    with open_bytes(bytes(offset) + stored + b"next") as source:
        placed = msgspec.structs.replace(blob, offset=offset)
        assert read_blob(source, placed) == data


@pytest.mark.parametrize(
    "change",
    [
        {"sum": "0" * 32},
        {"size": 999},
        {"size": 1001},
        {"size": 0},
        {"stored": 3},
        {"offset": 1},
        {"offset": 1 << 40},
        {"offset": (1 << 64) - 1},
    ],
    ids=str,
)
def test_wrong_blobs_are_detected(change: dict[str, Any]) -> None:
    blob, stored = deflate_blob(os.urandom(1000))
    with open_bytes(stored, "movie.mrc.tif") as source, pytest.raises(DamagedError, match=r"movie\.mrc\.tif"):
        read_blob(source, msgspec.structs.replace(blob, **change))


def test_flipped_bits_of_a_blob_never_change_its_content() -> None:
    blob, stored = deflate_blob(b"some header" * 9)
    for position in range(8 * len(stored)):
        data = bytearray(stored)
        data[position // 8] ^= 1 << position % 8
        with open_bytes(bytes(data)) as source:
            try:
                assert read_blob(source, blob) == b"some header" * 9
            except DamagedError:
                continue


def test_an_oversized_blob_is_not_read() -> None:
    refused = pytest.raises(DamagedError, match=r"movie\.mrc\.tif: invalid size of a blob of the record .*; restore")
    with open_bytes(b"", "movie.mrc.tif", 1 << 40) as source, refused:
        read_blob(source, Blob(0, 1 << 40, 1024, "0" * 32))


def test_a_blob_cannot_exhaust_memory() -> None:
    stored = zlib.compress(bytes(32 << 20))
    tracemalloc.start()
    try:
        with open_bytes(stored) as source, pytest.raises(DamagedError):
            read_blob(source, Blob(0, len(stored), len(stored), "0" * 32))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
