"""Warn in the log if the gain reference of the EER movies of a mount is turned, or does not belong to them.

The check takes seconds, so it runs in a thread of low priority once the mount is live, and uses one movie.
"""

import contextlib
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from cryofs.config.choices import EerGainConvention
from cryofs.config.settings import Settings

# Files among which an EER movie is looked for.
_MOST_FILES = 10_000
_LOWEST_PRIORITY = 19

log = logging.getLogger("cryofs")


def background_check(archive: Path, mountpoint: Path, settings: Settings) -> Callable[[], None]:
    """Return a function that starts the check; it does nothing if the settings name no gain reference.

    The function may be called while the kernel waits for the mount, so it does not look at the mountpoint; this one
    does. A mount over its archive is not checked, because the archive would be read through the mount.
    """
    if settings.eer_gain is None or mountpoint.samefile(archive):
        return lambda: None
    arguments = archive, Path(settings.eer_gain), settings.gain_orientation, settings.eer_gain_convention
    return lambda: threading.Thread(target=check, args=arguments, name="gain", daemon=True).start()


def check(archive: Path, gain: Path, orientation: str | None, convention: EerGainConvention | None) -> None:
    """Check a gain reference with the first EER movie of an archive."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
    # the kernels of the check are not needed by mounts without EER movies
    from cryofs.gain.gain_check import warn_of
    from cryofs.kernels.orientation import orientation_of
    from cryofs.movies.eer_gain_use import convention_of
    from cryofs.movies.registry import rendered_name

    movie = next((path for path in _files(archive) if rendered_name(path.name) is not None), None)
    if movie is not None:
        used = orientation_of(orientation), convention_of(gain, convention)
        if warning := warn_of(gain, movie, 1, *used):
            log.warning("%s", warning)


def _files(archive: Path) -> Iterator[Path]:
    every = (Path(folder) / name for folder, _, names in os.walk(archive) for name in sorted(names))
    return itertools.islice(every, _MOST_FILES)
