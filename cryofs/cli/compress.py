"""`cryofs compress`: movies into an archive."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryofs.cli import eer
from cryofs.cli.output import Reporter, print_json
from cryofs.config.choices import CompressionChoice, EerChoice, NarrowChoice
from cryofs.errors import FullDiskError, UsageError
from cryofs.system.resources import usable_cores
from cryofs.text import percent, printable, size_text

if TYPE_CHECKING:
    from cryofs.movies.eer_rendering import Rendering

NAME = "compress"
_GO_ON = "--only-do-unfinished"
# Figures that the summary shows if they are not 0, in its words.
_OTHERS = {
    "unfinished": "not done",
    "replaced": "replaced",
    "copied": "copied",
    "up_to_date": "up to date",
    "kept_plain": "kept plain",
    "suspect": "suspect",
    "links_outside": "links that lead out",
}


def command(
    context: typer.Context,
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", readable=False, help="Movies, folders, .star or .lst lists.")
    ],
    archive: Annotated[Path, typer.Option("-o", "--output", metavar="ARCHIVE", help="Folder of the archive.")],
    gain: Annotated[
        str,
        typer.Option(
            metavar="auto|none|FILE",
            help="Gain reference: estimate it where needed, none, a file, or a folder of references.",
        ),
    ] = "auto",
    compression: Annotated[
        CompressionChoice,
        typer.Option(help="TIFF codec; auto takes the fastest of those within 1 % of the smallest."),
    ] = "auto",
    deflate_level: Annotated[
        int | None, typer.Option(min=0, max=9, help="Ordinary deflate of this level, with deflate.")
    ] = None,
    line_by_line: Annotated[
        bool, typer.Option("--line-by-line", help="One row a TIFF strip, not 256 or more.")
    ] = False,
    narrow: Annotated[
        NarrowChoice,
        typer.Option(
            help="Pixels of the TIFF: as narrow as pays, rare larger values kept beside them (auto); "
            "wide enough for all values (exact); as wide as the original's (never)."
        ),
    ] = "auto",
    only_do_unfinished: Annotated[
        bool, typer.Option("--only-do-unfinished", help="Pass over what the archive holds already.")
    ] = False,
    eer_files: Annotated[
        EerChoice, typer.Option("--eer", help="Keep EER files, or store their fractions as TIFF instead.")
    ] = "keep",
    eer_grouping: eer.GroupingOption = None,
    eer_dose_per_fraction: eer.DoseOption = None,
    eer_upsampling: eer.UpsamplingOption = None,
    eer_dtype: eer.DtypeOption = None,
    eer_leftover: eer.LeftoverOption = None,
    eer_gain: eer.GainOption = None,
    follow_links: Annotated[
        bool,
        typer.Option("--follow-links", help="Archive what links out of SOURCE lead to, under their names."),
    ] = False,
    keep_links: Annotated[
        bool, typer.Option("--keep-links", help="Accept links that lead out of SOURCE as they are.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if a movie would be kept as a plain copy, or a file looks damaged."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print a row for each frame that goes into a gain estimate.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Cores to use.", show_default="all cores")] = usable_cores(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Compress movies losslessly into an archive.

    Movies become TIFF files of electron counts (gain-normalised ones divided by their gain reference, which is
    estimated first if the archive has none); everything else is copied. EER files are copied too, unless --eer tiff
    asks for their fractions, which are smaller, but do not give the EER file back. Files called like movies that are
    not, and movies that would not become 5 % smaller, are copied and named. Each file gets its final name only after
    it was read back and compared with the original, so a run may be killed at any time and continued with
    --only-do-unfinished.

    Links that lead out of SOURCE are stored as links and named, and the exit code is 1, unless --follow-links or
    --keep-links is given.

    Example: cryofs compress /data/session -o /archive/session
    """
    from cryofs.compress.movie_task import CompressOptions
    from cryofs.compress.plan import Coding
    from cryofs.compress.run import compress

    if follow_links and keep_links:
        raise UsageError("--follow-links and --keep-links are mutually exclusive; use only one")
    if deflate_level is not None and compression != "deflate":
        raise typer.BadParameter("--deflate-level goes with --compression deflate")
    choices: dict[str, Any] = {
        "grouping": eer_grouping,
        "dose_per_fraction": eer_dose_per_fraction,
        "upsampling": eer_upsampling,
        "dtype": eer_dtype,
        "keep_leftover": eer_leftover and eer_leftover == "keep",
        "gain": eer_gain and eer_gain.absolute(),
    }
    rendering = _rendering(eer_files, {name: value for name, value in choices.items() if value is not None})
    options = CompressOptions(
        gain=gain if gain in ("auto", "none") else Path(gain),  # type: ignore[arg-type]
        coding=Coding(compression, deflate_level, line_by_line, narrow),
        rendering=rendering,
        only_do_unfinished=only_do_unfinished,
        jobs=jobs,
        links="follow" if follow_links else "keep" if keep_links else "report",
        strict=strict,
    )
    with Reporter() as reporter:
        summary = compress(sources, archive, options, _Listener(reporter, _going_on(context.obj), verbose=verbose))
    facts: dict[str, Any] = {**vars(summary), "ratio": summary.ratio}
    if as_json:
        print_json(facts)
    else:
        others = "".join(f", {facts[name]} {words}" for name, words in _OTHERS.items() if facts[name])
        print(
            f"{summary.movies} movies, {summary.failed} failed, {summary.skipped} skipped{others}: "
            f"{size_text(summary.original_bytes)} -> {size_text(summary.stored_bytes)} "
            f"({percent(summary.ratio)}) in {summary.seconds:.1f} s"
        )
    left_out = summary.links_outside and options.links == "report"
    raise typer.Exit(1 if summary.failed or left_out or (strict and summary.suspect) else 0)


def _going_on(arguments: list[str] | None) -> str:
    """Return the command that goes on with a run."""
    given = [argument for argument in arguments or sys.argv[1:] if argument != _GO_ON]
    place = given.index("--") if "--" in given else len(given)
    return " ".join(map(_quoted, ["cryofs", *given[:place], _GO_ON, *given[place:]]))


def _quoted(argument: str) -> str:
    """Return an argument as a shell takes it, on one line whatever it holds."""
    if printable(argument) == argument:
        return shlex.quote(argument)
    escaped = "".join(
        char if char.isascii() and char.isprintable() and char not in "\\'" else f"\\x{byte:02x}"
        for byte in os.fsencode(argument)
        for char in [chr(byte)]
    )
    return f"$'{escaped}'"


def _rendering(eer_files: EerChoice, choices: dict[str, Any]) -> "Rendering | None":
    from cryofs.movies.eer_rendering import Rendering

    if eer_files == "tiff":
        if "grouping" in choices and "dose_per_fraction" in choices:
            raise typer.BadParameter("--eer-grouping and --eer-dose-per-fraction are mutually exclusive")
        return Rendering(**choices)
    if choices:
        raise typer.BadParameter("the --eer-... options go with --eer tiff; a mount has the like for EER files kept")
    return None


class _Listener:
    """Reports the progress of a run; `going_on` is the command that goes on after a full disk."""

    def __init__(self, reporter: Reporter, going_on: str, *, verbose: bool):
        self._reporter = reporter
        self._going_on = going_on
        self._verbose = verbose

    def begin(self, movies: int, frames: int) -> None:
        self._reporter.begin(f"{movies} movies", frames)

    def frame_row(self, row: object) -> None:
        if self._verbose:
            self._reporter.line(str(row))

    def frames(self, count: int) -> None:
        self._reporter.advance(count)

    def movie_done(self, name: Path, original_bytes: int, stored_bytes: int) -> None:
        ratio = percent(stored_bytes / original_bytes)
        self._reporter.line(f"{name}: {size_text(original_bytes)} -> {size_text(stored_bytes)} ({ratio})")

    def note(self, text: str) -> None:
        self._reporter.line(text)

    def failed(self, name: Path, error: Exception) -> None:
        if isinstance(error, FullDiskError):
            self._reporter.line(f"cryofs: {error}; make room, then run: {self._going_on}")
        else:
            self._reporter.error(error)
