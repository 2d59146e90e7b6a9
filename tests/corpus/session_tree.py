"""The session shared by all tests of whole trees: one small folder with every kind of entry that sessions contain.

Tests archive it, mount it, copy it and compare it. Add each kind of entry that ever caused an error.
"""

import os
import struct
from pathlib import Path

import numpy as np

from benchmarks.simulate import Detector, header, write_counts, write_movie
from benchmarks.simulate_eer import Widths, metadata, random_frames, write_eer
from benchmarks.simulate_scaled import ScaledDetector
from tests.foreign import LAYOUTS, counts, serialem, write_layout
from tests.formats.packed_samples import WAYS

SHAPE = (128, 96)
DETECTOR = Detector.make(SHAPE, defects=6)
EER_SHAPE = (64, 48)
# Default number of frames per fraction.
DEFAULT_GROUPING = 40
WIDTHS = Widths()
PACKED = {
    "bzip2.mrc.bz2": "bzip2",
    "several.mrcs.bz2": "bzip2 with empty streams",
    "gzip.mrc.gz": "gzip",
    "CAPITALS.MRC.GZ": "gzip on tape",
    "xz.mrc.xz": "xz",
    "zstd.mrc.zst": "zstd",
    "piped.mrc.zst": "zstd from a pipe",
}
TIME_NS = 1_600_000_000_123_456_789


def make_session(folder: Path) -> Path:
    """Create an original session in `folder`, and the targets of its outward links in `FOLDER-outside`.

    The links are relative, so both folders can be moved together. Neither may exist.

    Returns
    -------
    Path
        `folder`.
    """
    outside = folder.with_name(folder.name + "-outside")
    for place in (folder, outside):
        place.mkdir(parents=True)
    _add_movies(folder)
    _add_eer_files(folder / "eer")
    _add_tiff_files(folder / "tiff")
    _add_packed_movies(folder / "packed")
    _add_files_that_are_not_movies(folder / "broken")
    _add_plain_files(folder)
    _add_hard_links(folder)
    _add_outside(outside)
    _add_links(folder, outside.name)
    _set_times(folder)
    return folder


def _add_movies(folder: Path) -> None:
    (folder / "Movies" / "grid 1").mkdir(parents=True)
    for number in range(3):
        write_movie(folder / "Movies" / f"gain-{number}.mrc", DETECTOR, 16, seed=number)
    write_movie(folder / "Movies" / "extended.mrcs", DETECTOR, 16, seed=3, extended=bytes(range(256)) * 4, kind=b"FEI1")
    with (folder / "Movies" / "extended.mrcs").open("ab") as file:
        file.write(b"bytes after the last frame")
    ScaledDetector(DETECTOR, dtype="u2").write(folder / "Movies" / "scaled.mrc", 16, seed=8)
    write_counts(folder / "Movies" / "unsigned.mrc", 5, SHAPE, seed=9)
    with (folder / "Movies" / "unsigned.mrc").open("r+b") as file:
        # IMOD's stamp, and no flag of signed bytes
        file.seek(152)
        file.write(struct.pack("<2i", 1146047817, 0))
    for number in range(2):
        write_counts(folder / "Movies" / "grid 1" / f"counts-{number}.mrc", 5, SHAPE, seed=10 + number)


def _add_eer_files(folder: Path) -> None:
    folder.mkdir()
    _write_eer(folder / "long.eer", 2 * DEFAULT_GROUPING + 3, seed=1)
    _write_eer(folder / "whole.mrc.eer", DEFAULT_GROUPING, seed=2)
    _write_eer(folder / "short.eer", 7, seed=3)
    _write_eer(folder / "single.eer", 1, seed=4)
    _write_eer(folder / "CAPITALS.EER", DEFAULT_GROUPING, seed=5)
    _write_eer(folder / "counted.ecc", DEFAULT_GROUPING, seed=6)


def _write_eer(path: Path, frames: int, seed: int) -> None:
    xml = metadata(frames, 0.05 * frames, 0.7)
    write_eer(path, random_frames(frames, EER_SHAPE, 0.05, WIDTHS, seed, threads=1), EER_SHAPE, WIDTHS, xml=xml)


def _add_tiff_files(folder: Path) -> None:
    serialem(folder / "serialem.tif", counts(seed=5))
    serialem(folder / "another.tiff", counts(seed=6))
    serialem(folder / "image.tif", counts(seed=7)[:1])
    serialem(folder / "CAPITALS.TIF", counts(seed=9))
    for layout in LAYOUTS:
        write_layout(folder / f"{layout}.tif", layout, counts((4, 40, 56), seed=8))


def _add_packed_movies(folder: Path) -> None:
    folder.mkdir()
    for number, (name, way) in enumerate(PACKED.items()):
        plain = folder / "plain"
        write_counts(plain, 4, (40, 48), seed=50 + number)
        (folder / name).write_bytes(WAYS[way][1](plain.read_bytes() + b"bytes after the last frame"))
        plain.unlink()
    # not a movie, but shown unpacked as any other
    (folder / "text.mrc.gz").write_bytes(WAYS["gzip"][1](b"not a movie\n" * 200))


def _add_files_that_are_not_movies(folder: Path) -> None:
    """Add files with the suffix of a movie that are damaged, have an unsupported mode, or another format."""
    folder.mkdir()
    (folder / "text.mrc").write_text("not a movie\n" * 200)
    (folder / "short-text.mrcs").write_text("not a movie\n")
    (folder / "empty.mrc").write_bytes(b"")
    whole = header((5, *SHAPE), 1) + np.arange(5 * SHAPE[0] * SHAPE[1], dtype="<i2").tobytes()
    (folder / "truncated.mrc").write_bytes(whole[: len(whole) // 2])
    (folder / "header-only.mrc").write_bytes(whole[:1024])
    (folder / "extended-header-missing.mrc").write_bytes(header((5, *SHAPE), 1, extended=bytes(4096))[:2048])
    for mode, bytes_per_pixel in ((3, 4), (4, 8), (16, 3)):
        values = np.random.default_rng(mode).bytes(2 * 24 * 32 * bytes_per_pixel)
        (folder / f"mode-{mode}.mrc").write_bytes(header((2, 24, 32), mode) + values)
    (folder / "text.tif").write_text("not an image\n" * 20)
    (folder / "text.eer").write_text("not an EER file\n" * 20)


def _add_plain_files(folder: Path) -> None:
    (folder / "notes.txt").write_text("300 kV\n")
    for name in ("CAPITALS.MRC", "stack.st", "map.map", "volume.rec"):
        write_counts(folder / name, 3, (24, 32), seed=len(name))
    (folder / "notes.txt").chmod(0o640)
    (folder / "empty").write_bytes(b"")
    (folder / "empty folder" / "below").mkdir(parents=True)
    for name in (".DS_Store", ".hidden", "Movies/._gain-0.mrc", "eer/._long.eer", "tiff/._serialem.tif", "Thumbs.db"):
        (folder / name).write_bytes(b"\0\5\x16\7" + name.encode())
    (folder / ".folder").mkdir()
    write_counts(folder / ".folder" / "counts.mrc", 3, (24, 32), seed=20)
    odd = folder / "odd names"
    odd.mkdir()
    for stem in (b"two\nlines", b"not UTF-8 \xe9\xff", "ümläut 微".encode()):
        _named(odd, stem + b".txt").write_bytes(b"content of " + stem)
        write_counts(_named(odd, stem + b".mrc"), 3, (24, 32), seed=len(stem))
    for other in (b"-dash", b"\\back \"quote'", b" "):
        _named(odd, other).write_bytes(b"content of " + other)


def _named(folder: Path, name: bytes) -> Path:
    return folder / os.fsdecode(name)


def _add_hard_links(folder: Path) -> None:
    """Hard-link files within and across folders, including movies, which an archive stores in another form."""
    links = folder / "hard links"
    links.mkdir()
    (links / "one.txt").write_text("three names\n")
    for name, target in (
        ("two.txt", links / "one.txt"),
        ("movie.mrc", folder / "Movies" / "gain-0.mrc"),
        ("counts.mrc", folder / "Movies" / "grid 1" / "counts-0.mrc"),
        ("long.eer", folder / "eer" / "long.eer"),
        ("serialem.tif", folder / "tiff" / "serialem.tif"),
        ("xz.mrc.xz", folder / "packed" / "xz.mrc.xz"),
    ):
        os.link(target, links / name)
    os.link(links / "one.txt", folder / "three.txt")


def _add_outside(outside: Path) -> None:
    (outside / "raw").mkdir()
    write_counts(outside / "raw" / "counts.mrc", 4, SHAPE, seed=30)
    _write_eer(outside / "raw" / "outside.eer", 5, seed=31)
    (outside / "file.txt").write_text("outside the session\n")


def _add_links(folder: Path, outside: str) -> None:
    links = folder / "links"
    links.mkdir()
    for name, target in {
        "notes": "../notes.txt",
        "movie.mrc": "../Movies/gain-1.mrc",
        "chain": "notes",
        "folder": "../Movies/grid 1",
        "dangling.mrc": "nowhere.mrc",
        "dangling.eer": "../nowhere/x.eer",
        "loop.eer": "loop.eer",
        "long.eer": "../eer/long.eer",
        "chain.eer": "long.eer",
        "whole.mrc.eer": "folder/../../eer/whole.mrc.eer",
        "serialem.tif": "../tiff/serialem.tif",
        "gzip.mrc.gz": "../packed/gzip.mrc.gz",
        "outside file": f"../../{outside}/file.txt",
        "outside folder": f"../../{outside}/raw",
        "outside.mrc": f"../../{outside}/raw/counts.mrc",
        "outside.eer": f"../../{outside}/raw/outside.eer",
        "root": "..",
    }.items():
        (links / name).symlink_to(target)


def _set_times(folder: Path) -> None:
    """Set distinct times with nanoseconds, children before their folders."""
    for number, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
        time = TIME_NS + number * 1_000_000_007
        os.utime(path, ns=(time, time), follow_symlinks=False)


__all__ = ["DETECTOR", "EER_SHAPE", "SHAPE", "make_session"]
