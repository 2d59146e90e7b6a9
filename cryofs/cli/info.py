"""`cryofs info`: print format, size and savings of a movie."""

from pathlib import Path
from typing import Any

import click

from cryofs.cli.eer import eer_options, rendering_of
from cryofs.cli.output import print_json
from cryofs.cli.parameters import PATH, jobs_option
from cryofs.text import percent, printable, size_text


@click.command("info")
@click.argument("file", type=PATH, help="Movie, archived or not.")
@eer_options
@jobs_option()
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(file: Path, eer_settings: dict[str, Any], jobs: int, as_json: bool) -> None:
    """Print format, size and savings of a movie.

    For an EER movie, also prints the number of raw frames, the dose and suitable groupings.

    Example: cryofs info /archive/session/movie.mrc.tif
    """
    from cryofs.archive.info import describe
    from cryofs.movies.provider import InfoOptions

    facts = describe(file, InfoOptions(jobs, rendering_of(eer_settings)))
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        print(printable(f"{name:{width}} {_text(name, value)}"))


def _text(name: str, value: Any) -> str:
    if name == "ratio":
        return percent(value)
    if name in ("stored_bytes", "exception_bytes"):
        return f"{value} ({size_text(value)})"
    if name == "shape":
        return "{} frames of {} x {}".format(*value)
    if name == "groupings" and value:
        return "{} to {} frames, for fractions of 0.5 to 1.25 e/A^2".format(*value)
    if name == "damaged_frames":
        return ", ".join(map(str, value)) or "none"
    if name in ("dose_per_frame", "total_dose") and value:
        return f"{value:.4g} e/A^2"
    if name == "electrons_per_pixel_per_frame" and value:
        return f"{value:.5f}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(key, part)}" for key, part in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else str(value)
