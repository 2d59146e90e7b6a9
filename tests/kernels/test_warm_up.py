"""Compilation of all kernels in advance."""

from cryofs.codecs import lzw
from cryofs.kernels import gain_estimate, gain_refine, to_counts, warm_up


def test_kernels_are_compiled_in_advance() -> None:
    warm_up.load()
    for kernel in (
        to_counts._divide,
        gain_estimate._update,
        lzw._encode,
        lzw._decode,
        gain_refine._update,
    ):
        # with numba disabled it is a plain function
        assert getattr(kernel, "signatures", ["plain"])
