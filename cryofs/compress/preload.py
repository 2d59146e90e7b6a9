"""Imports for worker processes, done once in the process that they are forked from."""

from cryofs.codecs import registry
from cryofs.compress import movie_task
from cryofs.kernels import warm_up

__all__ = ["movie_task"]

warm_up.load()
registry.load_compiled()
