"""All compiled code can be had beforehand."""

from cryofs.detector import counts, events, gain, kernels, lzw, refine


def test_kernels_are_compiled_beforehand() -> None:
    kernels.load()
    for kernel in (counts._divide, events._add_up, gain._update, lzw._encode, lzw._decode, refine._update):
        # where compiling is switched off, it is a plain function
        assert getattr(kernel, "signatures", ["plain"])
