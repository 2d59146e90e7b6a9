"""Lines of the file that MotionCor takes with -FmIntFile: frames, grouping, and dose of a frame."""

from pathlib import Path
from typing import Any

from cryofs.errors import FormatError


def lines_of_eer(path: Path, facts: dict[str, Any], *, keeps_leftover: bool) -> list[str]:
    """Return the lines for reading an EER file itself, with the fractions that a mount would show.

    MotionCor uses all frames: those that fill no fraction are spread over the last fractions. Only a last, shorter
    fraction needs a line of its own.

    Parameters
    ----------
    facts : dict
        Output of `cryofs info`.

    Raises
    ------
    FormatError
        The dose is unknown.
    """
    dose = facts["dose_per_frame"]
    if dose is None:
        raise FormatError(f"{path}: unknown dose; pass --eer-dose or --eer-pixel-size")
    if keeps_leftover:
        return [_line(number * size, size, dose) for number, size in facts["fraction_frames"]]
    return [_line(facts["frames"], facts["grouping"], dose)]


def lines_of_fractions(path: Path, facts: dict[str, Any] | None) -> list[str]:
    """Return the lines for reading a movie of fractions, whose frames need no grouping.

    Parameters
    ----------
    facts : dict or None
        What the mount tells about the movie.

    Raises
    ------
    FormatError
        The movie is not one of fractions in a mount, or their dose is unknown.
    """
    if facts is None or "fraction_frames" not in facts:
        raise FormatError(f"{path}: neither an EER file nor its fractions in a mount; pass one of them")
    if facts["frame_dose"] is None:
        raise FormatError(f"{path}: unknown dose; mount with -o eer_dose=D or eer_pixel_size=A")
    return [_line(number, 1, size * facts["frame_dose"]) for number, size in facts["fraction_frames"]]


def _line(frames: int, grouping: int, dose: float) -> str:
    return f"{frames} {grouping} {dose:.6g}"
