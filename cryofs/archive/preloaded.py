"""What workers have from the start: imported once, by the process that they are forked from, which has no threads."""

from cryofs.archive import processes
from cryofs.detector import kernels

__all__ = ["processes"]

kernels.load()
