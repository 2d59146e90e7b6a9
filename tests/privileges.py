"""What the user who runs the tests may do; root of a container or of a user namespace may do less than other root."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path


def _has_all_users() -> bool:
    try:
        first, _, count = Path("/proc/self/uid_map").read_text().split()
    except (OSError, ValueError):
        return False
    return (first, count) == ("0", str(2**32 - 1))


def _can_mount() -> bool:
    """Try it: no other sign covers capabilities, the owner of the mount namespace, and security modules."""
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
    return True


# may act as any user, and give files away
IS_ROOT = os.geteuid() == 0 and _has_all_users()
# may mount file systems, bind mounts among them
CAN_MOUNT = os.geteuid() == 0 and (IS_ROOT or _can_mount())
# may mount archives; users other than root mount with fusermount3
CAN_USE_FUSE = (
    shutil.which("fusermount3") is not None
    and os.access("/dev/fuse", os.R_OK | os.W_OK)
    and (CAN_MOUNT or os.geteuid() != 0)
)
