"""`cryofs check-gain`: find the orientation of a gain reference."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryofs.cli.output import print_json
from cryofs.cli.parameters import PATH, files_argument, jobs_option, json_option
from cryofs.text import printable

if TYPE_CHECKING:
    from cryofs.gain.gain_check import GainCheck


@click.command("check-gain")
@click.argument("gain", type=PATH, help="Gain reference, an MRC or TIFF file.")
@files_argument("movies", "MOVIE", "Movies of electron counts: MRC, TIFF or EER, archived, packed or neither.")
@jobs_option()
@json_option()
def command(gain: Path, movies: tuple[Path, ...], jobs: int, as_json: bool) -> None:
    """Find the orientation of a gain reference.

    Correlates the mean counts of the movies with the inverse of the gain in all orientations. Prints the significance
    of each orientation, and the options of other programs for the correct one. One movie is enough; its first 60 frames
    are used. The exit code is 1 if the reference does not match the movies.

    Example: cryofs check-gain gain.mrc movie.tif
    """
    from cryofs.gain.gain_check import check_gain

    check = check_gain(gain, movies, jobs)
    if as_json:
        print_json(_facts(check))
    else:
        for line in _lines(check):
            print(printable(line))
    raise click.exceptions.Exit(0 if check.best else 1)


def _facts(check: "GainCheck") -> dict[str, Any]:
    from cryofs.gain.orientation_fit import SIGNIFICANT
    from cryofs.gain.program_options import options_of

    best = check.best
    facts = {
        "gain": str(check.gain),
        "movies": check.movies,
        "frames": check.frames,
        "threshold": SIGNIFICANT,
        "rot90": best.orientation.rot90 if best else None,
        "flip": best.orientation.flip if best else None,
        "significance": abs((best or check.fits[0]).significance),
        "convention": ("divide" if best.is_divisor else "multiply") if best else None,
        "options": options_of(best.orientation) if best else None,
    }
    fits = [
        {"rot90": fit.orientation.rot90, "flip": fit.orientation.flip, "significance": fit.significance}
        for fit in check.fits
    ]
    return facts | {"orientations": fits}


def _lines(check: "GainCheck") -> list[str]:
    from cryofs.gain.orientation_fit import SIGNIFICANT
    from cryofs.gain.program_options import options_of

    lines = [f"{'significance':>12}  {'orientation':12}  {'RELION':26}  MotionCor"]
    for fit in check.fits:
        words = options_of(fit.orientation)
        lines.append(f"{fit.significance:12.1f}  {fit.orientation.name:12}  {words['RELION']:26}  {words['MotionCor']}")
    if (best := check.best) is None and not check.is_decided:
        return [*lines, f"too few counts to decide in {check.frames} frames; pass more movies"]
    if best is None:
        return [*lines, f"the gain reference does not match these movies (every significance is below {SIGNIFICANT:g})"]
    lines += [f"{program:10} {words}" for program, words in options_of(best.orientation).items()]
    if best.is_divisor:
        lines.append("counts must be divided by the values of this gain reference (MotionCor: -InvGain 1)")
    return lines
