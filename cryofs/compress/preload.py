"""Imports of worker processes, done once in the process from which workers are forked."""

from cryofs.system import garbage

with garbage.long_lived():
    from cryofs.codecs import registry
    from cryofs.compress import movie_task
    from cryofs.kernels import warm_up

    warm_up.load()
    registry.load_compiled()

__all__ = ["movie_task"]
