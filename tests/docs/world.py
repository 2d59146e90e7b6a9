"""A disposable world for the commands of the documentation.

It is a copy of this machine that discards all changes: an overlay of the whole file tree with a layer in memory, in
private mount and process namespaces. `/data`, `/archive` and `/mnt` contain only files of the test.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support import DETACH_MOUNTS

HOME = Path("/home/reader")
_BUILD = (
    DETACH_MOUNTS
    + """
set -e
world=$1 script=$2; shift 2
mount -t tmpfs cryofs-docs "$world"
mkdir "$world/upper" "$world/work" "$world/root"
mount -t overlay -o "lowerdir=/,upperdir=$world/upper,workdir=$world/work" cryofs-docs "$world/root"
for each in dev proc sys; do mount --rbind "/$each" "$world/root/$each"; done
for each in $MOUNTS; do
    mount --bind "$each" "$world/root$each"
    mount -o remount,bind,ro "$world/root$each"
done
for each in data archive mnt; do
    mkdir -p "$world/root/$each"
    mount -t tmpfs cryofs-docs "$world/root/$each"
done
# files of a cryofs installation on this machine
rm -rf "$world/root"/{,usr/}sbin/mount{,.fuse}.cryofs "$world/root"/etc/{cryofs,systemd/system/cryofs@.service} \
    "$world/root/usr/local/bin/cryofs"
[ ! -e "$world/root/etc/fstab" ] || sed -i /cryofs/d "$world/root/etc/fstab"
mkdir -p "$world/root$HOME"
for each in "$@"; do cp -a "$each/." "$world/root/"; done
exec chroot "$world/root" bash -c 'cd "$HOME" && exec bash -e -c "$0"' "$script"
"""
)


def _mount_of(path: Path) -> Path:
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.is_mount())


def run(script: str, place: Path, trees: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
    """Run shell commands in a new world, up to the first that fails.

    Parameters
    ----------
    place : Path
        An empty folder of this machine, used to mount the world.
    trees : sequence of Path
        Folders whose contents are copied to the root of the world.
    """
    environment = {
        # the sources that are tested, where another place is installed
        **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
        "HOME": str(HOME),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        "MOUNTS": " ".join(
            sorted({str(_mount_of(Path(each))) for each in (__file__, sys.prefix, sys.base_prefix)} - {"/"})
        ),
    }
    unshare = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*unshare, "bash", "-c", _BUILD, "bash", str(place), script, *map(str, trees)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
