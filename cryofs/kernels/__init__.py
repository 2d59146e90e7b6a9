"""Compute counts, gain estimates, images of EER events and other results from arrays, without accessing files."""
