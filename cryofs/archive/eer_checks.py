"""Find files of an archive with the name of an EER file that are truncated or are not EER files.

For such a file, a mount shows no movie of fractions. A check reads the directories of all frames of a file, which takes
milliseconds from memory but seconds from a busy disk, so checks have a time limit.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryofs.movies.registry import damage

# Time limit in seconds for checks while a user waits.
SECONDS = 10.0


@dataclass
class EerCheck:
    """Results of checks of EER files.

    Attributes
    ----------
    files : int
        Number of EER files.
    looked_at : int
        Number of EER files that were checked.
    damaged : dict
        Error message of each damaged file, by path.
    """

    files: int = 0
    looked_at: int = 0
    damaged: dict[Path, str] = field(default_factory=dict)


def check_eers(paths: Sequence[Path], seconds: float = SECONDS) -> EerCheck:
    """Check EER files in a fixed random order until `seconds` have passed, and return the results.

    Unreadable files count as not checked.
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
