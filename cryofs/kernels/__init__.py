"""Numerical kernels: counts, gain estimates, images of EER events and others, from arrays and without file access."""

from cryofs.system import numba_cache

numba_cache.choose()
