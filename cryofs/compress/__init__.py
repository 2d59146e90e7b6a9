"""Compression of sessions: plan, encode and write archived movies, and copy all other files."""
