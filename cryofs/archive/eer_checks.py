"""Find EER files of an archive that look damaged: truncated, or not EER at all.

A mount shows no movie of fractions for such a file. A check reads the directories of all its frames, which takes
milliseconds from memory and seconds from a busy disk, so checks have a time limit.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryofs.movies.registry import damage

# The time limit of a check while a user waits.
SECONDS = 10.0


@dataclass
class EerCheck:
    """Results of checking EER files.

    Attributes
    ----------
    files, looked_at : int
        Numbers of existing and of checked files.
    damaged : dict
        Path of each file that looks damaged, and the error message.
    """

    files: int = 0
    looked_at: int = 0
    damaged: dict[Path, str] = field(default_factory=dict)


def check_eers(paths: Sequence[Path], seconds: float = SECONDS) -> EerCheck:
    """Check EER files until the time limit, in an order that samples the whole archive.

    Files that cannot be read count as not checked.
    """
    check = EerCheck(len(paths))
    until = time.monotonic() + seconds
    for path in random.Random(0).sample(paths, len(paths)):
        if time.monotonic() >= until:
            break
        try:
            found = damage(path)
        except OSError:
            continue
        check.looked_at += 1
        if found is not None:
            check.damaged[path] = str(found)
    return check
