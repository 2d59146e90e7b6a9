"""Load all kernels; those without stored code are compiled (`cryofs warm`)."""

import numpy as np

from cryofs.codecs import huffman_decoder, huffman_encoder, lzw, registry
from cryofs.kernels import eer_events, multiply, to_counts
from cryofs.kernels.from_counts import Arithmetic, GainReference
from cryofs.kernels.gain_estimate import GainEstimate
from cryofs.kernels.gain_refine import Refinement
from cryofs.kernels.lattice_estimate import LatticeEstimate


def load() -> None:
    """Load or compile every kernel by running it on a few pixels."""
    values = np.ones((2, 3), np.float32)
    GainEstimate.empty(2, 3).update(0, values[np.newaxis], 50)
    Refinement.of(values).update(values[np.newaxis])
    for dtype in (np.dtype("u1"), np.dtype("u2")):
        # a fractional count is an exception, so the kernel that collects exceptions is loaded too
        to_counts.divide(values * np.float32(1.5), GainReference(values), slice(0, 2), dtype)
    for kind in (np.dtype("i2"), np.dtype("u2")):
        integers = np.full((2, 3), 150, kind)
        LatticeEstimate.empty(2, 3, 100.0, truncated=False).update(0, integers[np.newaxis])
        scaled = GainReference(values).scaled(Arithmetic.ROUNDED, 100)
        for dtype in (np.dtype("u1"), np.dtype("u2")):
            to_counts.divide(integers, scaled, slice(0, 2), dtype)
    data = np.zeros(100, np.uint8)
    huffman_encoder.encode(data)
    huffman_decoder.load()
    lzw.decode(lzw.encode(data), data)
    eer_events.load()
    registry.load_compiled()
    multiply.multiply(np.ones((2, 3), np.uint8), values, 0, values.reshape(-1))
