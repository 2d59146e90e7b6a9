"""`cryofs mount`: mount an archive as its original files."""

import sys
from pathlib import Path
from typing import Any, get_args

import click

from cryofs.cli.eer import eer_options
from cryofs.cli.parameters import MOUNTPOINT, PATH, break_lock_option, gain_orientation_option
from cryofs.config.choices import GainOrientation
from cryofs.system.logs import Format, Level
from cryofs.system.paths import check_archive
from cryofs.system.resources import default_cache_size
from cryofs.text import printable, size_text

_CACHE_DEFAULT = f"a quarter of the usable memory, at most 16GiB; here {size_text(default_cache_size())}"
_LOG_DEFAULT = "~/.local/state/cryofs/*.log; for root /var/log/cryofs/*.log"


@click.command("mount")
@click.argument("archive", type=PATH, help="Folder of the archive.")
@click.argument("mountpoint", type=MOUNTPOINT, help="Empty folder to mount on.")
@click.option("-f", "--foreground", is_flag=True, help="Run in the foreground.")
@click.option(
    "-o",
    "options",
    default="",
    metavar="OPTIONS",
    help="Mount options, separated by commas: allow_other, uid=, gid=, umask=, nonempty, other FUSE options, and each "
    "option below by name, for example cache_size=8GiB.",
)
@click.option("--cache-size", metavar="SIZE", show_default=_CACHE_DEFAULT, help="Memory for decoded frames.")
@click.option("--jobs", type=click.IntRange(1), show_default="all cores", help="Number of decoding threads.")
@click.option("--readahead", metavar="SIZE", show_default="1MiB", help="Kernel read-ahead; only root can raise it.")
@click.option("--metrics", metavar="ADDRESS", help="Serve metrics for Prometheus at PORT or HOST:PORT.")
@click.option(
    "--request-timeout",
    type=float,
    metavar="SECONDS",
    show_default="60",
    help="Seconds after which a read fails if storage does not respond.",
)
@click.option(
    "--writable",
    is_flag=True,
    help="Let programs write files, which the archive keeps; -o settle=, ingest_jobs=, gain=, reserve= and "
    "close= go with it.",
)
@break_lock_option
@eer_options
@gain_orientation_option("--eer-gain")
@click.option("--log-file", type=PATH, show_default=_LOG_DEFAULT, help="Log file of a background mount.")
@click.option("--log-level", type=click.Choice(get_args(Level)), show_default="info", help="Lowest severity to log.")
@click.option(
    "--log-format",
    type=click.Choice(get_args(Format)),
    show_default="text",
    help="Log lines of text, or one JSON object per line.",
)
def command(
    archive: Path,
    mountpoint: Path,
    foreground: bool,
    options: str,
    cache_size: str | None,
    jobs: int | None,
    readahead: str | None,
    metrics: str | None,
    request_timeout: float | None,
    writable: bool,
    break_lock: bool,
    eer_settings: dict[str, Any],
    gain_orientation: GainOrientation | None,
    log_file: Path | None,
    log_level: Level | None,
    log_format: Format | None,
) -> None:
    """Mount an archive as its original files.

    Every tool reads the original MRC files, which are decoded on demand. Returns when the mount is live. A stale mount
    on MOUNTPOINT, left by a killed process, is removed first.

    Each EER file X.eer also appears as X.mrc, with its frames grouped into fractions. The root has further folders that
    are not listed: @up2_gr8 and similar show other upsamplings and groupings, @up2crop1_gr8 and similar crop them in
    Fourier space, @counts shows gain-normalised movies as counts, and @archive shows the archive itself.

    Example: cryofs mount /archive/session /mnt/movies
    """
    settings: dict[str, Any] = {
        "cache_size": cache_size,
        "jobs": jobs,
        "readahead": readahead,
        "metrics": metrics,
        "request_timeout": request_timeout,
        "gain_orientation": gain_orientation,
    }
    given = {name: value for name, value in settings.items() if value is not None} | eer_settings
    log = str(log_file.absolute()) if log_file else None
    logging = {"log_file": log, "log_level": log_level, "log_format": log_format}
    switches = [name for name, is_set in (("writable", writable), ("break_lock", break_lock)) if is_set]
    listed = ",".join(filter(None, [options, *switches]))
    _mount(archive.absolute(), mountpoint.absolute(), listed, given, logging, foreground=foreground)


def _mount(
    archive: Path,
    mountpoint: Path,
    options: str,
    given: dict[str, Any],
    logging: dict[str, Any],
    *,
    foreground: bool,
) -> None:
    import msgspec

    from cryofs.config.mount_options import parse_options
    from cryofs.config.settings import load_settings
    from cryofs.fuse.control import place_of
    from cryofs.fuse.daemon import check_mountpoint, serve_here, serve_in_background
    from cryofs.fuse.log_file import open_log
    from cryofs.fuse.unmounting import clear_dead_mount
    from cryofs.ingest.mounting import archived_movies

    mountpoint = place_of(mountpoint)
    parsed, listed_settings = parse_options(options)
    _check_once(given, listed_settings)
    _check_once(logging, msgspec.structs.asdict(parsed))
    if clear_dead_mount(mountpoint):
        print(printable(f"cryofs: {mountpoint}: removed a stale mount"), file=sys.stderr)
    check_archive(archive)
    check_mountpoint(archive, mountpoint, nonempty=parsed.nonempty)
    settings = load_settings(archive, listed_settings | given)
    if not settings.suits_every_eer_file:
        from cryofs.vfs.eer_check import check_eer

        for line in check_eer(archive, settings):
            print(printable(f"cryofs: {line}"), file=sys.stderr)
    chosen = msgspec.structs.replace(parsed, **{name: value for name, value in logging.items() if value is not None})
    make_archived = archived_movies(settings) if chosen.writable else None
    if foreground:
        serve_here(archive, mountpoint, settings, chosen, lambda: None, make_archived)
        return
    log = open_log(mountpoint, chosen.log_file)
    if log.warning:
        print(printable(f"cryofs: {log.warning}"), file=sys.stderr)
    serve_in_background(archive, mountpoint, settings, chosen, log, make_archived)


def _check_once(options: dict[str, Any], listed: dict[str, Any]) -> None:
    """Raise UsageError for a setting that is given both as an option and in the list of -o."""
    from cryofs.errors import UsageError

    for name, value in options.items():
        if value is not None and listed.get(name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} and -o {name} are mutually exclusive; set only one")
