"""Exceptions as bytes: which values of a frame are not count x gain, and what they are.

Layout before deflating: n gaps between positions (uint32), then n values as the bits of the original type, both
little-endian and with the bytes of equal weight together, which deflates better.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import DamagedError

_GAP_BYTES = 4


def pack(positions: NDArray[np.int64], originals: NDArray[Any]) -> bytes:
    """Pack the exceptions of a frame.

    Parameters
    ----------
    positions : ndarray of int64
        Ascending indices into the flattened frame.
    originals : ndarray of unsigned integers
        Bits of the original values there.
    """
    gaps = np.diff(positions, prepend=0)
    return _bytes_apart(gaps.astype("<u4")) + _bytes_apart(originals.astype(originals.dtype.newbyteorder("<")))


def unpack(data: bytes, count: int, dtype: np.dtype[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Positions and original bits (of unsigned type `dtype`), the inverse of `pack`."""
    if len(data) != count * (_GAP_BYTES + dtype.itemsize):
        raise DamagedError(f"{len(data)} bytes cannot be {count} exceptions")
    split = count * _GAP_BYTES
    gaps = _bytes_together(data[:split], np.dtype("<u4"))
    originals = _bytes_together(data[split:], dtype.newbyteorder("<"))
    return np.cumsum(gaps, dtype=np.int64), originals.astype(dtype)


def _bytes_apart(values: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1, values.itemsize).T.tobytes()


def _bytes_together(data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)
