"""The import of mfusepy, told first to load libfuse 3 where libfuse 2 is installed too.

libfuse 2 never asks for more than 128 KiB at a time. The choice is made by an environment variable that mfusepy reads
when it is imported.
"""

import os

from cryofs.errors import MountError

os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")

try:
    import mfusepy
except OSError as error:
    raise MountError("libfuse 3 is missing; install it (Debian: apt-get install fuse3)") from error

__all__ = ["mfusepy"]
