"""Movies read once in row blocks: every byte is handed out once and summed once, in memory that is used again."""

import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulate import header
from cryofs.codecs.registry import codec_named
from cryofs.compress import row_blocks
from cryofs.compress.row_blocks import (
    OriginalSums,
    RowBlockMemory,
    Workers,
    largest_row_block,
    read_frames,
    trailing_pieces,
)
from cryofs.formats.tiff_pages import PageLayout
from cryofs.movies.mrc import MrcMovie
from tests import faults

# mode, bytes of a row of 7 columns
MODES = {0: 7, 2: 28, 6: 14, 101: 4}
FRAMES, NX = 3, 7
TAIL = b"trailing bytes"


@pytest.fixture(name="workers")
def two_workers() -> Iterator[Workers]:
    with ThreadPoolExecutor(2) as pool:
        yield Workers(pool, 2)


def write(path: Path, ny: int, mode: int, tail: bytes = TAIL, extended: bytes = b"") -> list[bytes]:
    """Write a movie of random bytes and return its frames."""
    frames = [os.urandom(ny * MODES[mode]) for _ in range(FRAMES)]
    path.write_bytes(header((FRAMES, ny, NX), mode, extended=extended) + b"".join(frames) + tail)
    return frames


def make_layout(ny: int, rows: int) -> PageLayout:
    return PageLayout(ny, NX, np.dtype("u1"), codec_named("none"), rows, None)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("ny", "rows"), [(1, 1), (300, 1), (300, 100), (300, 256), (600, 256), (512, 1024)])
def test_row_blocks_are_the_frames(tmp_path: Path, workers: Workers, mode: int, ny: int, rows: int) -> None:
    path, layout = tmp_path / "movie.mrc", make_layout(ny, rows)
    frames = write(path, ny, mode, extended=b"extended")
    sums = OriginalSums()
    with MrcMovie(path) as movie:
        memory = RowBlockMemory(1, largest_row_block(movie, layout))
        for number, frame in enumerate(read_frames(movie, layout, sums, memory)):
            whole = b""
            groups = layout.strip_groups()
            for block in frame:
                assert block.rows.start == len(whole) // MODES[mode], "in the order of the file"
                assert (block.strips, block.rows) == (groups[-1], layout.frame_rows(groups.pop()))
                whole += block.raw.tobytes()
                assert block.rows.stop == len(whole) // MODES[mode]
                block.done()
            assert groups == []
            assert whole == frames[number]
        for piece in trailing_pieces(movie):
            sums.add(piece)
    assert number == FRAMES - 1
    assert sums.frames == [xxhash.xxh3_128_hexdigest(frame) for frame in frames]
    assert sums.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_byte_is_read_once_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: Workers) -> None:
    path, layout, reads = tmp_path / "movie.mrc", make_layout(600, 256), []

    def noting(call: Callable[..., int], number: int, arguments: tuple[Any, ...]) -> int:
        count = call(*arguments)
        reads.append(range(arguments[2], arguments[2] + count))
        return count

    write(path, 600, 2)
    with MrcMovie(path) as movie:
        faults.inject(monkeypatch, noting)
        memory = RowBlockMemory(1, largest_row_block(movie, layout))
        for frame in read_frames(movie, layout, OriginalSums(), memory):
            for block in frame:
                block.done()
    assert list(itertools.chain(*reads)) == list(range(1024, path.stat().st_size - len(TAIL)))


@given(
    st.binary(max_size=40), st.lists(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4), max_size=4)
)
def test_checksums_do_not_depend_on_the_division_into_row_blocks(head: bytes, frames: list[list[bytes]]) -> None:
    sums = OriginalSums()
    sums.add(head)
    for frame in frames:
        for number, rows in enumerate(frame, 1):
            sums.add_rows(np.frombuffer(rows, np.uint8), number == len(frame))
    sums.add(head)
    wholes = [b"".join(frame) for frame in frames]
    assert sums.frames == [xxhash.xxh3_128_hexdigest(whole) for whole in wholes]
    assert sums.sha256 == hashlib.sha256(head + b"".join(wholes) + head).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 32, 45])
def test_trailing_bytes_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(row_blocks, "TRAILING_PIECE_BYTES", 16)
    tail = os.urandom(size)
    write(tmp_path / "movie.mrc", 2, 0, tail)
    with MrcMovie(tmp_path / "movie.mrc") as movie:
        pieces = list(trailing_pieces(movie))
    assert b"".join(pieces) == tail
    assert [len(piece) for piece in pieces] == [16] * (size // 16) + [size % 16] * (size % 16 > 0)


@pytest.mark.parametrize(("ny", "rows", "highest"), [(1, 1, 1), (300, 1, 128), (600, 300, 300), (512, 200, 200)])
def test_the_largest_row_block(tmp_path: Path, ny: int, rows: int, highest: int) -> None:
    write(tmp_path / "movie.mrc", ny, 2)
    with MrcMovie(tmp_path / "movie.mrc") as movie:
        assert largest_row_block(movie, make_layout(ny, rows)) == highest * MODES[2]


def test_memory_is_used_again() -> None:
    memory = RowBlockMemory(2, 100)
    one, other = memory.take(100), memory.take(7)
    assert (len(one), len(other)) == (100, 7)
    assert not np.shares_memory(one, other)
    memory.give_back(other)
    again = memory.take(50)
    assert len(again) == 50
    assert np.shares_memory(again, other)


def test_a_fast_reader_waits_for_memory(tmp_path: Path, workers: Workers) -> None:
    layout = make_layout(600, 256)
    write(tmp_path / "movie.mrc", 600, 0)
    with MrcMovie(tmp_path / "movie.mrc") as movie:
        memory = RowBlockMemory(2, largest_row_block(movie, layout))
        frames = read_frames(movie, layout, OriginalSums(), memory)
        frame = next(frames)
        first, _ = itertools.islice(frame, 2)
        third = threading.Thread(target=next, args=(frame,), daemon=True)
        third.start()
        third.join(0.2)
        assert third.is_alive()
        first.done()
        third.join(30)
        assert not third.is_alive()
