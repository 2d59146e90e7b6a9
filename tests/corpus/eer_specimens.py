"""Small intact EER files, their fractions in an archive, and their gain reference."""

import os
from pathlib import Path

import numpy as np
import tifffile

from benchmarks.simulate_eer import Widths, metadata, random_frames, write_eer
from cryofs.compress.movie_task import CompressOptions
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering
from cryofs.movies.registry import open_movie
from tests.corpus.specimen import ARCHIVED, READ_NS, TIME_NS, Kind, Specimen, all_done, whole, write
from tests.support import archive

EER_SHAPE = (24, 32)
EER_FRAMES = 6
EER_GROUPING = 2
EER_WIDTHS = Widths()
# by the name of the specimen: both readings of runs of all ones in files of compression 65000
OVERFLOW_WIDTHS = {f"eer-{bits}-bits": Widths(8, 2, 2, 65000, overflow=bits) for bits in (12, 8)}
# few electrons, so that such runs occur
_OVERFLOW_MEAN = 0.006


def widths_of(specimen: Specimen) -> Widths:
    """Return the event layout of the movie to damage."""
    return OVERFLOW_WIDTHS.get(specimen.name, EER_WIDTHS)


def write_eer_movie(
    path: Path, frames: int = EER_FRAMES, strips: int = 2, *, mean: float = 0.05, widths: Widths = EER_WIDTHS
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = list(random_frames(frames, EER_SHAPE, mean, widths))
    write_eer(path, data, EER_SHAPE, widths, xml=metadata(frames, mean * frames, 0.8), strips=strips)


def eer(folder: Path) -> Specimen:
    write_eer_movie(folder / "movie.eer")
    write_eer_movie(folder / "other.eer")
    return _shown_eer(folder, "eer")


def single_eer(folder: Path) -> Specimen:
    """Create an EER file of two frames of one strip, so that a damaged directory affects half of the file."""
    write_eer_movie(folder / "movie.eer", EER_GROUPING, strips=1)
    write_eer_movie(folder / "other.eer")
    return _shown_eer(folder, "eer")


def overflow_eer(folder: Path) -> Specimen:
    """Create an EER file with runs of all ones, encoded as the name of the folder says."""
    write_eer_movie(folder / "movie.eer", mean=_OVERFLOW_MEAN, widths=OVERFLOW_WIDTHS[folder.name])
    write_eer_movie(folder / "other.eer")
    return _shown_eer(folder, "eer")


def footer_eer(folder: Path) -> Specimen:
    """Create an EER file with the older container, with 4096 x 4096 pixels and no events."""
    side, run = 4096, 127
    full, last = divmod(side * side, run)
    bits = np.unpackbits(np.full(full + 1, run, np.uint8).reshape(-1, 1), axis=1, bitorder="little")[:, :7].copy()
    bits[-1] = np.unpackbits(np.array([last], np.uint8), bitorder="little")[:7]
    stream = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    stream += bytes(-len(stream) % 8)
    frame = stream + (len(stream) // 8).to_bytes(8, "little") + b"ThermoFisherECComprOK000"
    write(folder / "movie.eer", frame * EER_GROUPING)
    write_eer_movie(folder / "other.eer")
    return _shown_eer(folder, "footer eer")


def _shown_eer(folder: Path, kind: Kind, rendering: Rendering | None = None) -> Specimen:
    write(folder / "notes.txt", b"300 kV")
    shown = {f"/{path.name}": path.read_bytes() for path in folder.iterdir() if path.suffix != ".gain"}
    for name in ("movie", "other"):
        with EerMovie(folder / f"{name}.eer", rendering or Rendering(grouping=EER_GROUPING), EerGains()) as movie:
            shown[f"/{name}.mrc"] = whole(movie)
            layout = movie.layout
            if name == "movie":
                sizes = (layout.header_bytes, layout.frame_bytes)
    return Specimen(folder.name, kind, folder, "movie.eer", shown, "/movie.mrc", *sizes)


def rendered(folder: Path) -> Specimen:
    """Create archived fractions of an EER movie."""
    session = folder.with_name("rendered-session")
    write_eer_movie(session / "movie.eer")
    options = CompressOptions(rendering=Rendering(grouping=EER_GROUPING), jobs=1)
    os.utime(session / "movie.eer", ns=(READ_NS, TIME_NS))
    all_done(archive(session, folder, options)[1])
    write(folder / "notes.txt", b"300 kV")
    with open_movie(folder / ARCHIVED) as movie:
        original, layout = whole(movie), movie.layout
    shown = {"/movie.mrc": original, "/notes.txt": b"300 kV"}
    return Specimen(
        "rendered", "archived", folder, ARCHIVED, shown, "/movie.mrc", layout.header_bytes, layout.frame_bytes
    )


def eer_gain(folder: Path) -> Specimen:
    """Create a gain reference for EER movies that mounts apply."""
    write_eer_movie(folder / "movie.eer")
    write_eer_movie(folder / "other.eer")
    gain = np.random.default_rng(5).normal(1, 0.05, EER_SHAPE).astype("f4")
    tifffile.imwrite(folder / "detector.gain", gain, compression="zlib", rowsperstrip=8)
    rendering = Rendering(grouping=EER_GROUPING, gain=folder / "detector.gain", apply_gain=True)
    shown = _shown_eer(folder, "eer gain", rendering)
    return Specimen(
        "eer-gain",
        "eer gain",
        folder,
        "detector.gain",
        shown.shown,
        shown.victim,
        shown.header_bytes,
        shown.frame_bytes,
    )
