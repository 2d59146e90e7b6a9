"""EER movies, shown as MRC movies of fractions that are rendered when they are read.

Threads: an `EerMovie` may be read by several threads; `Findings` may be shared by several openings of one file, and its
lock guards its tables.
"""

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import FormatError
from cryofs.formats import eer, mrc
from cryofs.formats.eer import EerIndex
from cryofs.formats.mrc import MrcHeader
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.movie import Layout, Movie
from cryofs.version import VERSION

MODES = {"int8": 0, "int16": 1, "float32": 2, "uint16": 6}
_ANGSTROM_PER_M = 1e10
# what a microscope can have; other values are mistakes of units
_PIXEL_SIZES = (0.01, 1000.0)

log = logging.getLogger("cryofs")


@dataclass(frozen=True)
class Rendering:
    """How EER frames become fractions.

    Attributes
    ----------
    grouping : int
        Frames in a fraction.
    dose_per_fraction : float or None
        Where given, the grouping follows from it, in electrons per square angstrom.
    upsampling : int
        Pixels of the image a pixel of the detector: 1, 2 or 4.
    dtype : str
        Pixel type: int8, int16, uint16 or float32.
    keep_leftover : bool
        Whether frames that fill no fraction make a last, shorter one.
    gain : Path or None
        Gain reference of the detector.
    apply_gain : bool
        Whether fractions are multiplied with it, which makes them float32.
    """

    grouping: int = 40
    dose_per_fraction: float | None = None
    upsampling: int = 1
    dtype: str = "int16"
    keep_leftover: bool = False
    gain: Path | None = None
    apply_gain: bool = False

    @property
    def mode(self) -> int:
        """MODE of the MRC file."""
        return MODES["float32" if self.apply_gain else self.dtype]


@dataclass(frozen=True)
class EerFacts:
    """What an EER file says of itself.

    Attributes
    ----------
    frames, ny, nx : int
        Frames as the camera took them, rows, columns.
    pixel_size : float or None
        Angstrom a pixel of the detector.
    total_dose : float or None
        Electrons a pixel of the detector, by the acquisition program.
    sub_pixel_bits : int
        Bits that tell where in its pixel an event lies, along each axis.
    """

    frames: int
    ny: int
    nx: int
    pixel_size: float | None
    total_dose: float | None
    sub_pixel_bits: int

    @property
    def frame_dose(self) -> float | None:
        """Electrons per square angstrom in a frame."""
        if self.pixel_size is None or self.total_dose is None:
            return None
        return self.total_dose / self.frames / self.pixel_size**2

    def grouping(self, rendering: Rendering, name: str) -> int:
        """Frames in a fraction.

        Raises
        ------
        FormatError
            It should follow from the dose, which the file does not tell.
        """
        if rendering.dose_per_fraction is None:
            return rendering.grouping
        if self.frame_dose is None:
            missing = "pixel size" if self.pixel_size is None else "dose"
            raise FormatError(f"{name}: its metadata do not tell the {missing}; use --eer-grouping for this file")
        return max(1, round(rendering.dose_per_fraction / self.frame_dose))

    def fractions(self, rendering: Rendering, name: str) -> list[range]:
        """Frames of each fraction.

        Raises
        ------
        FormatError
            There are too few frames for one fraction.
        """
        step = self.grouping(rendering, name)
        end = self.frames if rendering.keep_leftover else self.frames // step * step
        fractions = [range(first, min(first + step, end)) for first in range(0, end, step)]
        if not fractions:
            raise FormatError(f"{name}: {self.frames} frames are fewer than a fraction of {step}; group fewer frames")
        return fractions


def facts_of(index: EerIndex) -> EerFacts:
    """What the index of a file tells."""
    pixel_size = _number(index, "sensorPixelSize.width")
    if pixel_size is not None:
        pixel_size *= _ANGSTROM_PER_M
        if not _PIXEL_SIZES[0] <= pixel_size <= _PIXEL_SIZES[1]:
            pixel_size = None
    sub_pixel_bits = min(index.code.x_bits, index.code.y_bits)
    return EerFacts(index.frames, index.ny, index.nx, pixel_size, _number(index, "totalDose"), sub_pixel_bits)


def fraction_header(facts: EerFacts, rendering: Rendering, name: str) -> MrcHeader:
    """Header of the MRC file that an EER file is shown as.

    Raises
    ------
    FormatError
        See `EerFacts.fractions`; or events are not located finely enough for this upsampling.
    """
    if facts.sub_pixel_bits < rendering.upsampling.bit_length() - 1:
        needed = f"too few sub-pixel bits for upsampling {rendering.upsampling}; take a lower one"
        raise FormatError(f"{name}: events have {facts.sub_pixel_bits}, {needed}")
    shape = (len(facts.fractions(rendering, name)), facts.ny * rendering.upsampling, facts.nx * rendering.upsampling)
    pixel_size = facts.pixel_size / rendering.upsampling if facts.pixel_size else None
    label = f"EER, {facts.grouping(rendering, name)} frames a fraction; rendered by cryofs {VERSION}"
    raw = mrc.new_header(shape, rendering.mode, pixel_size, label)
    return MrcHeader(raw, "<", shape[2], shape[1], shape[0], rendering.mode)


def gain_header(facts: EerFacts, rendering: Rendering) -> MrcHeader:
    """Header of the MRC file that the gain reference of such fractions is shown as."""
    ny, nx = facts.ny * rendering.upsampling, facts.nx * rendering.upsampling
    raw = mrc.new_header((1, ny, nx), 2, None, f"gain reference, multiply with the counts; cryofs {VERSION}")
    return MrcHeader(raw, "<", nx, ny, 1, 2)


class Findings:
    """What was found wrong with an EER file while it was rendered; each thing is logged once.

    Parameters
    ----------
    name : str
        How messages call the file.
    """

    def __init__(self, name: str):
        self._name = name
        self._lock = threading.Lock()
        self._damaged: set[int] = set()
        self._saturated: dict[tuple[object, ...], int] = {}

    @property
    def damaged_frames(self) -> list[int]:
        """Frames that were left out."""
        with self._lock:
            return sorted(self._damaged)

    @property
    def saturated_values(self) -> int:
        """Values that were larger than their type and became its largest one."""
        with self._lock:
            return sum(self._saturated.values())

    def add_damaged(self, frames: list[int]) -> None:
        """Frames were left out."""
        with self._lock:
            new = sorted(set(frames) - self._damaged)
            self._damaged.update(new)
        if new:
            numbers = ", ".join(map(str, new))
            log.warning("%s, frame %s: damaged, left out of the fraction; copy the file again", self._name, numbers)

    def add_saturated(self, fraction: tuple[object, ...], dtype: str, count: int) -> None:
        """Values of a fraction were too large for the type."""
        with self._lock:
            new = fraction not in self._saturated
            self._saturated[fraction] = count
        if new:
            log.warning("%s: %d values exceed %s and were cut; choose a wider type", self._name, count, dtype)


class EerMovie(Movie):
    """An EER file as an MRC movie of fractions.

    Parameters
    ----------
    path : Path
        The EER file.
    index : EerIndex or None
        Its index, where it is known already.
    descriptor : int or None
        The file, opened already; the movie closes it.
    name : str or None
        How messages call it, if not by its path.

    Raises
    ------
    FormatError
        No readable EER file, or it cannot be rendered as wanted.
    """

    def __init__(
        self,
        path: Path,
        rendering: Rendering,
        gains: EerGains,
        index: EerIndex | None = None,
        descriptor: int | None = None,
        name: str | None = None,
        findings: Findings | None = None,
    ):
        self.name = name or str(path)
        self.rendering = rendering
        self.findings = findings or Findings(self.name)
        self._gains = gains
        self._gain: NDArray[np.float32] | None = None
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if descriptor is None else descriptor
        try:
            self.stat = os.fstat(self.descriptor)
            self.index = index or eer.read_index(self.descriptor, self.stat.st_size, self.name)
            facts = facts_of(self.index)
            self.fractions = facts.fractions(rendering, self.name)
            self._header = fraction_header(facts, rendering, self.name)
        except BaseException:
            os.close(self.descriptor)
            raise
        self.findings.add_damaged(np.flatnonzero(~self.index.intact).tolist())
        header = self._header
        self.layout = Layout(len(header.raw), header.nz, header.frame_bytes, header.data_end)

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    @property
    def kept_bytes(self) -> int:
        """Counts are kept in a narrower type than readers see."""
        _, ny, nx = self.shape
        return ny * nx * np.min_scalar_type(len(self.fractions[0])).itemsize

    def kept_frame(self, index: int) -> NDArray[Any]:
        """Counts of a fraction, shape (ny * nx,), in an unsigned type that holds them."""
        frames = [frame for frame in self.fractions[index] if self.index.intact[frame]]
        streams = eer.read_streams(self.descriptor, self.index, frames, self.name)
        # compiled code takes a third of a second to load, which only those who render should wait for
        from cryofs.detector import events

        code = self.index.code
        added = events.add_up(
            streams.words,
            streams.starts,
            streams.ends,
            (self.index.ny, self.index.nx),
            (code.run_bits, code.x_bits, code.y_bits, code.long_bits),
            self.rendering.upsampling,
        )
        whole = {frame for frame, count in zip(frames, added.events.tolist(), strict=True) if count >= 0}
        self.findings.add_damaged([frame for frame in self.fractions[index] if frame not in whole])
        self._saturate(added.image, index)
        return added.image.reshape(-1)

    def piece(self, kept: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Bytes of a fraction as the MRC file has them."""
        item = self.dtype.itemsize
        first, end = start // item, -(-(start + size) // item)
        values = kept[first:end].astype(self.dtype)
        if self.rendering.apply_gain:
            values *= self._loaded_gain()[first:end]
        return values.view(np.uint8)[start - first * item :][:size]

    def raw_frame(self, index: int) -> NDArray[np.uint8]:
        """Bytes of a fraction."""
        return self.piece(self.kept_frame(index), 0, self.layout.frame_bytes)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Nothing follows the fractions."""
        return b""

    def close(self) -> None:
        """Release the file."""
        os.close(self.descriptor)

    def _saturate(self, image: NDArray[Any], index: int) -> None:
        """Cut counts that the pixel type cannot hold."""
        if self.dtype.kind == "f" or len(self.fractions[index]) <= (largest := np.iinfo(self.dtype).max):
            return
        over = image > largest
        if count := int(np.count_nonzero(over)):
            image[over] = largest
            self.findings.add_saturated((self.rendering, index), self.dtype.name, count)

    def _loaded_gain(self) -> NDArray[np.float32]:
        if self._gain is None:
            if self.rendering.gain is None:
                raise FormatError(f"{self.name}: no gain reference to apply; give one by --eer-gain")
            self._gain = self._gains.get(self.rendering.gain, self.shape[1:]).reshape(-1)
        return self._gain


def _number(index: EerIndex, name: str) -> float | None:
    """A positive number of the metadata."""
    try:
        value = float(index.metadata[name])
    except (KeyError, ValueError):
        return None
    return value if np.isfinite(value) and value > 0 else None
