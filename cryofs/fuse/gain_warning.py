"""Log a warning if the gain reference of a mount's EER movies has the wrong orientation, or does not match them.

The check takes seconds, so it uses one movie, and runs in a low-priority thread once the mount is live.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from cryofs.config.choices import EerGainConvention
from cryofs.config.settings import Settings

_LOWEST_PRIORITY = 19

log = logging.getLogger("cryofs")


def background_check(archive: Path, mountpoint: Path, settings: Settings) -> Callable[[], None]:
    """Return a function that starts the check; it does nothing if no gain reference is set.

    The kernel may wait for the mount while the returned function runs, so only this function accesses the mountpoint. A
    mount over its own archive is not checked, because the archive would be read through the mount.
    """
    if settings.eer_gain is None or mountpoint.samefile(archive):
        return lambda: None
    arguments = archive, Path(settings.eer_gain), settings.gain_orientation, settings.eer_gain_convention
    return lambda: threading.Thread(target=check, args=arguments, name="gain", daemon=True).start()


def check(archive: Path, gain: Path, orientation: str | None, convention: EerGainConvention | None) -> None:
    """Check a gain reference with the first EER movie of an archive."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
    # imported late, because mounts without EER movies do not need the kernels of the check
    from cryofs.gain.gain_check import warn_of
    from cryofs.kernels.orientation import orientation_of
    from cryofs.movies.eer_files import first_eer
    from cryofs.movies.eer_gain_use import convention_of

    if (found := first_eer(archive)) is not None:
        used = orientation_of(orientation), convention_of(gain, convention)
        if warning := warn_of(gain, found[0], 1, *used):
            log.warning("%s", warning)
