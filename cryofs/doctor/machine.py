"""Can this machine mount, and how well: checks of `cryofs doctor` that concern no mount of its own.

Each check is a function of what it looks at, so that tests can show it other machines. `root` is the folder that holds
/dev, /etc, /proc and /sys.
"""

import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from cryofs.doctor.finding import Finding, ok, problem, tried, warning
from cryofs.errors import MountError
from cryofs.fuse.control import FILE_SYSTEM_TYPE
from cryofs.system.mount_table import mount_table
from cryofs.system.resources import ROOT, default_cache_size, memory_limits, process_limit, usable_cores
from cryofs.vfs.index_db import index_path

_INSTALL = "install FUSE 3 as root (Debian: apt-get install fuse3)"
# What fusermount3 allows where fuse.conf says nothing.
_MOUNT_MAX = 1000
# What systems give a process at least, as a rule; each open movie takes a descriptor.
_OPEN_FILES = 1024


def check_machine(root: Path = ROOT) -> list[Finding]:
    """All checks of this machine, as the user who runs this."""
    as_root = os.geteuid() == 0
    checks: dict[str, Callable[[], Finding | None]] = {
        "fusermount3": lambda: check_mount_command(shutil.which("fusermount3"), as_root, root),
        "libfuse 3": check_library,
        "/dev/fuse": lambda: check_device(root),
        "-o allow_other": lambda: check_other_users(as_root, root),
        "number of mounts": lambda: check_number_of_mounts(as_root, root),
        "read-ahead of mounts": lambda: check_readahead_rights(root),
        "updatedb": lambda: check_updatedb(root),
        "index": lambda: check_index_folder(index_path(root)),
        "memory": lambda: check_memory(root),
        "cores": lambda: check_cores(root),
        "open files": lambda: check_open_files(root),
    }
    return [finding for name, check in checks.items() for finding in tried(name, check)]


def check_mount_command(tool: str | None, as_root: bool, root: Path = ROOT) -> Finding:
    """The program by which users mount; it has to run as root."""
    if tool is None:
        # root mounts without it
        return warning("fusermount3: missing, so only root can mount", _INSTALL) if as_root else _no_command()
    status = Path(tool).stat()
    setuid = status.st_mode & stat.S_ISUID and status.st_uid == 0 and not os.statvfs(tool).f_flag & os.ST_NOSUID
    if not setuid:
        what = f"{tool}: does not run as root, so only root can mount"
        remedy = f"as root: chown root {tool} && chmod u+s {tool}, on a file system mounted without nosuid"
        return warning(what, remedy) if as_root else problem(what, remedy)
    if not as_root and re.search(r"^NoNewPrivs:\s*1", (root / "proc/self/status").read_text(), re.MULTILINE):
        return problem(
            f"{tool}: this process and what it starts may not become root (no_new_privs)",
            "allow it where the service or container is started (NoNewPrivileges=no, allowPrivilegeEscalation: true)",
        )
    return ok(f"{tool}: there, and runs as root")


def _no_command() -> Finding:
    return problem("fusermount3: missing, and users other than root mount by it", _INSTALL)


def load_library() -> None:
    """Load libfuse 3 as a mount does."""
    import cryofs.fuse.libfuse  # noqa: F401


def check_library(load: Callable[[], None] = load_library) -> Finding:
    """The FUSE library."""
    try:
        load()
    except MountError:
        return problem("libfuse 3: missing, or not loadable", _INSTALL)
    return ok("libfuse 3: loads")


def check_device(root: Path = ROOT) -> Finding:
    """The device by which a mount talks to the kernel. To open it is the only true test, and loads the module."""
    try:
        os.close(os.open(root / "dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if not re.search(r"\sfuse$", (root / "proc/filesystems").read_text(), re.MULTILINE):
            return problem("/dev/fuse: the kernel has no FUSE", "load its module as root: modprobe fuse")
        if isinstance(error, FileNotFoundError):
            return problem(
                "/dev/fuse: missing",
                "in a container, pass it in (--device /dev/fuse --cap-add SYS_ADMIN); else mknod /dev/fuse c 10 229",
            )
        return problem(
            f"/dev/fuse: cannot be opened ({error.strerror})",
            "as root: chmod 666 /dev/fuse, or join the group that owns it; in a container, pass the device in",
        )
    return ok("/dev/fuse: there, and may be opened")


def check_other_users(as_root: bool, root: Path = ROOT) -> Finding:
    """Whether a mount may be opened to other users."""
    if as_root or users_may_allow_others(root):
        return ok("-o allow_other: may be used")
    return warning(
        "-o allow_other: only root may open mounts to other users",
        "if other users shall read your mounts, have root put the line user_allow_other into /etc/fuse.conf",
    )


def users_may_allow_others(root: Path = ROOT) -> bool:
    """Whether users other than root may mount with allow_other."""
    return re.search(r"^user_allow_other\s*$", _fuse_conf(root), re.MULTILINE) is not None


def check_number_of_mounts(as_root: bool, root: Path = ROOT) -> Finding:
    """How many FUSE mounts there may be."""
    count = sum(mount.kind.split(".")[0] in ("fuse", "fuseblk") for mount in mount_table(root / "proc/self/mountinfo"))
    said = re.search(r"^mount_max = (\d+)", _fuse_conf(root), re.MULTILINE)
    allowed = int(said[1]) if said else _MOUNT_MAX
    if not as_root and count >= allowed:
        return problem(
            f"{count} FUSE mounts, and users may mount while there are fewer than {allowed}",
            "unmount some, or raise mount_max in /etc/fuse.conf as root",
        )
    return ok(f"{count} FUSE mounts of {allowed} that users may make")


def check_readahead_rights(root: Path = ROOT) -> Finding:
    """Whether mounts can have the kernel read ahead further than its 128 KiB."""
    devices = list((root / "sys/class/bdi").glob("*/read_ahead_kb"))
    if any(os.access(path, os.W_OK, effective_ids=True) for path in devices):
        return ok("read-ahead of mounts: may be raised")
    return warning(
        "read-ahead of mounts: may not be raised here, it stays at what the kernel sets",
        "mount as root with a writable /sys, or have root add the udev rule in the documentation (Operations)",
    )


def check_updatedb(root: Path = ROOT) -> Finding | None:
    """Whether updatedb walks mounts; nothing where there is no updatedb."""
    try:
        said = (root / "etc/updatedb.conf").read_text()
    except OSError:
        return None
    pruned = re.search(r"^\s*PRUNEFS\s*=\s*\"([^\"]*)\"", said, re.MULTILINE)
    if pruned and FILE_SYSTEM_TYPE in pruned[1].lower().split():
        return ok("updatedb: leaves mounts of cryofs alone")
    return warning("updatedb: walks every mount", f"as root: add {FILE_SYSTEM_TYPE} to PRUNEFS in /etc/updatedb.conf")


def check_index_folder(index: Path | None) -> Finding:
    """Whether a mount can keep its index for the next one."""
    if index is None:
        return warning("index: not kept, as this user has no home", "set XDG_CACHE_HOME to a folder that is writable")
    folder = next(folder for folder in index.parents if os.access(folder, os.F_OK))
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return ok(f"{index.parent}: writable, keeps the index of archives")
    return warning(
        f"{index.parent}: not writable, so every mount reads all records anew",
        "create it as a folder that this user may write to, or set XDG_CACHE_HOME to one that is there",
    )


def check_memory(root: Path = ROOT) -> Finding:
    """Memory, and the cache that follows."""
    limits = memory_limits(root)
    by = min(limits, key=lambda who: limits[who])
    return ok(
        f"memory: {_gib(limits[by])} may be used, bounded by {by}; "
        f"a mount keeps up to {_gib(default_cache_size(root))} of decoded frames"
    )


def check_cores(root: Path = ROOT) -> Finding:
    """Cores, and what takes some away."""
    return ok(f"cores: {usable_cores(root)} may be used, of {os.cpu_count()}")


def check_open_files(root: Path = ROOT) -> Finding:
    """The limit of open files; every movie that a program has open takes one in the mount, too."""
    limit = process_limit("Max open files", root)
    if limit is not None and limit < _OPEN_FILES:
        return warning(
            f"open files: at most {limit} in a process, and every movie that is open takes one",
            f"before mounting: ulimit -n {_OPEN_FILES}, or more (LimitNOFILE= of a service)",
        )
    return ok(f"open files: {'any number' if limit is None else limit} in a process")


def _fuse_conf(root: Path) -> str:
    try:
        return (root / "etc/fuse.conf").read_text()
    except OSError:
        return ""


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
