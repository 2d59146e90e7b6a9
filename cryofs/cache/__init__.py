"""Decoded frames in memory: a cache bounded in bytes, one decode per frame at a time, read-ahead."""
