"""`cryofs mount`: an archive as its original files."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cryofs.cli import eer
from cryofs.movies.names import printable
from cryofs.resources import default_cache_size
from cryofs.units import size_text

NAME = "mount"
_CACHE_DEFAULT = f"a quarter of the usable memory, up to 16GiB; here {size_text(default_cache_size())}"


class LogLevel(StrEnum):
    """How important an event is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How an event is written."""

    TEXT = "text"
    JSON = "json"


def command(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Folder of the archive.")],
    mountpoint: Annotated[Path, typer.Argument(metavar="MOUNTPOINT", help="Empty folder to mount on.")],
    foreground: Annotated[bool, typer.Option("-f", "--foreground", help="Serve in this process.")] = False,
    options: Annotated[str, typer.Option("-o", metavar="OPTIONS", help="Mount options, as in allow_other.")] = "",
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
        Path | None, typer.Option(help="Log of a background mount.", show_default="~/.local/state/cryofs/*.log")
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="Least important events that are logged.")] = LogLevel.INFO,
    log_format: Annotated[LogFormat, typer.Option(help="Lines of text, or a JSON object a line.")] = LogFormat.TEXT,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Mount an archive: every tool reads the original MRC files, decoded on demand.

    Returns when the mount is live. A dead mount in its place, whose process was killed, is cleared first.

    Each EER movie X.eer appears besides as X.mrc, its frames grouped into fractions; the folders @up2_gr8 and the like
    at the root show other upsamplings and groupings, @counts gain-normalised movies as counts, @archive the archive
    itself.

    Example: cryofs mount /archive/session /mnt/movies
    """
    from cryofs.fuse.control import clear_dead_mount
    from cryofs.fuse.mounting import check_mountpoint, serve, serve_in_background
    from cryofs.logs import set_up
    from cryofs.settings import load_settings

    archive, mountpoint = archive.absolute(), mountpoint.absolute()
    if clear_dead_mount(mountpoint):
        print(printable(f"cryofs: {mountpoint}: a dead mount was in the way, and is cleared"), file=sys.stderr)
    check_mountpoint(archive, mountpoint)
    chosen: dict[str, Any] = {
        "cache_size": cache_size,
        "jobs": jobs,
        "readahead": readahead,
        "metrics": metrics,
        "request_timeout": request_timeout,
        "eer_grouping": eer_grouping,
        "eer_dose_per_fraction": eer_dose_per_fraction,
        "eer_upsampling": eer_upsampling,
        "eer_dtype": eer_dtype and eer_dtype.value,
        "eer_leftover": eer_leftover and eer_leftover.value,
        "eer_gain": str(eer_gain.absolute()) if eer_gain else None,
        "eer_apply_gain": eer_apply_gain,
    }
    settings = load_settings(archive, chosen)
    if foreground:
        set_up(log_level.value, log_format.value)
        serve(archive, mountpoint, settings, options, lambda: _tell_parent(ready_fd))
        return
    arguments = ["mount", str(archive), str(mountpoint), "--foreground"]
    arguments += ["-o", options] if options else []
    arguments += ["--log-level", log_level.value, "--log-format", log_format.value]
    for name, value in chosen.items():
        if value is not None:
            arguments += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
    serve_in_background([*arguments, "--ready-fd"], mountpoint, log_file or _default_log(mountpoint))


def _tell_parent(descriptor: int | None) -> None:
    if descriptor is not None:
        os.write(descriptor, b"1")
        os.close(descriptor)


def _default_log(mountpoint: Path) -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "cryofs" / (str(mountpoint).strip("/").replace("/", "-") + ".log")
