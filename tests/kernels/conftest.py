"""Plain replacements for LLVM intrinsics, used when numba is disabled (NUMBA_DISABLE_JIT=1, as in `make coverage`)."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofs.codecs import huffman_decoder, lzw


def counts_in_block(data: NDArray[np.uint8], start: int) -> np.uint64:
    """Return a bit mask of the nonzero values among 64 from `start` on, lowest bit first."""
    bits = np.packbits(data[start : start + 64] != 0, bitorder="little")
    return np.uint64(bits.view("<u8")[0])


def copy_piece(data: NDArray[np.uint8], to: int, source: int) -> None:
    """Copy 16 bytes within an array."""
    data[to : to + 16] = data[source : source + 16].copy()


def load(data: NDArray[np.uint8], place: int) -> np.uint64:
    """Read eight bytes as a little-endian number."""
    return np.frombuffer(data[place : place + 8].tobytes(), "<u8")[0]  # type: ignore[no-any-return]


def store(data: NDArray[np.uint8], place: int, number: np.uint64) -> None:
    """Write a number as eight little-endian bytes."""
    data[place : place + 8] = np.frombuffer(number.astype("<u8").tobytes(), np.uint8)


def trailing_zeros(value: np.uint64) -> int:
    """Return the number of zeros below the lowest set bit."""
    number = int(value)
    return (number & -number).bit_length() - 1


@pytest.fixture(scope="session", autouse=True)
def plain_functions() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("NUMBA_DISABLE_JIT") == "1":
            stand_ins: list[tuple[Any, str, Any]] = [
                (lzw, "_counts_in_block", counts_in_block),
                (lzw, "_copy_piece", copy_piece),
                (lzw, "trailing_zeros", trailing_zeros),
                (huffman_decoder, "_load", load),
                (huffman_decoder, "_store", store),
            ]
            for module, name, function in stand_ins:
                patch.setattr(module, name, function)
        yield
