"""Compile the numerical kernels once, so that the first command of a user does not wait for it."""

import numpy as np

from cryofs.detector import counts, events, huffman, lzw
from cryofs.detector.gain import GainEstimate
from cryofs.detector.values import Arithmetic, GainReference


def main() -> None:
    """Run every kernel on a few pixels."""
    values = np.ones((2, 3), np.float32)
    GainEstimate.empty(2, 3).update(0, values[np.newaxis], 50)
    for dtype in (np.dtype("u1"), np.dtype("u2")):
        # half a count is an exception, so that their collection is compiled too
        counts.divide(values * np.float32(1.5), GainReference(values, Arithmetic.SINGLE), slice(0, 2), dtype)
    huffman.encode(np.zeros(100, np.uint8))
    lzw.encode(np.zeros(100, np.uint8))
    events.load()


if __name__ == "__main__":
    main()
