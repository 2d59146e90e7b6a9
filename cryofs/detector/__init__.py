"""Numerical kernels over arrays: gain estimation, values <-> counts. Arrays in, arrays out; no files."""
