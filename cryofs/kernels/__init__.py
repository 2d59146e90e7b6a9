"""Numerical kernels over arrays: counts, gain estimation, EER events. No file access."""

from cryofs.system import numba_cache

numba_cache.choose()
