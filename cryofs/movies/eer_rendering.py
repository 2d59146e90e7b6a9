"""Rendering of EER frames to fractions: options, metadata of a file, and MRC headers of the results."""

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from cryofs.config.choices import EerGainConvention, EerLeftover, crop_problem
from cryofs.config.settings import Settings
from cryofs.errors import FormatError, UsageError
from cryofs.formats import mrc
from cryofs.formats.eer import EerIndex
from cryofs.formats.mrc import MrcHeader
from cryofs.movies.eer_gain_use import convention_of
from cryofs.version import VERSION

_MODES = {"int8": 0, "int16": 1, "float32": 2, "uint16": 6}
_ANGSTROM_PER_M = 1e10
# plausible pixel sizes in angstrom; values outside come from wrong units
_PIXEL_SIZES = (0.01, 1000.0)
_NUMBERS = (1e-15, 1e9)
_LARGEST_INT16 = 32767


@dataclass(frozen=True)
class Rendering:
    """Options for rendering EER frames to fractions.

    Attributes
    ----------
    grouping : int
        Number of frames in a fraction. A file with fewer frames is one fraction.
    dose_per_fraction : float or None
        Electrons per square angstrom in a fraction; overrides `grouping`.
    dose : float or None
        Electrons per square angstrom in a whole movie; overrides the metadata.
    pixel_size : float or None
        Angstrom per detector pixel; overrides the metadata.
    upsampling : int
        Image pixels along each side of a detector pixel: 1, 2 or 4.
    dtype : str or None
        Pixel type: int8, int16, uint16 or float32; None for int16, or float32 if fractions are cropped.
    leftover : str
        Use of the frames that do not fill a fraction: ``"drop"`` them, ``"keep"`` them as a last, shorter fraction, or
        ``"spread"`` them over the last fractions, as MotionCor does.
    gain : Path or None
        Gain reference of the detector.
    gain_convention : str or None
        Whether counts are multiplied with its values or divided by them; None to infer it from the file name.
    apply_gain : bool
        Whether to multiply fractions with the gain, which makes them float32.
    crop : int or None
        Image pixels along each side of a detector pixel after cropping in Fourier space, fewer than `upsampling`. The
        gain reference is applied before.

    Raises
    ------
    UsageError
        The value of `crop` is not valid for the upsampling or the pixel type.
    """

    grouping: int = 40
    dose_per_fraction: float | None = None
    dose: float | None = None
    pixel_size: float | None = None
    upsampling: int = 1
    dtype: str | None = None
    leftover: EerLeftover = "drop"
    gain: Path | None = None
    gain_convention: EerGainConvention | None = None
    apply_gain: bool = False
    crop: int | None = None

    def __post_init__(self) -> None:
        if problem := crop_problem(self.upsampling, self.crop, self.dtype):
            raise UsageError(problem)

    @property
    def default_dtype(self) -> str:
        """Pixel type if the user chooses none."""
        return "float32" if self.crop else "int16"

    @property
    def mode(self) -> int:
        """MRC mode of the fractions."""
        return _MODES["float32" if self.apply_gain else self.dtype or self.default_dtype]

    @property
    def shown_upsampling(self) -> int:
        """Image pixels along each side of a detector pixel in the fractions."""
        return self.crop or self.upsampling

    @property
    def unusual_convention(self) -> EerGainConvention | None:
        """Convention of the gain reference if it is not the one that the file name implies, otherwise None."""
        is_usual = self.gain is None or self.gain_convention == convention_of(self.gain)
        return None if is_usual else self.gain_convention

    @property
    def multiplies_gain(self) -> bool:
        """True if the pixels of the fractions are multiplied with the gain reference."""
        return self.gain is not None and (self.apply_gain or self.crop is not None)


@dataclass(frozen=True)
class EerFacts:
    """Metadata of an EER file.

    Attributes
    ----------
    frames, ny, nx : int
        Number of camera frames, rows, columns.
    pixel_size : float or None
        Angstrom per detector pixel.
    total_dose : float or None
        Electrons per pixel of the detector, as the acquisition program recorded it.
    sub_pixel_bits : int
        Bits along each axis for the position of an event within its pixel.
    counted : float or None
        Electrons per pixel in a frame, counted if the grouping depends on a dose that the metadata lack.
    """

    frames: int
    ny: int
    nx: int
    pixel_size: float | None
    total_dose: float | None
    sub_pixel_bits: int
    counted: float | None = None

    def frame_dose(self, rendering: Rendering) -> tuple[float, str] | None:
        """Return the electrons per square angstrom in a frame and their source (given, metadata, counted), or None."""
        pixel_size = rendering.pixel_size or self.pixel_size
        if rendering.dose is not None:
            return rendering.dose / self.frames, "given"
        if pixel_size is not None and self.total_dose is not None:
            return self.total_dose / self.frames / pixel_size**2, "metadata"
        if pixel_size is not None and self.counted:
            # slightly low, because coincident electrons count as one
            return self.counted / pixel_size**2, "counted"
        return None

    def grouping(self, rendering: Rendering, name: str) -> int:
        """Return the number of frames in a fraction; a file with fewer frames is one fraction.

        Raises
        ------
        FormatError
            The grouping depends on the dose, which is unknown.
        """
        return min(self._wanted_grouping(rendering, name), self.frames)

    def _wanted_grouping(self, rendering: Rendering, name: str) -> int:
        if rendering.dose_per_fraction is None:
            return rendering.grouping
        if (found := self.frame_dose(rendering)) is None:
            if (rendering.pixel_size or self.pixel_size) is None:
                raise FormatError(f"{name}: no pixel size in the metadata; pass --eer-pixel-size or --eer-grouping")
            raise FormatError(f"{name}: unknown dose (no electrons counted); pass --eer-dose or --eer-grouping")
        return max(1, round(rendering.dose_per_fraction / found[0]))

    def fraction_count(self, rendering: Rendering, name: str) -> int:
        """Return the number of fractions, at least one; raise the errors of `grouping`."""
        count, leftover = divmod(self.frames, self.grouping(rendering, name))
        return count + 1 if rendering.leftover == "keep" and leftover else count

    def fractions(self, rendering: Rendering, name: str) -> list[range]:
        """Return the range of frame numbers of each fraction; raise the errors of `grouping`."""
        step, count = self.grouping(rendering, name), self.fraction_count(rendering, name)
        if rendering.leftover == "spread":
            step, longer = divmod(self.frames, count)
            starts = [step * number + max(0, number - (count - longer)) for number in range(count + 1)]
            return list(map(range, starts, starts[1:]))
        return [range(first, min(first + step, self.frames)) for first in range(0, step * count, step)]

    def scale(self, rendering: Rendering, name: str) -> float:
        """Return the factor from electrons to pixel values; raise the errors of `grouping`.

        The factor is 1, except for cropped fractions in int16. For these it is the largest power of two that leaves
        room for twice the electrons that a detector pixel can receive.
        """
        if rendering.crop is None or _MODES["int16"] != rendering.mode:
            return 1.0
        most = 2 * max(map(len, self.fractions(rendering, name)))
        return float(2.0 ** math.floor(math.log2(_LARGEST_INT16 / most)))


def runs_of(fractions: list[range]) -> list[list[int]]:
    """Return the lengths of consecutive fractions as pairs: the number of fractions, and the frames in each."""
    return [[len(list(same)), size] for size, same in groupby(map(len, fractions))]


def frames_text(frames: int, fractions: list[range]) -> str:
    """Return a line of text with the raw frames of a file, its fractions, and the dropped frames."""
    sizes = [f"{number} fraction{'s' if number > 1 else ''} of {size}" for number, size in runs_of(fractions)]
    dropped = frames - sum(map(len, fractions))
    return f"Found {frames} raw frames; {' and '.join(sizes)}, {dropped} frames dropped"


def rendering_of(settings: Settings) -> Rendering:
    """Return the rendering that the settings define."""
    return Rendering(
        grouping=settings.eer_grouping,
        dose_per_fraction=settings.eer_dose_per_fraction,
        dose=settings.eer_dose,
        pixel_size=settings.eer_pixel_size,
        upsampling=settings.eer_upsampling,
        crop=settings.eer_crop,
        dtype=settings.eer_dtype,
        leftover=settings.eer_leftover,
        gain=Path(settings.eer_gain) if settings.eer_gain else None,
        gain_convention=settings.eer_gain_convention,
        apply_gain=settings.eer_apply_gain,
    )


@lru_cache(maxsize=64)
def fingerprint(rendering: Rendering) -> str:
    """Return a string that identifies the bytes of a rendering and is the same in all mounts.

    Options that have their default values, or that affect no byte with the other options, are omitted, so that adding
    an option does not change the string. The path of the gain reference is omitted too, but not whether it is applied.
    """
    chosen = {field.name: getattr(rendering, field.name) for field in fields(rendering) if field.name != "gain"}
    defaults = {field.name: field.default for field in fields(rendering)} | {"dtype": rendering.default_dtype}
    is_multiplied = rendering.apply_gain or rendering.multiplies_gain
    chosen["apply_gain"] = is_multiplied
    chosen["gain_convention"] = rendering.unusual_convention if is_multiplied else None
    # multiplied fractions are always float32
    chosen["dtype"] = (not rendering.apply_gain and rendering.dtype) or rendering.default_dtype
    if rendering.dose_per_fraction is None:
        chosen["dose"] = None
    else:
        chosen["grouping"] = defaults["grouping"]
    return " ".join(f"{name}={value!r}" for name, value in chosen.items() if value != defaults[name])


def facts_of(index: EerIndex) -> EerFacts:
    """Return the metadata in the index of a file."""
    pixel_size = metadata_number(index, "sensorPixelSize.width")
    if pixel_size is not None:
        pixel_size *= _ANGSTROM_PER_M
        if not _PIXEL_SIZES[0] <= pixel_size <= _PIXEL_SIZES[1]:
            pixel_size = None
    sub_pixel_bits = min(index.code.x_bits, index.code.y_bits)
    return EerFacts(index.frames, index.ny, index.nx, pixel_size, metadata_number(index, "totalDose"), sub_pixel_bits)


def fraction_header(facts: EerFacts, rendering: Rendering, name: str) -> MrcHeader:
    """Return the MRC header of the movie of fractions.

    Raises
    ------
    FormatError
        See `EerFacts.grouping`. Also raised if events have too few sub-pixel bits for this upsampling.
    """
    needed = rendering.upsampling.bit_length() - 1
    if facts.sub_pixel_bits < needed:
        sizes = f"expected {needed}, got {facts.sub_pixel_bits}"
        problem = f"too few sub-pixel bits for upsampling {rendering.upsampling} ({sizes})"
        raise FormatError(f"{name}: {problem}; choose a lower upsampling")
    grid = rendering.shown_upsampling
    shape = (facts.fraction_count(rendering, name), facts.ny * grid, facts.nx * grid)
    pixel_size = rendering.pixel_size or facts.pixel_size
    pixel_size = pixel_size / grid if pixel_size else None
    label = f"EER, {facts.grouping(rendering, name)} frames a fraction; rendered by cryofs {VERSION}"
    if rendering.crop:
        scale = facts.scale(rendering, name)
        scaled = f", electrons x {scale:g}" if scale != 1 else ""
        cropped = f"upsampled {rendering.upsampling}, cropped to {grid}{scaled}"
        label = f"EER, {facts.grouping(rendering, name)} frames a fraction, {cropped}; cryofs {VERSION}"
    return mrc.made_header(shape, rendering.mode, pixel_size, label)


def gain_header(facts: EerFacts, rendering: Rendering) -> MrcHeader:
    """Return the MRC header of the gain reference on the grid of the rendered image."""
    ny, nx = facts.ny * rendering.upsampling, facts.nx * rendering.upsampling
    return mrc.made_header((1, ny, nx), 2, None, f"gain reference, multiply with the counts; cryofs {VERSION}")


def metadata_number(index: EerIndex, name: str) -> float | None:
    """Return a number from the metadata, or None if it is missing or implausible."""
    try:
        value = float(index.metadata[name])
    except (KeyError, ValueError):
        return None
    return value if _NUMBERS[0] <= value <= _NUMBERS[1] else None
