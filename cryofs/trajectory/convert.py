"""Convert a trajectory STAR file to another grouping or upsampling.

docs/eer.md describes the rules and their differences from RELION's eer_trajectory_handler.py.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import FormatError, UnsupportedError
from cryofs.formats.star import StarFile
from cryofs.trajectory import motion

# maps each upsampling to RELION's rlnEERUpsampling
RELION_UPSAMPLING = {1: 1, 2: 2, 4: 3}
_GENERAL = "general"
_SHIFTS = "global_shift"
_MODEL = "local_motion_model"
_HOT_PIXELS = "hot_pixels"
# labels that Polish does not read and that the conversion would invalidate
_LOCAL_SHIFTS = "local_shift"
_NO_MODEL, _THIRD_ORDER_MODEL = 0, 1


@dataclass(frozen=True)
class Fractions:
    """Fractions of a movie: frames in a fraction, and image pixels along each side of a detector pixel."""

    grouping: int
    upsampling: int


def recorded_grouping(star: StarFile) -> int | None:
    """Return the number of frames in a fraction that a trajectory records, or None if it records none."""
    if star.value(_GENERAL, "rlnEERGrouping") is None:
        return None
    return _whole(star, "rlnEERGrouping")


def recorded_upsampling(star: StarFile) -> int | None:
    """Return the upsampling that a trajectory records, or None if it records none."""
    if star.value(_GENERAL, "rlnEERUpsampling") is None:
        return None
    code = _whole(star, "rlnEERUpsampling")
    for upsampling, known in RELION_UPSAMPLING.items():
        if known == code:
            return upsampling
    raise FormatError(f"{star.name}: invalid rlnEERUpsampling (expected 1, 2 or 3, got {code}); run MotionCorr again")


def movie_name(star: StarFile) -> str:
    """Return the movie name that a trajectory records; raise FormatError if it is missing."""
    name = star.value(_GENERAL, "rlnMicrographMovieName")
    if not name:
        raise FormatError(f"{star.name}: no rlnMicrographMovieName in data_general; pass a STAR file of MotionCorr")
    return name


def record(star: StarFile, fractions: Fractions) -> None:
    """Set the grouping and upsampling in a trajectory, with which RELION reads an EER file."""
    star.set_value(_GENERAL, "rlnEERGrouping", str(fractions.grouping))
    star.set_value(_GENERAL, "rlnEERUpsampling", str(RELION_UPSAMPLING[fractions.upsampling]))


def convert(star: StarFile, old: Fractions, new: Fractions) -> None:
    """Convert a trajectory in place from old to new fractions.

    Raises
    ------
    FormatError
        A table or value is missing or invalid, or the movie is shorter than a new fraction.
    """
    if new.grouping != old.grouping:
        _regroup(star, old.grouping, new.grouping)
    if new.upsampling != old.upsampling:
        _resample(star, old.upsampling, new.upsampling)
    _set_if_present(star, "rlnEERGrouping", str(new.grouping))
    _set_if_present(star, "rlnEERUpsampling", str(RELION_UPSAMPLING[new.upsampling]))
    star.remove(_LOCAL_SHIFTS)


def _regroup(star: StarFile, old: int, new: int) -> None:
    scale = new / old
    shifts = _shifts(star)
    regrouped = motion.regrouped_shifts(shifts, scale)
    if not len(regrouped):
        frames = len(shifts) * old
        text = f"{star.name}: too few frames for a fraction (expected {new}, got {frames})"
        raise FormatError(f"{text}; lower --grouping")
    _set_shifts(star, regrouped, scale)
    star.set_value(_GENERAL, "rlnImageSizeZ", str(len(regrouped)))
    if star.value(_GENERAL, "rlnMicrographDoseRate") is not None:
        dose = _number(star, "rlnMicrographDoseRate") * scale
        star.set_value(_GENERAL, "rlnMicrographDoseRate", _text(dose))
    start = _whole(star, "rlnMicrographStartFrame") if star.value(_GENERAL, "rlnMicrographStartFrame") else 1
    new_start = math.ceil((start - 1) / scale - 1e-9) + 1
    _set_if_present(star, "rlnMicrographStartFrame", str(new_start))
    # RELION's model counts time from the first fraction that was read
    offset = scale * (new_start - 1) + (scale - 1) / 2 - (start - 1)
    if _has_model(star):
        _set_model(star, motion.regrouped_model(_model(star), scale, offset))


def _resample(star: StarFile, old: int, new: int) -> None:
    for tag in ("rlnImageSizeX", "rlnImageSizeY"):
        size, rest = divmod(_whole(star, tag) * new, old)
        if rest:
            raise FormatError(f"{star.name}: {tag} is not a multiple of {old}; check the upsampling of the movie")
        star.set_value(_GENERAL, tag, str(size))
    scale = new / old
    # the corrected micrograph has the same pixel size after the conversion
    for tag, factor in (("rlnMicrographBinning", scale), ("rlnMicrographOriginalPixelSize", 1 / scale)):
        if star.value(_GENERAL, tag) is not None:
            star.set_value(_GENERAL, tag, _text(_number(star, tag) * factor))
    shifts = _shifts(star)
    _set_shifts(star, np.where(shifts == motion.NOT_OBSERVED, shifts, shifts * scale), 1)
    if _has_model(star):
        _set_model(star, _model(star) * scale)
    if columns := star.column(_HOT_PIXELS, "rlnCoordinateX"):
        rows = star.column(_HOT_PIXELS, "rlnCoordinateY")
        pixels = np.floor(_array(star, _HOT_PIXELS, columns, rows)).astype(np.int64)
        moved, origins = motion.resampled_pixels(pixels, old, new)
        x, y = ([_text(value) for value in axis] for axis in moved.T)
        star.set_rows(_HOT_PIXELS, origins.tolist(), {"rlnCoordinateX": x, "rlnCoordinateY": y})


def _shifts(star: StarFile) -> NDArray[np.float64]:
    """Return the shifts of all fractions in pixels, shape (fractions, 2); `NOT_OBSERVED` where the table has no row."""
    count = _whole(star, "rlnImageSizeZ")
    numbers, x, y = (star.column(_SHIFTS, tag) for tag in _SHIFT_COLUMNS)
    table = _array(star, _SHIFTS, numbers, x, y)
    places = table[:, 0].astype(np.int64) - 1
    valid = len(places) and places.min() >= 0 and places.max() < count and len(set(places.tolist())) == len(places)
    if not valid:
        raise FormatError(f"{star.name}: invalid frame numbers in data_{_SHIFTS} for {count} fractions; run MotionCorr")
    shifts = np.full((count, 2), motion.NOT_OBSERVED)
    shifts[places] = table[:, 1:]
    return shifts


_SHIFT_COLUMNS = ("rlnMicrographFrameNumber", "rlnMicrographShiftX", "rlnMicrographShiftY")


def _set_shifts(star: StarFile, shifts: NDArray[np.float64], scale: float) -> None:
    numbers = [str(number) for number in range(1, len(shifts) + 1)]
    x, y = ([_text(value) for value in axis] for axis in shifts.T)
    last = len(star.column(_SHIFTS, _SHIFT_COLUMNS[0])) - 1
    rows = [min(int((number + 0.5) * scale), last) for number in range(len(shifts))]
    star.set_rows(_SHIFTS, rows, dict(zip(_SHIFT_COLUMNS, (numbers, x, y), strict=True)))


def _has_model(star: StarFile) -> bool:
    version = star.value(_GENERAL, "rlnMotionModelVersion")
    if version is not None and _whole(star, "rlnMotionModelVersion") not in (_NO_MODEL, _THIRD_ORDER_MODEL):
        raise UnsupportedError(f"{star.name}: unsupported motion model {version} (expected 0, none, or 1, third order)")
    return star.has(_MODEL)


def _model(star: StarFile) -> NDArray[np.float64]:
    values = _array(star, _MODEL, *(star.column(_MODEL, tag) for tag in _MODEL_COLUMNS))
    if values[:, 0].astype(np.int64).tolist() != list(range(motion.MODEL_COEFFICIENTS)):
        expected = f"expected coefficients 0 to {motion.MODEL_COEFFICIENTS - 1} in order"
        raise FormatError(f"{star.name}: invalid data_{_MODEL} ({expected}); run MotionCorr again")
    return values[:, 1]


_MODEL_COLUMNS = ("rlnMotionModelCoeffsIdx", "rlnMotionModelCoeff")


def _set_model(star: StarFile, coefficients: NDArray[np.float64]) -> None:
    values = [f"{value:.9e}" for value in coefficients]
    star.set_rows(_MODEL, range(len(values)), {_MODEL_COLUMNS[1]: values})


def _array(star: StarFile, block: str, *columns: list[str]) -> NDArray[np.float64]:
    """Return columns of a table as numbers (float64, shape (rows, columns))."""
    try:
        values = np.array(columns, np.float64).T
    except ValueError as error:
        raise FormatError(f"{star.name}: missing column or non-numeric value in data_{block}") from error
    if values.ndim != 2 or not np.isfinite(values).all():
        raise FormatError(f"{star.name}: infinite value or NaN in data_{block}; run MotionCorr again")
    return values


def _number(star: StarFile, tag: str) -> float:
    text = star.value(_GENERAL, tag)
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"{star.name}: invalid {tag} in data_{_GENERAL} (expected a number, got {text!r})")
    return value


def _whole(star: StarFile, tag: str) -> int:
    value = _number(star, tag)
    if value != int(value) or value < 0:
        raise FormatError(f"{star.name}: invalid {tag} in data_{_GENERAL} (expected a whole number, got {value:g})")
    return int(value)


def _set_if_present(star: StarFile, tag: str, value: str) -> None:
    # with these tags, RELION would treat the movie as an EER file, which fractions in a mount are not
    if star.value(_GENERAL, tag) is not None:
        star.set_value(_GENERAL, tag, value)


def _text(value: float) -> str:
    return f"{value:.6f}"
