"""Facts about an uncompressed movie for `cryofs info`."""

from typing import Any

from cryofs.movies.movie import Movie


def mrc_description(movie: Movie, name: str) -> dict[str, Any]:
    """Return the facts that `cryofs info` prints about an uncompressed movie, from its MRC header."""
    header = movie.mrc_header
    return {
        "format": "mrc",
        "shape": list(movie.shape),
        "dtype": movie.dtype.name,
        "mode": header.mode,
        "byte_order": "little" if header.byte_order == "<" else "big",
        "extended_header": header.extended_type or None,
        "pixel_size": header.pixel_size,
        "compression": "none",
        "stored_bytes": movie.layout.total_bytes,
        "original": {"name": name, "bytes": movie.layout.total_bytes, "sha256": None},
        "ratio": 1.0,
        "gain": None,
        "exceptions": 0,
    }
