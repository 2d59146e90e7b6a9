"""Numerical kernels over arrays: gain estimation, values <-> counts. Arrays in, arrays out; no files."""

from cryofs.system import numba_cache

numba_cache.choose()
