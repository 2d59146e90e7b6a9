"""Import mfusepy with libfuse 3, even if libfuse 2 is installed too.

libfuse 2 limits requests to 128 KiB. mfusepy reads the environment variable that selects the library when it is
imported.
"""

import os

from cryofs.errors import MountError

os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")

try:
    import mfusepy
except OSError as error:
    raise MountError("missing libfuse 3; install it (Debian: apt-get install fuse3)") from error

__all__ = ["mfusepy"]
