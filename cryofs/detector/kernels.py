"""All compiled code, for whoever should not wait for it later.

`python -m cryofs.detector.kernels` compiles what is not compiled yet.
"""

import numpy as np

from cryofs.detector import counts, events, huffman, huffman_decoding, lzw
from cryofs.detector.gain import GainEstimate
from cryofs.detector.refine import Refinement
from cryofs.detector.values import GainReference


def load() -> None:
    """Load the compiled code of every kernel, or compile it, by running it on a few pixels."""
    values = np.ones((2, 3), np.float32)
    GainEstimate.empty(2, 3).update(0, values[np.newaxis], 50)
    Refinement.of(values).update(values[np.newaxis])
    for dtype in (np.dtype("u1"), np.dtype("u2")):
        # half a count is an exception, so that their collection is loaded too
        counts.divide(values * np.float32(1.5), GainReference(values), slice(0, 2), dtype)
    data = np.zeros(100, np.uint8)
    huffman.encode(data)
    huffman_decoding.load()
    lzw.decode(lzw.encode(data), data)
    events.load()


if __name__ == "__main__":
    load()
