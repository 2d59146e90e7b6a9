"""Compute counts, gain estimates, images of EER events and other results from arrays, without accessing files."""

from cryofs.system import numba_cache

numba_cache.choose()
