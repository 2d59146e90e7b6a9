"""Simulate EER files of real detectors from random numbers, and unusual EER files for tests.

`python -m benchmarks.simulate_eer FILE` writes a full-size Falcon 4 movie: 1,113 frames of 4096 x 4096 at 0.0182 e/px.
"""

import argparse
import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

FALCON_SHAPE = (4096, 4096)
FALCON_FRAMES = 1113
FALCON_MEAN = 0.0182

_SHORT, _LONG, _UNDEFINED, _LONG8 = 3, 4, 7, 16
_FORMATS = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}
# type and values of a TIFF tag
Tag = tuple[int, Sequence[int] | bytes]
_METADATA = """<metadata>
<item name="acquisitionID">simulated</item>
<item name="numberOfFrames">{frames}</item>
<item name="sensorPixelSize.height" unit="m">{pixel}</item>
<item name="sensorPixelSize.width" unit="m">{pixel}</item>
<item name="totalDose" unit="e/pixel">{dose}</item>
</metadata>"""


@dataclass(frozen=True)
class Widths:
    """Numbers of bits of the run length and of the two sub-pixel values, with the matching TIFF compression.

    Parameters
    ----------
    overflow : int or None
        Number of bits of a run length of all ones; None for the number that most programs expect for this compression.
    """

    run: int = 7
    x: int = 2
    y: int = 2
    compression: int = 65001
    overflow: int | None = None

    @property
    def long_bits(self) -> int:
        """Number of bits of a run length of all ones."""
        if self.overflow is not None:
            return self.overflow
        return self.run + (self.x + self.y if self.compression == 65000 else 0)


@dataclass(frozen=True)
class Events:
    """Events of a frame: ascending flat pixel indices, and sub-pixel values as stored."""

    pixels: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]


def random_events(rng: np.random.Generator, shape: tuple[int, int], mean: float, widths: Widths) -> Events:
    """Return random events of a beam of `mean` electrons per pixel, with at most one event per pixel."""
    total = shape[0] * shape[1]
    # gaps between events of a Bernoulli process are geometric
    expected = int(total * mean * 1.05) + 100
    pixels = np.cumsum(rng.geometric(1 - np.exp(-mean), expected)) - 1
    pixels = pixels[: np.searchsorted(pixels, total)]
    sub_pixels = rng.integers(0, 1 << (widths.x + widths.y), len(pixels))
    return Events(pixels, sub_pixels & ((1 << widths.x) - 1), sub_pixels >> widths.x)


def encode(events: Events, total: int, widths: Widths) -> bytes:
    """Return the event stream of a frame of `total` pixels, least significant bit first."""
    longest = (1 << widths.run) - 1
    gaps = np.diff(events.pixels, prepend=-1, append=total) - 1
    skips = gaps // longest
    # each event, and the end, is encoded as codes of the longest run, followed by one code of the remaining run
    last = np.cumsum(skips + 1) - 1
    values = np.full(last[-1] + 1, longest, np.uint64)
    sub_pixel = widths.x + widths.y
    bits = np.full(len(values), widths.long_bits)
    values[last] = gaps - skips * longest
    values[last[:-1]] |= (events.x | events.y << widths.x).astype(np.uint64) << np.uint64(widths.run)
    bits[last] = widths.run + sub_pixel
    bits[-1] = widths.run
    return _pack(values, bits)


def _pack(values: NDArray[np.uint64], bits: NDArray[np.int64]) -> bytes:
    ends = np.cumsum(bits)
    starts = ends - bits
    words = np.zeros(int(ends[-1]) // 64 + 2, np.uint64)
    shift = (starts & 63).astype(np.uint64)
    # bits of different codes do not overlap, so addition combines them
    np.add.at(words, starts >> 6, values << shift)
    np.add.at(words, (starts >> 6) + 1, (values >> np.uint64(1)) >> (np.uint64(63) - shift))
    # some readers require an even number of bytes
    return words.tobytes()[: (int(ends[-1]) + 15) // 16 * 2]


def random_frames(
    count: int, shape: tuple[int, int], mean: float, widths: Widths, seed: int = 0, threads: int = 4
) -> Iterator[bytes]:
    """Yield the event streams of random frames, encoded in parallel."""

    def frame(index: int) -> bytes:
        rng = np.random.default_rng((seed, index))
        return encode(random_events(rng, shape, mean, widths), shape[0] * shape[1], widths)

    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, count, 4 * threads):
            yield from pool.map(frame, range(first, min(first + 4 * threads, count)))


def metadata(frames: int, dose: float, pixel_size: float) -> bytes:
    """Return acquisition metadata as XML; `dose` is in e/pixel, `pixel_size` in angstrom."""
    return _METADATA.format(frames=frames, dose=dose, pixel=pixel_size * 1e-10).encode()


def write_eer(
    path: Path,
    frames: Iterable[bytes],
    shape: tuple[int, int],
    widths: Widths,
    *,
    xml: bytes = b"",
    strips: int = 1,
    summed_image: bool = False,
) -> None:
    """Write a BigTIFF with one image directory per frame.

    Parameters
    ----------
    xml : bytes
        Acquisition metadata, stored with the first frame.
    strips : int
        Number of strips per frame, divided at any byte.
    summed_image : bool
        Whether to start with a summed 16-bit image, as some files do.
    """
    special: dict[int, Tag] = {}
    if widths.compression == 65002:
        special = {65007: (_SHORT, [widths.run]), 65008: (_SHORT, [widths.x]), 65009: (_SHORT, [widths.y])}
    with BigTiff(path) as tiff:
        if summed_image:
            tiff.add(shape, 1, 16, [bytes(2 * shape[0] * shape[1])], {})
        for index, data in enumerate(frames):
            step = max(1, -(-len(data) // strips))
            pieces = [data[first : first + step] for first in range(0, max(len(data), 1), step)]
            first_only: dict[int, Tag] = {65001: (_UNDEFINED, xml)} if xml and index == 0 else {}
            tiff.add(shape, widths.compression, 8, pieces, special | first_only)


class BigTiff:
    """Writer of a BigTIFF file that, like libtiff, writes the strips of each image before its directory."""

    def __init__(self, path: Path):
        self._file = path.open("wb")
        self._file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        self._link = 8

    def add(
        self,
        shape: tuple[int, int],
        compression: int,
        bits: int,
        strips: Sequence[bytes],
        special: dict[int, Tag],
    ) -> None:
        """Append an image that consists of encoded strips."""
        offsets = []
        for strip in strips:
            offsets.append(self._file.tell())
            self._file.write(strip)
        rows = -(-shape[0] // len(strips))
        tags: dict[int, Tag] = {
            256: (_LONG, [shape[1]]),
            257: (_LONG, [shape[0]]),
            258: (_SHORT, [bits]),
            259: (_SHORT, [compression]),
            262: (_SHORT, [1]),
            273: (_LONG8, offsets),
            277: (_SHORT, [1]),
            278: (_LONG, [rows]),
            279: (_LONG8, [len(strip) for strip in strips]),
        }
        entries = [self._entry(tag, *value) for tag, value in sorted((tags | special).items())]
        self._file.write(bytes(-self._file.tell() % 8))
        here = self._file.tell()
        self._file.seek(self._link)
        self._file.write(struct.pack("<Q", here))
        self._file.seek(here)
        self._file.write(struct.pack("<Q", len(entries)) + b"".join(entries) + bytes(8))
        self._link = self._file.tell() - 8

    def _entry(self, tag: int, kind: int, values: Sequence[int] | bytes) -> bytes:
        data = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)
        if len(data) > 8:
            place = self._file.tell()
            self._file.write(data)
            data = struct.pack("<Q", place)
        return struct.pack("<HHQ", tag, kind, len(values)) + data.ljust(8, b"\0")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def main() -> None:
    """Write a movie of the size and dose of the Falcon 4."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--frames", type=int, default=FALCON_FRAMES)
    arguments = parser.parse_args()
    write_falcon(arguments.file, arguments.frames)


def write_falcon(path: Path, frames: int = FALCON_FRAMES, seed: int = 0) -> None:
    """Write a full-size movie like those of a Falcon 4."""
    widths = Widths()
    encoded = random_frames(frames, FALCON_SHAPE, FALCON_MEAN, widths, seed)
    write_eer(path, encoded, FALCON_SHAPE, widths, xml=metadata(frames, FALCON_MEAN * frames, 0.727))


if __name__ == "__main__":
    main()
