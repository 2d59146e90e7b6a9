"""What workers have from the start: imported once, by the process that they are forked from, which has no threads."""

from cryofs.codecs import registry
from cryofs.compress import processes
from cryofs.kernels import warm_up

__all__ = ["processes"]

warm_up.load()
registry.load_compiled()
