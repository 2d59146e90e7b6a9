"""Small intact files of every kind, each with its expected content; tests damage copies of them."""

import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks.simulate import Detector, header
from benchmarks.simulate_scaled import ScaledDetector
from cryofs.compress import writer
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from cryofs.gain.estimation import Estimation
from cryofs.gain.estimation_state import STATE_NAME, save
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.archived_counts import CountsMovie
from cryofs.movies.archived_metadata import counts_bytes
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.mrc import MrcMovie
from tests.corpus.eer_specimens import (
    OVERFLOW_WIDTHS,
    eer,
    eer_gain,
    footer_eer,
    overflow_eer,
    rendered,
    single_eer,
    write_eer_movie,
)
from tests.corpus.specimen import ADOPTED, ARCHIVED, GAIN, Specimen, all_done, whole, write
from tests.corpus.unpacked_specimens import PACKED_WAYS, normalised, packed
from tests.foreign import LAYOUTS, serialem, write_layout
from tests.outcomes import adopted
from tests.support import archive

# two strips per frame, the second one shorter; an odd width
SHAPE = (260, 37)
FRAMES = 4


def make_specimens(folder: Path) -> list[Specimen]:
    """Create all specimens in a folder, with reproducible bytes."""
    found = [_archived(folder, *recipe) for recipe in _recipes()]
    found += [_gain(one) for one in found if one.name in ("huffman", "double")]
    found += [_scaled(folder)]
    found += [eer(folder / "eer"), single_eer(folder / "single-eer"), footer_eer(folder / "footer-eer")]
    found += [overflow_eer(folder / name) for name in OVERFLOW_WIDTHS]
    found += [rendered(folder / "rendered"), eer_gain(folder / "eer-gain"), _foreign(folder / "foreign")]
    found += [_layout(folder / f"foreign-{layout}", layout) for layout in LAYOUTS]
    found += [_adopted(folder / "adopted"), *normalised(folder / "normalised")]
    found += [packed(folder / f"packed-{name}", way) for name, way in PACKED_WAYS.items()]
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
        ("imod", _unsigned(_counts(150.0).astype("u1")), Coding("deflate"), False),
        ("lines", _mrc(small, 0), Coding("deflate", None, True), False),
        ("wide", _mrc(wide, 6, order=">", extended=extended), Coding("lzw"), False),
        ("narrowed", _mrc(_with_large_values(), 1, tail=tail), Coding("deflate"), False),
        ("nibbles", _mrc(_counts(3.0).clip(0, 15), 101), Coding("deflate"), False),
        ("big", _mrc(odd, 2, tail=tail), Coding("lzw"), True),
    ]


def _unsigned(values: NDArray[np.uint8]) -> bytes:
    """Return a movie of mode 0 that IMOD marked as unsigned: its stamp, and no flag of signed bytes."""
    data = bytearray(_mrc(values, 0))
    struct.pack_into("<2i", data, 152, 1146047817, 0)
    return bytes(data)


def _with_large_values() -> NDArray[np.int16]:
    values = _counts().astype("i2")
    values[:, ::100, 5] = 1000
    return values


def _scaled(folder: Path) -> Specimen:
    """Create an archived movie of scaled integers, of which there are too few frames to estimate a gain."""
    gain = write(folder / "scaled-gain.mrc", header((1, *SHAPE), 2) + _detector().gain.tobytes())
    values = np.stack([values for values, _ in ScaledDetector(_detector(), 32.7).frames(FRAMES)])
    values[1, 3, :2] = [-7, 32767]
    return _archived(folder, "scaled", _mrc(values, 1, tail=b"tail"), Coding("deflate"), False, gain)


def _archived(
    folder: Path, name: str, original: bytes, coding: Coding, big: bool, gain: Path | Literal["auto"] = "auto"
) -> Specimen:
    session = folder / f"{name}-session"
    write(session / "movie.mrc", original)
    write(session / "other.mrc", _mrc(_counts(seed=9).astype("i1"), 0))
    write(session / "notes.txt", b"300 kV")
    target = folder / name
    with ExitStack() as patched:
        if big:
            patched.enter_context(mock.patch.object(writer, "CLASSIC_LIMIT", writer._CLASSIC_MARGIN))
        _summary, reported = archive(session, target, CompressOptions(gain=gain, coding=coding, jobs=1))
    all_done(reported)
    shown = {f"/{path.name}": path.read_bytes() for path in session.iterdir()}
    with ArchivedMovie(target / ARCHIVED, GainLibrary()) as movie:
        layout = movie.layout
        if counts_bytes(movie.record):
            shown["/@counts/movie.mrc"] = whole(CountsMovie(movie))
    return Specimen(name, "archived", target, ARCHIVED, shown, "/movie.mrc", layout.header_bytes, layout.frame_bytes)


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


def _foreign(folder: Path) -> Specimen:
    """Create a TIFF movie of another program, shown unchanged."""
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / ARCHIVED, _counts().astype("u1"), compression="lzw", photometric="minisblack")
    write(folder / "notes.txt", b"300 kV")
    shown = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}
    return Specimen("foreign", "foreign", folder, ARCHIVED, shown, f"/{ARCHIVED}")


def _layout(folder: Path, layout: str) -> Specimen:
    """Create a TIFF movie of another program in a layout of its own."""
    folder.mkdir(parents=True)
    write_layout(folder / ADOPTED, layout, _counts(3.0).astype("u1"))
    write(folder / "notes.txt", b"300 kV")
    shown = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}
    return Specimen(folder.name, "foreign", folder, ADOPTED, shown, f"/{ADOPTED}")


def _adopted(folder: Path) -> Specimen:
    """Create an adopted TIFF movie of another program."""
    path = serialem(folder / ADOPTED, _counts().astype("u1"))
    write(folder / "notes.txt", b"300 kV")
    _, errors = adopted(path)
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
    write(folder / name / "movie.mrc", data)
    other = _mrc(_normalised(seed=4), 2)
    write(folder / name / "other.mrc", other)
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
    write_eer_movie(folder / "other.eer")
    write(folder / "cryofs.toml", _SETTINGS)
    return Specimen("settings", "settings", folder, "cryofs.toml", {"/cryofs.toml": _SETTINGS}, "/cryofs.toml")


def _list(folder: Path, suffix: str, text: bytes) -> Specimen:
    for name in ("movie.mrc", "other.mrc"):
        write(folder / name, _mrc(_counts(seed=len(name)).astype("i1"), 0))
    write(folder / f"movies{suffix}", text)
    return Specimen(folder.name, "list", folder, f"movies{suffix}", {})


def _state(folder: Path) -> Specimen:
    """Create the saved state of an estimate-gain run."""
    source = write(folder / "movie.mrc", _mrc(_normalised(), 2))
    with MrcMovie(source) as movie:
        save(Estimation.for_movie(movie), folder)
    return Specimen("state", "state", folder, STATE_NAME, {})
