"""Archived movies whose records claim what no writer writes: refused before memory is taken for it."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from benchmarks.simulate import header
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from cryofs.errors import DamagedError
from cryofs.formats import record as record_format
from cryofs.formats.mrc import MODE_DTYPES
from cryofs.formats.record import Adopted, FrameExceptions, Gain, Record
from cryofs.formats.record_check import layout_of
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from tests.support import archive

SHAPE = (2, 20, 31)
REMEDY = "restore the file from a backup"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A movie with exceptions, an extended header and trailing bytes."""
    folder = tmp_path_factory.mktemp("archived")
    values = np.random.default_rng(0).poisson(1.4, SHAPE).astype("f4")
    values[:, 3, 4] = np.nan
    source = folder / "movie.mrc"
    source.write_bytes(header(SHAPE, 2, extended=bytes(64), kind=b"FEI1") + values.tobytes() + b"trailing")
    archive(source, folder / "archive", CompressOptions(coding=Coding("lzw"), gain="none", jobs=1))
    return folder / "archive" / "movie.mrc.tif"


@pytest.fixture(name="record", scope="module")
def whole_record(path: Path) -> Record:
    with ArchivedMovie(path, GainLibrary()) as movie:
        found = movie.record
    assert [frame.exceptions is not None for frame in found.frames] == [True, True]
    return found


def with_header(record: Record, size: int) -> Record:
    """One of another size of the header, whose sizes add up."""
    original = replace(record.original, bytes=record.original.bytes - record.header.size + size)
    return replace(record, header=replace(record.header, size=size), original=original)


def with_trailing(record: Record, size: int) -> Record:
    (blob,) = record.trailing
    original = replace(record.original, bytes=record.original.bytes - blob.size + size)
    return replace(record, trailing=[replace(blob, size=size)], original=original)


def with_shape(record: Record, ny: int, nx: int) -> Record:
    original = replace(record.original, bytes=record.header.size + 2 * 4 * ny * nx + record.trailing[0].size)
    return replace(record, shape=(2, ny, nx), original=original)


def with_frame(record: Record, **changes: object) -> Record:
    return replace(record, frames=[record.frames[0], replace(record.frames[1], **changes)])


def with_exceptions(record: Record, count: int, near: int, size: int) -> Record:
    found = record.frames[1].exceptions
    assert found is not None
    return with_frame(record, exceptions=FrameExceptions(count, replace(found.blob, size=size), near))


def with_gain(record: Record, **changes: object) -> Record:
    frame_bytes = np.dtype(MODE_DTYPES[record.mrc_mode]).itemsize * record.shape[1] * record.shape[2]
    original = replace(record.original, bytes=record.header.size + 2 * frame_bytes + record.trailing[0].size)
    return replace(record, gain=replace(Gain("0" * 64, "gain-reference.mrc"), **changes), original=original)


def test_sizes_that_writers_write(record: Record) -> None:
    assert layout_of(record, "x").header_bytes == 1024 + 64
    assert layout_of(with_header(record, 1024), "x").header_bytes == 1024
    assert layout_of(with_header(record, 1024 + (64 << 20)), "x").header_bytes == 1024 + (64 << 20)
    assert layout_of(with_trailing(record, 16 << 20), "x").frames == 2
    assert layout_of(with_shape(record, 1 << 15, 1 << 15), "x").frame_bytes == 1 << 32
    assert layout_of(with_exceptions(record, 20 * 31, 20, 600 * 8 + 20 * 5), "x").frames == 2


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        (lambda record: with_header(record, 10), "header size of 10 bytes"),
        (lambda record: with_header(record, 1023), "header size of 1023 bytes"),
        (lambda record: with_header(record, 2 << 30), "header size of 2147483648 bytes"),
        (lambda record: with_trailing(record, (16 << 20) + 1), "trailing blob of 16777217 bytes"),
        (lambda record: with_shape(record, 1 << 15, (1 << 15) + 1), "frame size of 32768 x 32769 pixels"),
        (lambda record: with_exceptions(record, 20 * 31 + 1, 0, 621 * 8), "621 exceptions (0 near) in frame 1"),
        (lambda record: with_exceptions(record, 1, 2, 2), "1 exceptions (2 near) in frame 1"),
        (lambda record: with_exceptions(record, 1, 0, 9), "1 exceptions in a blob of 9 bytes in frame 1"),
        (lambda record: with_exceptions(record, 1, 0, 2**63 - 1), "exceptions in a blob of 9223372036854775807 bytes"),
        (lambda record: with_gain(record, rounding="even"), "with rounding even for values of mode 2"),
        (lambda record: with_gain(replace(record, mrc_mode=12)), "with rounding None for values of mode 12"),
        (lambda record: with_gain(record, scale=0.0), "scale 0.0 of the gain reference"),
        (lambda record: with_gain(record, scale=1e6), "scale 1000000.0 of the gain reference"),
    ],
)
def test_invalid_records_are_rejected(record: Record, change: Callable[[Record], Record], claim: str) -> None:
    with pytest.raises(DamagedError, match=rf"^x\.mrc\.tif: invalid record: .*{re.escape(claim)}.*; {REMEDY}"):
        layout_of(change(record), "x.mrc.tif")


ADOPTED = Adopted("movie.tif", 100, "0" * 64)


@pytest.mark.parametrize(
    ("adopted", "change", "claim"),
    [
        (replace(ADOPTED, bytes=0), lambda record: record, "source file size of 0 bytes"),
        (replace(ADOPTED, bytes=1 << 40), lambda record: record, f"source file size of {1 << 40} bytes"),
        (ADOPTED, lambda record: with_header(record, 1025), "adopted TIFF with an extended header"),
        (ADOPTED, lambda record: replace(record, trailing=[record.header]), "an extended header or trailing bytes"),
    ],
)
def test_claims_of_adopted_movies(
    record: Record, adopted: Adopted, change: Callable[[Record], Record], claim: str
) -> None:
    plain = with_header(record, 1024)
    size = plain.original.bytes - record.trailing[0].size
    plain = replace(plain, trailing=[], original=replace(plain.original, bytes=size), adopted=ADOPTED)
    assert layout_of(plain, "x").total_bytes == size
    changed = change(replace(plain, adopted=adopted))
    size = changed.header.size + 2 * 4 * 20 * 31 + sum(blob.size for blob in changed.trailing)
    changed = replace(changed, original=replace(changed.original, bytes=size))
    with pytest.raises(DamagedError, match=rf"^x\.tif: invalid record: .*{re.escape(claim)}"):
        layout_of(changed, "x.tif")


def written(path: Path, record: Record, target: Path) -> Path:
    """The same file with another record."""
    data = path.read_bytes()
    target.write_bytes(data + record_format.encode_record(record, len(data)))
    return target


def test_overlapping_strips(path: Path, tmp_path: Path) -> None:
    """A page of many strips that are the same bytes, nearly all of the file."""
    archive(
        path.parents[1] / "movie.mrc",
        tmp_path,
        CompressOptions(coding=Coding("deflate", None, True), gain="none", jobs=1),
    )
    lines = tmp_path / "movie.mrc.tif"
    with ArchivedMovie(lines, GainLibrary()) as movie:
        record = movie.record
    strips, size = SHAPE[1], lines.stat().st_size
    frame = {"offsets": [0] * strips, "byte_counts": [size] * strips}
    copy = written(lines, with_frame(record, **frame), lines)
    with ArchivedMovie(copy, GainLibrary()) as movie:
        movie.mrc_frame(0)
        with pytest.raises(DamagedError, match=rf"frame 1: damaged \(invalid record: its strips take {size * strips} "):
            movie.mrc_frame(1)


def test_a_strip_longer_than_any_codec_writes(path: Path, record: Record, tmp_path: Path) -> None:
    data, size = path.read_bytes(), 1 << 20
    changed = with_frame(record, offsets=[len(data)], byte_counts=[size])
    copy = tmp_path / "movie.mrc.tif"
    with copy.open("wb") as file:
        file.write(data)
        file.seek(len(data) + size)
        file.write(record_format.encode_record(changed, len(data) + size))
    with (
        ArchivedMovie(copy, GainLibrary()) as movie,
        pytest.raises(DamagedError, match=rf"frame 1: damaged \(invalid record: its strips take {size} bytes"),
    ):
        movie.mrc_frame(1)
