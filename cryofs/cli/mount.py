"""`cryofs mount`: an archive as its original files."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cryofs.cli import eer
from cryofs.system.logs import Format, Level, set_up
from cryofs.system.paths import check_archive
from cryofs.system.resources import default_cache_size
from cryofs.text import printable, size_text

NAME = "mount"
_CACHE_DEFAULT = f"a quarter of the usable memory, up to 16GiB; here {size_text(default_cache_size())}"


def command(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Folder of the archive.", readable=False)],
    mountpoint: Annotated[Path, typer.Argument(metavar="MOUNTPOINT", help="Empty folder to mount on.", readable=False)],
    foreground: Annotated[bool, typer.Option("-f", "--foreground", help="Serve in this process.")] = False,
    options: Annotated[
        str,
        typer.Option(
            "-o",
            metavar="OPTIONS",
            help="Mount options, separated by commas: allow_other, uid=, gid=, umask=, nonempty, others of "
            "FUSE, and each of the options below by its name, as in cache_size=8GiB.",
        ),
    ] = "",
    cache_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Decoded frames kept in memory.", show_default=_CACHE_DEFAULT),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Decoding threads.", show_default="all cores")] = None,
    readahead: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Kernel read-ahead, set by root.", show_default="1MiB")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Serve figures for Prometheus: PORT, or HOST:PORT.")
    ] = None,
    request_timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Longest wait for storage that gives no answer.", show_default="60"),
    ] = None,
    eer_grouping: eer.GroupingOption = None,
    eer_dose_per_fraction: eer.DoseOption = None,
    eer_upsampling: eer.UpsamplingOption = None,
    eer_dtype: eer.DtypeOption = None,
    eer_leftover: eer.LeftoverOption = None,
    eer_gain: eer.GainOption = None,
    eer_apply_gain: Annotated[
        bool | None, typer.Option("--eer-apply-gain", help="Multiply fractions with the gain, as float32.")
    ] = None,
    log_file: Annotated[
        Path | None,
        typer.Option(
            help="Log of a background mount.", show_default="~/.local/state/cryofs/*.log, of root /var/log/cryofs/*.log"
        ),
    ] = None,
    log_level: Annotated[
        Level | None, typer.Option(help="Least important events that are logged.", show_default="info")
    ] = None,
    log_format: Annotated[
        Format | None, typer.Option(help="Lines of text, or a JSON object a line.", show_default="text")
    ] = None,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Mount an archive: every tool reads the original MRC files, decoded on demand.

    Returns when the mount is live. A dead mount in its place, whose process was killed, is cleared first.

    Each EER movie X.eer appears besides as X.mrc, its frames grouped into fractions; the folders @up2_gr8 and the like
    at the root show other upsamplings and groupings, @counts gain-normalised movies as counts, @archive the archive
    itself.

    Example: cryofs mount /archive/session /mnt/movies
    """
    from cryofs.config.mount_options import parse_options
    from cryofs.config.settings import load_settings
    from cryofs.fuse.control import clear_dead_mount, place_of
    from cryofs.fuse.daemon import check_mountpoint, default_log, leave, serve_in_background

    archive, mountpoint = archive.absolute(), place_of(mountpoint.absolute())
    by_list, settings_by_list = parse_options(options)
    chosen: dict[str, Any] = {
        "cache_size": cache_size,
        "jobs": jobs,
        "readahead": readahead,
        "metrics": metrics,
        "request_timeout": request_timeout,
        "eer_grouping": eer_grouping,
        "eer_dose_per_fraction": eer_dose_per_fraction,
        "eer_upsampling": eer_upsampling,
        "eer_dtype": eer_dtype,
        "eer_leftover": eer_leftover,
        "eer_gain": str(eer_gain.absolute()) if eer_gain else None,
        "eer_apply_gain": eer_apply_gain,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    logging = {"log_level": log_level, "log_format": log_format}
    _check_once(given, settings_by_list)
    _check_once({**logging, "log_file": log_file}, msgspec.structs.asdict(by_list))
    if clear_dead_mount(mountpoint):
        print(printable(f"cryofs: {mountpoint}: a dead mount was in the way, and is cleared"), file=sys.stderr)
    check_archive(archive)
    check_mountpoint(archive, mountpoint, nonempty=by_list.nonempty)
    settings = load_settings(archive, settings_by_list | given)
    if foreground:
        from cryofs.fuse.serve import serve

        set_up(log_level or by_list.log_level or "info", log_format or by_list.log_format or "text")
        serve(archive, mountpoint, settings, by_list, lambda: None if ready_fd is None else leave(ready_fd))
        return
    arguments = ["-o", options] if options else []
    for name, value in {**given, **logging}.items():
        if value is not None:
            arguments += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
    log = log_file or by_list.log_file
    serve_in_background(arguments, archive, mountpoint, Path(log).absolute() if log else default_log(mountpoint))


def _check_once(options: dict[str, Any], by_list: dict[str, Any]) -> None:
    """Refuse what is said in both ways, because nobody can tell which of them is meant."""
    from cryofs.errors import UsageError

    for name, value in options.items():
        if value is not None and by_list.get(name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} and -o {name} are mutually exclusive; set only one")
