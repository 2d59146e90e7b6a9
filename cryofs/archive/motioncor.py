"""Lines of the file for MotionCor's option -FmIntFile: frames, grouping, and dose of a frame."""

from pathlib import Path
from typing import Any

from cryofs.errors import FormatError


def lines_of_eer(path: Path, facts: dict[str, Any], *, keeps_leftover: bool) -> list[str]:
    """Return the lines for reading an EER file with the fractions that a mount would show.

    MotionCor uses all frames and spreads those that do not fill a fraction over the last fractions. Only a last,
    shorter fraction needs a separate line.

    Parameters
    ----------
    facts : dict
        Output of `cryofs info`.
    keeps_leftover : bool
        Whether the remaining frames form a last, shorter fraction.

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
        Facts that the mount reports about the movie; None if the movie is not in a mount.

    Raises
    ------
    FormatError
        The movie does not consist of fractions in a mount, or their dose is unknown.
    """
    if facts is None or "fraction_frames" not in facts:
        raise FormatError(f"{path}: not an EER file, and not its fractions in a mount; pass one of these")
    if facts["frame_dose"] is None:
        raise FormatError(f"{path}: unknown dose; mount with -o eer_dose=D or eer_pixel_size=A")
    return [_line(number, 1, size * facts["frame_dose"]) for number, size in facts["fraction_frames"]]


def _line(frames: int, grouping: int, dose: float) -> str:
    return f"{frames} {grouping} {dose:.6g}"
