"""Which EER files of an archive look damaged: cut short, or full of what is not EER.

A mount shows no movie of fractions for such a file. To find out, the directories of all its frames have to be read,
which takes milliseconds from memory and seconds from a disk that is busy, so a check ends after a while.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryofs.movies.registry import damage

# A check for a person who waits takes about so long at most.
SECONDS = 10.0


@dataclass
class EerCheck:
    """What was found of EER files.

    Attributes
    ----------
    files, looked_at : int
        How many there are, and how many were looked at.
    damaged : dict
        Path of each file that looks damaged: problem and remedy, with the path.
    """

    files: int = 0
    looked_at: int = 0
    damaged: dict[Path, str] = field(default_factory=dict)


def check_eers(paths: Sequence[Path], seconds: float = SECONDS) -> EerCheck:
    """Look at EER files until the time has passed, in an order that spreads those over the archive.

    Files that cannot be read count as not looked at.
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
