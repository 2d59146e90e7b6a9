"""`cryofs compress`: compress movies into an archive."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from cryofs.cli.eer import eer_options, rendering_of
from cryofs.cli.output import MovieProgress, Reporter, print_json
from cryofs.cli.parameters import (
    PATH,
    break_lock_option,
    compression_option,
    files_argument,
    gain_orientation_option,
    jobs_option,
    json_option,
    part_option,
)
from cryofs.config.choices import GAIN_WORDS, CompressionChoice, EerChoice, GainOrientation, NarrowChoice
from cryofs.errors import FullDiskError
from cryofs.execution.parts import Part
from cryofs.text import percent, printable, size_text

if TYPE_CHECKING:
    from cryofs.compress.options import CompressOptions
    from cryofs.compress.plan import Coding
    from cryofs.compress.summary import Summary
    from cryofs.kernels.orientation import Orientation
    from cryofs.movies.eer_rendering import Rendering

_CONTINUE = "--only-do-unfinished"
# Counts and labels that the summary line includes if the count is not 0.
_LABELS = {
    "unfinished": "not done",
    "replaced": "replaced",
    "copied": "copied",
    "up_to_date": "up to date",
    "packed": "packed (store their movies with --unpack)",
    "kept_plain": "kept plain",
    "suspect": "suspect",
    "links_outside": "links that point outside the sources",
}


@click.command("compress")
@files_argument("sources", "SOURCE", "Movies, folders, .star, .lst or .mdoc lists.")
@click.option("-o", "--output", "archive", type=PATH, required=True, metavar="ARCHIVE", help="Folder of the archive.")
@click.option(
    "--gain",
    default="auto",
    show_default=True,
    metavar="auto|none|FILE",
    help="Gain reference: estimate it if needed (auto), use none, or use a file or a folder of references.",
)
@gain_orientation_option("--gain or --eer-gain")
@compression_option
@click.option(
    "--deflate-level", type=click.IntRange(0, 9), help="Level of standard deflate, with --compression deflate."
)
@click.option("--line-by-line", is_flag=True, help="Write one row per TIFF strip instead of 128 or more.")
@click.option(
    "--narrow",
    type=click.Choice(get_args(NarrowChoice)),
    default="auto",
    show_default=True,
    help="Pixel type of the TIFF: narrow, with rare larger values stored separately (auto); the narrowest that holds "
    "all values (exact); as wide as the original (never).",
)
@click.option(_CONTINUE, is_flag=True, help="Skip files that are already in the archive.")
@click.option(
    "--eer",
    "eer_files",
    type=click.Choice(get_args(EerChoice)),
    default="keep",
    show_default=True,
    help="Copy EER files, or store their fractions as TIFF.",
)
@eer_options
@click.option("--unpack", is_flag=True, help="Store the movies in .mrc.bz2, .gz, .xz and .zst files, not these files.")
@click.option("--follow-links", is_flag=True, help="Archive the targets of links that point outside SOURCE.")
@click.option("--keep-links", is_flag=True, help="Store links that point outside SOURCE as links.")
@part_option("Archive")
@click.option(
    "--gain-wait",
    type=click.FloatRange(0),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="With --part: how long to wait for the gain reference that part 1 estimates.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 if a movie was kept as a plain copy or a file looks damaged.")
@break_lock_option
@click.option("--verbose", is_flag=True, help="Print a row for each frame of a gain estimate.")
@jobs_option("Number of cores to use.")
@json_option("Print the summary as JSON.")
@click.pass_obj
def command(
    arguments: list[str],
    /,
    sources: tuple[Path, ...],
    archive: Path,
    gain: str,
    gain_orientation: GainOrientation | None,
    only_do_unfinished: bool,
    eer_files: EerChoice,
    eer_settings: dict[str, Any],
    unpack: bool,
    follow_links: bool,
    keep_links: bool,
    part: Part,
    gain_wait: float,
    strict: bool,
    break_lock: bool,
    verbose: bool,
    jobs: int,
    as_json: bool,
    **coding: Any,
) -> None:
    """Compress movies losslessly into an archive.

    Movies are stored as TIFF files of electron counts. Gain-normalised movies are divided by their gain reference,
    which is estimated first if the archive has none. EER files, files that are not movies, and movies that would not
    become 5 % smaller are copied. With --eer tiff, only the fractions of EER files are stored, which are smaller but
    cannot restore the EER file. Each file is read back and compared with its original before it gets its final name, so
    an interrupted run can be continued with --only-do-unfinished.

    Several processes can share the work, on several machines too: each archives one part (--part). Part 1 estimates the
    gain, and the others wait for the reference.

    Links that point outside SOURCE are stored as links and reported, and the exit code is 1, unless --follow-links or
    --keep-links is given.

    Example: cryofs compress /data/session -o /archive/session
    """
    from cryofs.system import garbage

    with garbage.long_lived():
        from cryofs.compress.movie_task import CompressOptions

    options = CompressOptions(
        gain=gain if gain in GAIN_WORDS else Path(gain),  # type: ignore[arg-type]
        gain_orientation=_orientation(gain_orientation, gain, eer_settings),
        coding=_coding(**coding),
        rendering=_rendering(eer_files, eer_settings),
        unpack=unpack,
        only_do_unfinished=only_do_unfinished,
        jobs=jobs,
        links=_links(follow_links=follow_links, keep_links=keep_links),
        strict=strict,
        part=part,
        gain_wait=60 * gain_wait,
        break_lock=break_lock,
    )
    summary = _run(sources, archive, options, _continuation(arguments), verbose=verbose)
    _print_summary(summary, as_json=as_json)
    raise click.exceptions.Exit(_exit_code(summary, options))


def _run(
    sources: tuple[Path, ...], archive: Path, options: "CompressOptions", continuation: str, *, verbose: bool
) -> "Summary":
    """Run compress and show its progress."""
    from cryofs.compress.run import compress

    with Reporter() as reporter:
        return compress(sources, archive, options, _Progress(reporter, continuation, verbose=verbose))


def _exit_code(summary: "Summary", options: "CompressOptions") -> int:
    """Return 1 if a run left out something that the user wanted in the archive, otherwise 0."""
    left_out = summary.links_outside and options.links == "report"
    return 1 if summary.failed or left_out or (options.strict and summary.suspect) else 0


def _links(*, follow_links: bool, keep_links: bool) -> Literal["report", "follow", "keep"]:
    """Return the treatment of links that point outside the sources."""
    if follow_links and keep_links:
        raise click.UsageError("--follow-links and --keep-links are mutually exclusive; use only one")
    return "follow" if follow_links else "keep" if keep_links else "report"


def _orientation(name: GainOrientation | None, gain: str, eer_settings: dict[str, Any]) -> "Orientation":
    from cryofs.kernels.orientation import orientation_of

    has_reference = "eer_gain" in eer_settings or not (gain in GAIN_WORDS or Path(gain).is_dir())
    if name is not None and not has_reference:
        raise click.UsageError("--gain-orientation requires a gain reference; set --gain FILE or --eer-gain")
    return orientation_of(name)


def _coding(
    compression: CompressionChoice, deflate_level: int | None, *, line_by_line: bool, narrow: NarrowChoice
) -> "Coding":
    from cryofs.compress.plan import Coding

    if deflate_level is not None and compression != "deflate":
        raise click.UsageError("--deflate-level requires --compression deflate")
    return Coding(compression, deflate_level, line_by_line, narrow)


def _rendering(eer_files: EerChoice, eer_settings: dict[str, Any]) -> "Rendering | None":
    if eer_files == "keep":
        if eer_settings:
            raise click.UsageError("the --eer-... options require --eer tiff; for EER files, pass them to cryofs mount")
        return None
    return rendering_of(eer_settings)


def _print_summary(summary: "Summary", *, as_json: bool) -> None:
    facts: dict[str, Any] = {**vars(summary), "ratio": summary.ratio}
    if as_json:
        print_json(facts)
        return
    others = "".join(f", {facts[name]} {label}" for name, label in _LABELS.items() if facts[name])
    print(
        f"{summary.movies} movies, {summary.failed} failed, {summary.skipped} skipped{others}: "
        f"{size_text(summary.original_bytes)} -> {size_text(summary.stored_bytes)} "
        f"({percent(summary.ratio)}) in {summary.seconds:.1f} s"
    )


def _continuation(arguments: list[str]) -> str:
    """Return the command that continues an interrupted run."""
    given = [argument for argument in arguments if argument != _CONTINUE]
    position = given.index("--") if "--" in given else len(given)
    return " ".join(map(_quoted, ["cryofs", *given[:position], _CONTINUE, *given[position:]]))


def _quoted(argument: str) -> str:
    """Return an argument quoted for a shell, on one line even if it contains control characters."""
    if printable(argument) == argument:
        return shlex.quote(argument)
    escaped = "".join(
        char if char.isascii() and char.isprintable() and char not in "\\'" else f"\\x{byte:02x}"
        for byte in os.fsencode(argument)
        for char in [chr(byte)]
    )
    return f"$'{escaped}'"


class _Progress(MovieProgress):
    """Progress of a run, as reporter output; `continuation` is the command that continues after a full disk."""

    def __init__(self, reporter: Reporter, continuation: str, *, verbose: bool):
        super().__init__(reporter)
        self._continuation = continuation
        self._verbose = verbose

    def frame_row(self, row: object) -> None:
        if self._verbose:
            self._reporter.line(str(row))

    def failed(self, name: Path, error: Exception) -> None:
        if isinstance(error, FullDiskError):
            self._reporter.line(f"cryofs: {error}; free some space, then run: {self._continuation}")
        else:
            self._reporter.error(error)
