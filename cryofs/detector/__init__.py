"""Numerical kernels over arrays: gain estimation, values <-> counts. Arrays in, arrays out; no files."""

from cryofs.detector import code_cache

code_cache.choose()
