"""`cryofs compress`: movies into an archive."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryofs.cli import eer
from cryofs.cli.output import Reporter, print_json
from cryofs.system.resources import usable_cores
from cryofs.text import percent, size_text

if TYPE_CHECKING:
    from cryofs.movies.eer_rendering import Rendering

NAME = "compress"


class Compression(StrEnum):
    """Codecs by name."""

    AUTO = "auto"
    LZW = "lzw"
    DEFLATE = "deflate"
    NONE = "none"


class Narrow(StrEnum):
    """Whether pixels of the TIFF may be narrower than the largest values."""

    AUTO = "auto"
    EXACT = "exact"
    NEVER = "never"


class Eer(StrEnum):
    """What becomes of EER files."""

    KEEP = "keep"
    TIFF = "tiff"


def command(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", readable=False, help="Movies, folders, .star or .lst lists.")
    ],
    archive: Annotated[Path, typer.Option("-o", "--output", metavar="ARCHIVE", help="Folder of the archive.")],
    gain: Annotated[
        str, typer.Option(metavar="auto|none|FILE", help="Gain reference: estimate it where needed, none, or a file.")
    ] = "auto",
    compression: Annotated[
        Compression, typer.Option(help="TIFF codec; auto takes the fastest of those that are smallest within 1 %.")
    ] = Compression.AUTO,
    deflate_level: Annotated[
        int | None, typer.Option(min=0, max=9, help="Ordinary deflate of this level, with deflate.")
    ] = None,
    line_by_line: Annotated[
        bool, typer.Option("--line-by-line", help="One row a TIFF strip, not 256 or more.")
    ] = False,
    narrow: Annotated[
        Narrow,
        typer.Option(
            help="Pixels of the TIFF: as narrow as pays, rare larger values kept beside them (auto); "
            "wide enough for all values (exact); as wide as the original's (never)."
        ),
    ] = Narrow.AUTO,
    only_do_unfinished: Annotated[
        bool, typer.Option("--only-do-unfinished", help="Pass over what the archive holds already.")
    ] = False,
    eer_files: Annotated[
        Eer, typer.Option("--eer", help="Keep EER files, or store their fractions as TIFF instead.")
    ] = Eer.KEEP,
    eer_grouping: eer.GroupingOption = None,
    eer_dose_per_fraction: eer.DoseOption = None,
    eer_upsampling: eer.UpsamplingOption = None,
    eer_dtype: eer.DtypeOption = None,
    eer_leftover: eer.LeftoverOption = None,
    eer_gain: eer.GainOption = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cores to use.", show_default="all cores")] = usable_cores(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Archive movies so small that they fit, and exactly.

    Movies become TIFF files of electron counts (gain-normalised ones divided by their gain reference, which is
    estimated first where the archive has none), everything else is copied. EER files are copied too, unless --eer tiff
    asks for their fractions, which are smaller, but do not give the EER file back. Each file gets its final name only
    once it was read back and compared with the original, so a run may be killed at any time and continued with
    --only-do-unfinished.

    Example: cryofs compress /data/session -o /archive/session
    """
    from cryofs.compress.movie_task import CompressOptions
    from cryofs.compress.plan import Coding
    from cryofs.compress.run import compress

    if deflate_level is not None and compression is not Compression.DEFLATE:
        raise typer.BadParameter("--deflate-level goes with --compression deflate")
    choices: dict[str, Any] = {
        "grouping": eer_grouping,
        "dose_per_fraction": eer_dose_per_fraction,
        "upsampling": eer_upsampling,
        "dtype": eer_dtype and eer_dtype.value,
        "keep_leftover": eer_leftover and eer_leftover is eer.Leftover.KEEP,
        "gain": eer_gain and eer_gain.absolute(),
    }
    rendering = _rendering(eer_files, {name: value for name, value in choices.items() if value is not None})
    options = CompressOptions(
        gain=gain if gain in ("auto", "none") else Path(gain),  # type: ignore[arg-type]
        coding=Coding(compression.value, deflate_level, line_by_line, narrow.value),
        rendering=rendering,
        only_do_unfinished=only_do_unfinished,
        jobs=jobs,
    )
    with Reporter() as reporter:
        summary = compress(sources, archive, options, _Listener(reporter))
    facts: dict[str, Any] = {**vars(summary), "ratio": summary.ratio}
    if as_json:
        print_json(facts)
    else:
        others = "".join(f", {vars(summary)[name]} {name}" for name in ("replaced", "copied") if vars(summary)[name])
        print(
            f"{summary.movies} movies, {summary.failed} failed, {summary.skipped} skipped{others}: "
            f"{size_text(summary.original_bytes)} -> {size_text(summary.stored_bytes)} "
            f"({percent(summary.ratio)}) in {summary.seconds:.1f} s"
        )
    raise typer.Exit(1 if summary.failed else 0)


def _rendering(eer_files: Eer, choices: dict[str, Any]) -> "Rendering | None":
    from cryofs.movies.eer_rendering import Rendering

    if eer_files is Eer.TIFF:
        if "grouping" in choices and "dose_per_fraction" in choices:
            raise typer.BadParameter("--eer-grouping and --eer-dose-per-fraction say the same in two ways")
        return Rendering(**choices)
    if choices:
        raise typer.BadParameter("the --eer-... options go with --eer tiff; a mount has the like for EER files kept")
    return None


class _Listener:
    """Tells a reporter how the run goes."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter

    def begin(self, movies: int, frames: int) -> None:
        self._reporter.begin(f"{movies} movies", frames)

    def frame_row(self, row: object) -> None:
        self._reporter.line(str(row))

    def frames(self, count: int) -> None:
        self._reporter.advance(count)

    def movie_done(self, name: Path, original_bytes: int, stored_bytes: int) -> None:
        ratio = percent(stored_bytes / original_bytes)
        self._reporter.line(f"{name}: {size_text(original_bytes)} -> {size_text(stored_bytes)} ({ratio})")

    def note(self, text: str) -> None:
        self._reporter.line(text)

    def failed(self, name: Path, error: Exception) -> None:
        self._reporter.error(error)
