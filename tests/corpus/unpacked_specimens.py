"""Packed movies, and TIFF movies of other programs that are multiplied with their gain reference."""

from pathlib import Path

import mrcfile
import numpy as np

from benchmarks.simulate import header
from cryofs.movies.registry import open_movie
from tests.corpus.specimen import ADOPTED, GAIN, Specimen, whole, write
from tests.foreign import serialem
from tests.formats.packed_samples import WAYS
from tests.outcomes import adopted

SHAPE = (4, 130, 37)
# of one part and with a checksum, so that no damage can go unnoticed
PACKED_WAYS = {"bzip2": "bzip2", "gzip": "gzip", "xz": "xz", "zstd": "zstd", "piped-zstd": "zstd from a pipe"}
NORMALISED = "/@normalised/movie.mrc"


def packed(folder: Path, way: str) -> Specimen:
    """Create two packed movies."""
    suffix, pack = WAYS[way]
    shown = {"/notes.txt": write(folder / "notes.txt", b"300 kV").read_bytes()}
    for seed, name in enumerate(("movie.mrc", "other.mrc")):
        values = np.random.default_rng(seed).poisson(1.2, SHAPE).astype("<i2")
        data = header(SHAPE, 1) + values.tobytes() + b"trailing bytes"
        stored = write(folder / f"{name}{suffix}", pack(data)).read_bytes()
        shown |= {f"/{name}": data, f"/{name}{suffix}": stored}
    return Specimen(folder.name, "packed", folder, f"movie.mrc{suffix}", shown, "/movie.mrc")


def normalised(folder: Path) -> list[Specimen]:
    """Create an adopted TIFF movie with its gain reference, each of which is damaged."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(2)
    counts = rng.poisson(1.4, SHAPE).astype("u1")
    with mrcfile.new(folder / GAIN) as file:
        file.set_data(rng.uniform(0.8, 1.2, SHAPE[1:]).astype(np.float32))
    path = serialem(folder / ADOPTED, counts)
    write(folder / "notes.txt", b"300 kV")
    _, errors = adopted(path)
    if errors:
        raise RuntimeError(f"a specimen could not be adopted: {errors}")
    shown = {"/notes.txt": b"300 kV", f"/{ADOPTED}": path.read_bytes()}
    with open_movie(path) as movie:
        shown["/movie.mrc"] = whole(movie)
    with open_movie(path, normalised=True) as movie:
        shown[NORMALISED] = whole(movie)
        layout = movie.layout
    sizes = layout.header_bytes, layout.frame_bytes
    return [
        Specimen("normalised", "normalised", folder, ADOPTED, shown, NORMALISED, *sizes),
        Specimen("normalised-gain", "normalised gain", folder, GAIN, shown, NORMALISED, *sizes),
    ]
