"""`cryofs info`: print format, size and savings of a movie."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryofs.cli.eer import eer_options, rendering_of
from cryofs.cli.output import print_json
from cryofs.cli.parameters import PATH, jobs_option, json_option
from cryofs.text import percent, printable, size_text

if TYPE_CHECKING:
    from cryofs.movies.eer_rendering import Rendering


@click.command("info")
@click.argument("file", type=PATH, help="Movie, archived or not, or a folder of EER files.")
@eer_options
@click.option("--motioncor-fm-int", is_flag=True, help="Print the lines of a file for MotionCor's -FmIntFile instead.")
@jobs_option()
@json_option()
def command(file: Path, eer_settings: dict[str, Any], motioncor_fm_int: bool, jobs: int, as_json: bool) -> None:
    """Print format, size and savings of a movie, or a table of the EER files of a folder.

    For an EER movie, also prints the number of raw frames, the dose, suitable groupings and acquisition metadata. With
    --motioncor-fm-int, prints a file that lets MotionCor group an EER file into the fractions of cryofs mount with the
    same options; for a mounted movie, the file contains the doses of its fractions.

    Example: cryofs info /archive/session/movie.mrc.tif
    """
    from cryofs.archive.info import describe
    from cryofs.movies.provider import InfoOptions

    rendering = rendering_of(eer_settings)
    if file.is_dir():
        _print_table(file, rendering, as_json=as_json)
        return
    facts = describe(file, InfoOptions(jobs, rendering))
    if motioncor_fm_int:
        _print_fm_int(file, facts, rendering)
        return
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        print(printable(f"{name:{width}} {_text(name, value)}"))


def _print_table(folder: Path, rendering: "Rendering", *, as_json: bool) -> None:
    from dataclasses import asdict

    from cryofs.archive.eer_table import eer_rows

    rows = eer_rows(folder, rendering)
    if as_json:
        print_json({"files": [asdict(row) for row in rows]})
    else:
        width = max(len(printable(row.path)) for row in rows)
        print(f"{'file':{width}}  frames  metadata  e/A^2 / frame   e/A^2  dose from  differs from most files")
        for row in rows:
            doses = f"{_cell(row.dose_per_frame):>13}  {_cell(row.total_dose):>6}  {row.dose_source or '-':9}"
            counts = f"{_cell(row.frames):>6}  {_cell(row.frames_in_metadata):>8}"
            remark = row.error or ", ".join(row.differs)
            print(printable(f"{printable(row.path):{width}}  {counts}  {doses}  {remark}").rstrip())
    if any(row.error for row in rows):
        raise click.exceptions.Exit(1)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_fm_int(file: Path, facts: dict[str, Any], rendering: "Rendering") -> None:
    from cryofs.archive.motioncor import lines_of_eer, lines_of_fractions
    from cryofs.fuse.control import file_facts

    if facts["format"] != "eer":
        print("\n".join(lines_of_fractions(file, file_facts(file))))
        return
    print("\n".join(lines_of_eer(file, facts, keeps_leftover=rendering.leftover == "keep")))
    if facts["dropped_frames"]:
        dropped = f"the {facts['dropped_frames']} frames that do not fill a fraction, which cryofs drops"
        print(f"cryofs: MotionCor also uses {dropped}; --eer-leftover spread does the same", file=sys.stderr)


def _text(name: str, value: Any) -> str:
    if name == "ratio":
        return percent(value)
    if name in ("stored_bytes", "exception_bytes"):
        return f"{value} ({size_text(value)})"
    if name == "shape":
        return "{} frames of {} x {}".format(*value)
    if name == "groupings" and value:
        return "{} to {} frames, for fractions of 0.5 to 1.25 e/A^2".format(*value)
    if name == "fraction_frames":
        return ", ".join(f"{number} x {frames}" for number, frames in value)
    if name == "unknown":
        return ", ".join(value) or "none"
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
