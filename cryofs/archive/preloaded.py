"""What workers have from the start: imported once, by the process that they are forked from, which has no threads."""

from cryofs.archive import processes
from cryofs.detector import kernels
from cryofs.movies import decoding

__all__ = ["processes"]

kernels.load()
decoding.load_compiled()
