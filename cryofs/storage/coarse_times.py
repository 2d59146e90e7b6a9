"""Compare times of files where storage rounds them: 100 ns on SMB, 10 ms to 2 s on exFAT and FAT, 1 s on s3fs."""

import contextlib
import os
from pathlib import Path

from cryofs.storage import changes
from cryofs.storage.atomic_file import draft

# To what storage rounds times, in nanoseconds.
_STEPS = (2_000_000_000, 1_000_000_000, 10_000_000, 1_000_000, 1_000, 100)
# An odd second, and digits other than 0 in all places.
_PROBE_NS = 1_700_000_001_987_654_321
# How much finer a time must be than a rounded one, to show that the difference is due to rounding.
_FINER = 10

# The step of each storage, by device number.
_steps: dict[int, int] = {}


def is_same_time(stored_ns: int, original_ns: int, folder: Path) -> bool:
    """Return True if a stored file has the time of its original, or if the storage has rounded it.

    A stored time shows its rounding itself: it is a multiple of a step, and the time of the original is finer. If the
    time of the original is not finer, the storage is asked, with a draft in `folder`.

    Parameters
    ----------
    stored_ns, original_ns : int
        Modification times in nanoseconds.
    folder : Path
        A folder on the storage of the stored file.
    """
    difference = abs(stored_ns - original_ns)
    if difference == 0 or difference >= _STEPS[0]:
        return difference == 0
    step = _step_of(stored_ns)
    if difference >= step:
        return False
    return _step_of(original_ns) * _FINER <= step or difference < _step_of_storage(folder)


def _step_of(time_ns: int) -> int:
    """Return the largest step that a time is a multiple of, in nanoseconds."""
    return next((step for step in _STEPS if time_ns % step == 0), 1)


def _step_of_storage(folder: Path) -> int:
    """Return the step to which the storage of a folder rounds times, 1 if the folder is not writable."""
    device = folder.stat().st_dev
    if device not in _steps:
        _steps[device] = 1
        with contextlib.suppress(OSError), draft(folder / "probe") as made:
            changes.disk.set_times(made.file.fileno(), _PROBE_NS, _PROBE_NS)
            error = abs(os.stat(made.path).st_mtime_ns - _PROBE_NS)  # noqa: PTH116 - as the storage shows it by name
            _steps[device] = next((step for step in reversed(_STEPS) if error < step), 1) if error else 1
    return _steps[device]
