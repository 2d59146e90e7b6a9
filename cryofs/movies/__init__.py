"""Kinds of movies, one module each; every kind returns its frames as the bytes of an MRC file."""
