"""Names of extended attributes: those of programs, `user.*`, and those of cryofs, which programs do not see."""

import os
from pathlib import Path

USER = "user."
# Prefix of the attributes of cryofs: of stored files, and of files of a mount.
OWN = USER + "cryofs."


def is_users(name: str) -> bool:
    """Return True if an attribute belongs to programs."""
    return name.startswith(USER) and not name.startswith(OWN)


def users_attributes(file: Path | int) -> list[str]:
    """Return the names of the attributes of a file that belong to programs."""
    return [name for name in os.listxattr(file) if is_users(name)]
