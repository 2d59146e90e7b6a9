"""Pack and unpack exceptions, which are values of a frame that counts do not reproduce.

A block contains, before deflate: n gaps between the positions of far exceptions (uint32), the bits of the n values in
the original type, then m gaps (uint32) and m steps (int8) of near exceptions. Numbers are little-endian, with bytes of
equal significance grouped, which compresses better.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import DamagedError

_GAP_BYTES = 4


def pack(
    positions: NDArray[np.int64], originals: NDArray[Any], near: NDArray[np.int64], steps: NDArray[np.int8]
) -> bytes:
    """Return the exceptions of a frame as a block of bytes.

    Parameters
    ----------
    positions, near : ndarray of int64
        Ascending indices into the flattened frame.
    originals : ndarray of unsigned integers
        Bits of the original values at `positions`.
    steps : ndarray of int8
        Differences from the restored values at `near`, in last bits.
    """
    far = _gaps(positions) + _bytes_apart(originals.astype(originals.dtype.newbyteorder("<")))
    return far + _gaps(near) + steps.tobytes()


def unpack(
    data: bytes, far: int, near: int, dtype: np.dtype[Any]
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64], NDArray[np.int8]]:
    """Return positions, original bits (unsigned type `dtype`), near positions and steps, each of shape (n,).

    Raises
    ------
    DamagedError
        The size of the block does not match the numbers of far and near exceptions.
    """
    sizes = _part_bytes(far, near, dtype.itemsize)
    if not data and far == near == 0:
        return np.empty(0, np.int64), np.empty(0, dtype), np.empty(0, np.int64), np.empty(0, np.int8)
    if len(data) != sum(sizes):
        raise DamagedError(f"invalid size of a block of {far} far and {near} near exceptions ({len(data)} bytes)")
    ends = np.cumsum(sizes).tolist()
    parts = [data[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    originals = _bytes_together(parts[1], dtype.newbyteorder("<")).astype(dtype)
    return _positions(parts[0]), originals, _positions(parts[2]), np.frombuffer(parts[3], np.int8)


def packed_bytes(far: int, near: int, itemsize: int) -> int:
    """Return the size in bytes of a block of exceptions whose values have `itemsize` bytes."""
    return sum(_part_bytes(far, near, itemsize))


def _part_bytes(far: int, near: int, itemsize: int) -> list[int]:
    return [far * _GAP_BYTES, far * itemsize, near * _GAP_BYTES, near]


def _gaps(positions: NDArray[np.int64]) -> bytes:
    return _bytes_apart(np.diff(positions, prepend=0).astype("<u4"))


def _positions(data: bytes) -> NDArray[np.int64]:
    return np.cumsum(_bytes_together(data, np.dtype("<u4")), dtype=np.int64)


def _bytes_apart(values: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1, values.itemsize).T.tobytes()


def _bytes_together(data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)
