"""Small intact files of every kind, each with its expected content; tests damage copies of them."""

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks.simulate import Detector, header
from benchmarks.simulate_eer import Widths, metadata, random_frames, write_eer
from cryofs.archive.adopt import adopt
from cryofs.compress import writer
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from cryofs.gain.estimation import Estimation
from cryofs.gain.estimation_state import STATE_NAME, save
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.archived_counts import CountsMovie
from cryofs.movies.archived_metadata import counts_bytes
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.movie import Movie
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.registry import open_movie
from tests.foreign import serialem
from tests.support import Heard, archive

Kind = Literal[
    "archived",
    "adopted",
    "gain",
    "eer",
    "footer eer",
    "eer gain",
    "foreign",
    "source",
    "settings",
    "list",
    "state",
]

# two strips per frame, the second one shorter; an odd width
SHAPE = (260, 37)
FRAMES = 4
EER_SHAPE = (24, 32)
EER_FRAMES = 6
EER_GROUPING = 2
EER_WIDTHS = Widths()
ARCHIVED = "movie.mrc.tif"
ADOPTED = "movie.tif"
GAIN = "gain-reference.mrc"
_TIME_NS = 1_700_000_000_123_456_789
# access time in the year 2100, which reads do not update
_READ_NS = 4_102_444_800_000_000_000


@dataclass(frozen=True)
class Specimen:
    """A folder with a file to damage, and other intact files.

    Attributes
    ----------
    file : str
        Name of the file to damage.
    shown : dict
        Content of a mount of the intact folder, by path in the mount.
    victim : str
        Path in the mount of the movie that is read from the file to damage.
    header_bytes, frame_bytes : int
        Size of the header and of each frame of the victim.
    """

    name: str
    kind: Kind
    folder: Path
    file: str
    shown: dict[str, bytes] = field(repr=False)
    victim: str = ""
    header_bytes: int = 0
    frame_bytes: int = 0

    @property
    def data(self) -> bytes:
        """Bytes of the intact file."""
        return (self.folder / self.file).read_bytes()


def make_specimens(folder: Path) -> list[Specimen]:
    """Create all specimens in a folder, with reproducible bytes."""
    found = [_archived(folder, *recipe) for recipe in _recipes()]
    found += [_gain(one) for one in found if one.name in ("huffman", "double")]
    found += [_eer(folder / "eer"), _single_eer(folder / "single-eer"), _footer_eer(folder / "footer-eer")]
    found += [_rendered(folder / "rendered"), _eer_gain(folder / "eer-gain"), _foreign(folder / "foreign")]
    found += [_adopted(folder / "adopted")]
    found += [_source(folder, name, data) for name, data in _sources().items()]
    found += [_settings(folder / "settings"), _state(folder / "state")]
    found += [_list(folder / f"list{suffix}", suffix, text) for suffix, text in _LISTS.items()]
    return found


def _counts(mean: float = 1.4, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).poisson(mean, (FRAMES, *SHAPE))


def _normalised(arithmetic: Any = "single", frames: int = FRAMES, seed: int = 0) -> NDArray[np.float32]:
    return np.stack(list(_detector(arithmetic).frames(frames, seed=seed)))


def _detector(arithmetic: Any = "single") -> Detector:
    return Detector.make(SHAPE, defects=12, arithmetic=arithmetic)


def _mrc(values: NDArray[Any], mode: int, *, order: str = "<", extended: bytes = b"", tail: bytes = b"") -> bytes:
    shape = (len(values), *SHAPE)
    if mode == 101:
        even = np.pad(values.astype(np.uint8), ((0, 0), (0, 0), (0, values.shape[2] % 2)))
        pixels = (even[:, :, 0::2] | even[:, :, 1::2] << 4).tobytes()
    else:
        pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]
    return header(shape, mode, byte_order=order, extended=extended, kind=b"FEI1" if extended else b"") + pixels + tail


def _recipes() -> list[tuple[str, bytes, Coding, bool]]:
    """Return archived movies of every codec and mode: name, original, coding, BigTIFF."""
    normalised = _normalised()
    odd = normalised.copy()
    odd[1, 3, :4] = [np.nan, -0.0, np.inf, -1]
    extended, tail = bytes(range(256)) * 4, b"trailing bytes" * 9
    small, wide = _counts().astype("i1"), _counts(300.0).astype("u2")
    sparse = _counts(0.04).astype("i1")
    return [
        ("huffman", _mrc(odd, 2, tail=tail), Coding("deflate"), False),
        ("lzw", _mrc(odd, 2, extended=extended, tail=tail), Coding("lzw"), False),
        ("none", _mrc(normalised, 2), Coding("none"), False),
        ("double", _mrc(_normalised("double"), 2), Coding("deflate", 6), False),
        ("float", _mrc(np.random.default_rng(3).normal(0, 1, (FRAMES, *SHAPE)).astype("f4"), 2), Coding(), False),
        ("sparse", _mrc(sparse, 0), Coding("lzw"), False),
        ("lines", _mrc(small, 0), Coding("deflate", None, True), False),
        ("wide", _mrc(wide, 6, order=">", extended=extended), Coding("lzw"), False),
        ("narrowed", _mrc(_with_large_values(), 1, tail=tail), Coding("deflate"), False),
        ("nibbles", _mrc(_counts(3.0).clip(0, 15), 101), Coding("deflate"), False),
        ("big", _mrc(odd, 2, tail=tail), Coding("lzw"), True),
    ]


def _with_large_values() -> NDArray[np.int16]:
    values = _counts().astype("i2")
    values[:, ::100, 5] = 1000
    return values


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(_READ_NS, _TIME_NS))
    return path


def _archived(folder: Path, name: str, original: bytes, coding: Coding, big: bool) -> Specimen:
    session = folder / f"{name}-session"
    _write(session / "movie.mrc", original)
    _write(session / "other.mrc", _mrc(_counts(seed=9).astype("i1"), 0))
    _write(session / "notes.txt", b"300 kV")
    target = folder / name
    with ExitStack() as patched:
        if big:
            patched.enter_context(mock.patch.object(writer, "CLASSIC_LIMIT", writer._CLASSIC_MARGIN))
        _summary, heard = archive(session, target, CompressOptions(coding=coding, jobs=1))
    _all_done(heard)
    shown = {f"/{path.name}": path.read_bytes() for path in session.iterdir()}
    with ArchivedMovie(target / ARCHIVED, GainLibrary()) as movie:
        layout = movie.layout
        if counts_bytes(movie.record):
            shown["/@counts/movie.mrc"] = whole(CountsMovie(movie))
    return Specimen(name, "archived", target, ARCHIVED, shown, "/movie.mrc", layout.header_bytes, layout.frame_bytes)


def whole(movie: Movie) -> bytes:
    """Return all bytes of the MRC file."""
    frames = [movie.mrc_frame(index).tobytes() for index in range(movie.layout.frames)]
    return movie.header + b"".join(frames) + movie.read_trailing(1 << 30, 0)


def _all_done(heard: Heard) -> None:
    if heard.errors:
        raise RuntimeError(f"a specimen could not be archived: {heard.errors}")


def _gain(archived: Specimen) -> Specimen:
    return Specimen(
        f"{archived.name}-gain",
        "gain",
        archived.folder,
        GAIN,
        archived.shown,
        archived.victim,
        archived.header_bytes,
        archived.frame_bytes,
    )


def _write_eer(path: Path, frames: int = EER_FRAMES, strips: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = list(random_frames(frames, EER_SHAPE, 0.05, EER_WIDTHS))
    write_eer(path, data, EER_SHAPE, EER_WIDTHS, xml=metadata(frames, 0.05 * frames, 0.8), strips=strips)


def _eer(folder: Path) -> Specimen:
    _write_eer(folder / "movie.eer")
    _write_eer(folder / "other.eer")
    return _shown_eer(folder, "eer")


def _single_eer(folder: Path) -> Specimen:
    """Create an EER file of two frames of one strip, so that a damaged directory affects half of the file."""
    _write_eer(folder / "movie.eer", EER_GROUPING, strips=1)
    _write_eer(folder / "other.eer")
    return _shown_eer(folder, "eer")


def _footer_eer(folder: Path) -> Specimen:
    """Create an EER file with the older container, with 4096 x 4096 pixels and no events."""
    side, run = 4096, 127
    full, last = divmod(side * side, run)
    bits = np.unpackbits(np.full(full + 1, run, np.uint8).reshape(-1, 1), axis=1, bitorder="little")[:, :7].copy()
    bits[-1] = np.unpackbits(np.array([last], np.uint8), bitorder="little")[:7]
    stream = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    stream += bytes(-len(stream) % 8)
    frame = stream + (len(stream) // 8).to_bytes(8, "little") + b"ThermoFisherECComprOK000"
    _write(folder / "movie.eer", frame * EER_GROUPING)
    _write_eer(folder / "other.eer")
    return _shown_eer(folder, "footer eer")


def _shown_eer(folder: Path, kind: Kind, rendering: Rendering | None = None) -> Specimen:
    _write(folder / "notes.txt", b"300 kV")
    shown = {f"/{path.name}": path.read_bytes() for path in folder.iterdir() if path.suffix != ".gain"}
    for name in ("movie", "other"):
        with EerMovie(folder / f"{name}.eer", rendering or Rendering(grouping=EER_GROUPING), EerGains()) as movie:
            shown[f"/{name}.mrc"] = whole(movie)
            layout = movie.layout
            if name == "movie":
                sizes = (layout.header_bytes, layout.frame_bytes)
    return Specimen(folder.name, kind, folder, "movie.eer", shown, "/movie.mrc", *sizes)


def _rendered(folder: Path) -> Specimen:
    """Create archived fractions of an EER movie."""
    session = folder.with_name("rendered-session")
    _write_eer(session / "movie.eer")
    options = CompressOptions(rendering=Rendering(grouping=EER_GROUPING), jobs=1)
    os.utime(session / "movie.eer", ns=(_READ_NS, _TIME_NS))
    _all_done(archive(session, folder, options)[1])
    _write(folder / "notes.txt", b"300 kV")
    with open_movie(folder / ARCHIVED) as movie:
        original, layout = whole(movie), movie.layout
    shown = {"/movie.mrc": original, "/notes.txt": b"300 kV"}
    return Specimen(
        "rendered", "archived", folder, ARCHIVED, shown, "/movie.mrc", layout.header_bytes, layout.frame_bytes
    )


def _eer_gain(folder: Path) -> Specimen:
    """Create a gain reference for EER movies that mounts apply."""
    _write_eer(folder / "movie.eer")
    _write_eer(folder / "other.eer")
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


def _foreign(folder: Path) -> Specimen:
    """Create a TIFF movie of another program, shown unchanged."""
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / ARCHIVED, _counts().astype("u1"), compression="lzw", photometric="minisblack")
    _write(folder / "notes.txt", b"300 kV")
    shown = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}
    return Specimen("foreign", "foreign", folder, ARCHIVED, shown, f"/{ARCHIVED}")


def _adopted(folder: Path) -> Specimen:
    """Create an adopted TIFF movie of another program."""
    path = serialem(folder / ADOPTED, _counts().astype("u1"))
    _write(folder / "notes.txt", b"300 kV")
    errors: list[Exception] = []
    adopt([path], 1, lambda _, error: errors.append(error) if error else None, lambda *_: None, lambda _: None)
    if errors:
        raise RuntimeError(f"a specimen could not be adopted: {errors}")
    with ArchivedMovie(path, GainLibrary()) as movie:
        shown, layout = {"/movie.mrc": whole(movie), "/notes.txt": b"300 kV"}, movie.layout
    return Specimen("adopted", "adopted", folder, ADOPTED, shown, "/movie.mrc", layout.header_bytes, layout.frame_bytes)


def _sources() -> dict[str, bytes]:
    return {
        "source": _mrc(_normalised(), 2, extended=bytes(128), tail=b"behind"),
        "source-big-endian": _mrc(_counts().astype("i2"), 1, order=">"),
        "source-nibbles": _mrc(_counts(3.0).clip(0, 15), 101),
    }


def _source(folder: Path, name: str, data: bytes) -> Specimen:
    _write(folder / name / "movie.mrc", data)
    other = _mrc(_normalised(seed=4), 2)
    _write(folder / name / "other.mrc", other)
    shown = {"/movie.mrc": data, "/other.mrc": other}
    return Specimen(name, "source", folder / name, "movie.mrc", shown, "/movie.mrc")


_SETTINGS = b"""# settings of this archive
cache_size = "64MiB"
jobs = 1
readahead = 1048576
eer_grouping = 2
eer_dtype = "int16"
eer_leftover = "keep"
"""

_LISTS = {
    ".star": b"""# version 30001

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
movie.mrc 1
'other.mrc' 2
""",
    ".lst": b"movie.mrc\nother.mrc\n",
}


def _settings(folder: Path) -> Specimen:
    _write_eer(folder / "other.eer")
    _write(folder / "cryofs.toml", _SETTINGS)
    return Specimen("settings", "settings", folder, "cryofs.toml", {"/cryofs.toml": _SETTINGS}, "/cryofs.toml")


def _list(folder: Path, suffix: str, text: bytes) -> Specimen:
    for name in ("movie.mrc", "other.mrc"):
        _write(folder / name, _mrc(_counts(seed=len(name)).astype("i1"), 0))
    _write(folder / f"movies{suffix}", text)
    return Specimen(folder.name, "list", folder, f"movies{suffix}", {})


def _state(folder: Path) -> Specimen:
    """Create the saved state of an estimate-gain run."""
    source = _write(folder / "movie.mrc", _mrc(_normalised(), 2))
    with MrcMovie(source) as movie:
        save(Estimation.for_movie(movie), folder)
    return Specimen("state", "state", folder, STATE_NAME, {})
