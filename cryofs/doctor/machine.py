"""Check the requirements for mounting and the resources of the machine for `cryofs doctor`.

Each check is a function of its inputs, so that tests can pass simulated machines. `root` is the folder that contains
/dev, /etc, /proc and /sys.
"""

import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from cryofs.doctor.finding import Finding, ok, problem, run_check, warning
from cryofs.errors import MountError
from cryofs.fuse.control import FILE_SYSTEM_TYPE
from cryofs.system.mount_table import mount_table
from cryofs.system.request_limit import request_limit
from cryofs.system.resources import ROOT, default_cache_size, memory_limits, process_limit, system_text, usable_cores
from cryofs.vfs.index_db import index_path

_INSTALL = "install FUSE 3 as root (Debian: apt-get install fuse3)"
# Limit that fusermount3 uses if fuse.conf does not set mount_max.
_MOUNT_MAX = 1000
# Time that slow storage, such as a disk that has to start, may take.
_PATIENCE_SECONDS = 20.0
# Expected limit of open files, a common default; each open movie uses a descriptor.
_OPEN_FILES = 1024


def check_machine(root: Path = ROOT) -> list[Finding]:
    """Return the findings of all checks of this machine for the current user."""
    as_root = os.geteuid() == 0
    checks: dict[str, Callable[[], Finding | None]] = {
        "fusermount3": lambda: check_mount_command(shutil.which("fusermount3"), as_root, root),
        "libfuse 3": check_library,
        "/dev/fuse": lambda: check_device(root),
        "-o allow_other": lambda: check_other_users(as_root, root),
        "time limit of requests": lambda: check_request_limit(root),
        "number of mounts": lambda: check_number_of_mounts(as_root, root),
        "read-ahead of mounts": lambda: check_readahead_rights(root),
        "updatedb": lambda: check_updatedb(root),
        "index": lambda: check_index_folder(index_path(root)),
        "memory": lambda: check_memory(root),
        "cores": lambda: check_cores(root),
        "open files": lambda: check_open_files(root),
        "compiled code": check_compiled_code,
    }
    return [finding for name, check in checks.items() for finding in run_check(name, check)]


def check_mount_command(tool: str | None, as_root: bool, root: Path = ROOT) -> Finding:
    """Check that fusermount3, which users other than root need to mount, is installed and setuid root."""
    if tool is None:
        # root does not need it
        return warning("fusermount3: missing, so only root can mount", _INSTALL) if as_root else _no_command()
    status = Path(tool).stat()
    setuid = status.st_mode & stat.S_ISUID and status.st_uid == 0 and not os.statvfs(tool).f_flag & os.ST_NOSUID
    if not setuid:
        what = f"{tool}: not setuid root, so only root can mount"
        remedy = f"as root: chown root {tool} && chmod u+s {tool}; its file system must be mounted without nosuid"
        return warning(what, remedy) if as_root else problem(what, remedy)
    if not as_root and re.search(r"^NoNewPrivs:\s*1", system_text(root / "proc/self/status"), re.MULTILINE):
        return problem(
            f"{tool}: no_new_privs prevents this process from running it as root",
            "change the service or container (NoNewPrivileges=no, allowPrivilegeEscalation: true)",
        )
    return ok(f"{tool}: installed and setuid root")


def _no_command() -> Finding:
    return problem("fusermount3: missing, but users other than root need it to mount", _INSTALL)


def load_library() -> None:
    """Load libfuse 3 in the same way as a mount; raise an error if it is missing."""
    import cryofs.fuse.libfuse  # noqa: F401


def check_library(load: Callable[[], None] = load_library) -> Finding:
    """Check that the FUSE library loads."""
    try:
        load()
    except MountError:
        return problem("libfuse 3: missing or not loadable", _INSTALL)
    return ok("libfuse 3: loads")


def check_device(root: Path = ROOT) -> Finding:
    """Check that /dev/fuse can be opened; opening the device also loads the kernel module."""
    try:
        os.close(os.open(root / "dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if not re.search(r"\sfuse$", system_text(root / "proc/filesystems"), re.MULTILINE):
            return problem("/dev/fuse: the kernel does not support FUSE", "as root: modprobe fuse")
        if isinstance(error, FileNotFoundError):
            return problem(
                "/dev/fuse: missing",
                "in a container, pass the device (--device /dev/fuse --cap-add SYS_ADMIN); otherwise as root: "
                "mknod /dev/fuse c 10 229",
            )
        return problem(
            f"/dev/fuse: opening it failed ({error.strerror})",
            "as root: chmod 666 /dev/fuse, or join the group that owns it; in a container, pass the device",
        )
    return ok("/dev/fuse: accessible")


def check_other_users(as_root: bool, root: Path = ROOT) -> Finding:
    """Check whether this user may mount with allow_other."""
    if as_root or users_may_allow_others(root):
        return ok("-o allow_other: permitted")
    return warning(
        "-o allow_other: only permitted for root",
        "to let other users read your mounts, ask root to add the line user_allow_other to /etc/fuse.conf",
    )


def users_may_allow_others(root: Path = ROOT) -> bool:
    """Return True if users other than root may mount with allow_other."""
    return re.search(r"^user_allow_other\s*$", _fuse_conf(root), re.MULTILINE) is not None


def check_number_of_mounts(as_root: bool, root: Path = ROOT) -> Finding:
    """Check that the number of FUSE mounts is below the limit for users."""
    count = sum(mount.kind.split(".")[0] in ("fuse", "fuseblk") for mount in mount_table(root / "proc/self/mountinfo"))
    limit = re.search(r"^mount_max = (\d+)", _fuse_conf(root), re.MULTILINE)
    allowed = int(limit[1]) if limit else _MOUNT_MAX
    if not as_root and count >= allowed:
        return problem(
            f"{count} FUSE mounts; users may create at most {allowed}",
            "unmount some, or as root: raise mount_max in /etc/fuse.conf",
        )
    return ok(f"{count} FUSE mounts of {allowed} that users may create")


def check_request_limit(root: Path = ROOT) -> Finding:
    """Check the time that the kernel gives a FUSE request; it ends a mount that takes longer."""
    limit = request_limit(root / "proc/sys/fs/fuse")
    if limit is None:
        return ok("time limit of requests: none set by this kernel")
    text = (
        f"time limit of requests: {limit.seconds} s ({limit.name}); this kernel ends mounts that take longer, so reads "
        f"fail after {limit.storage_seconds:g} s if storage does not respond"
    )
    if limit.storage_seconds >= _PATIENCE_SECONDS:
        return ok(text)
    return warning(text, f"if storage is slower at times, as root before mounting: sysctl -w {limit.name}=180")


def check_readahead_rights(root: Path = ROOT) -> Finding:
    """Check whether mounts can raise the read-ahead of the kernel above its default of 128 KiB."""
    devices = list((root / "sys/class/bdi").glob("*/read_ahead_kb"))
    if any(os.access(path, os.W_OK, effective_ids=True) for path in devices):
        return ok("read-ahead of mounts: can be raised")
    return warning(
        "read-ahead of mounts: cannot be raised here, so the default of the kernel applies",
        "mount as root with a writable /sys, or ask root to install the udev rule in the documentation (Operations)",
    )


def check_updatedb(root: Path = ROOT) -> Finding | None:
    """Check that updatedb skips mounts; return None if there is no updatedb."""
    try:
        text = system_text(root / "etc/updatedb.conf")
    except OSError:
        return None
    pruned = re.search(r"^\s*PRUNEFS\s*=\s*\"([^\"]*)\"", text, re.MULTILINE)
    if pruned and FILE_SYSTEM_TYPE in pruned[1].lower().split():
        return ok("updatedb: skips mounts of cryofs")
    return warning("updatedb: indexes every mount", f"as root: add {FILE_SYSTEM_TYPE} to PRUNEFS in /etc/updatedb.conf")


def check_index_folder(index: Path | None) -> Finding:
    """Check that a mount can save an index for the next mount."""
    if index is None:
        return warning(
            "index: not saved, because this user has no home folder", "set XDG_CACHE_HOME to a writable folder"
        )
    folder = next(folder for folder in index.parents if os.access(folder, os.F_OK))
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return ok(f"{index.parent}: writable, contains the indexes of archives")
    return warning(
        f"{index.parent}: not writable, so each mount reads all records again",
        "make it writable for this user, or set XDG_CACHE_HOME to a writable folder",
    )


def check_memory(root: Path = ROOT) -> Finding:
    """Return a finding with the usable memory and the default cache size."""
    limits = memory_limits(root)
    source = min(limits, key=lambda name: limits[name])
    return ok(
        f"memory: {_gib(limits[source])} usable, limited by {source}; "
        f"a mount caches up to {_gib(default_cache_size(root))} of decoded frames"
    )


def check_cores(root: Path = ROOT) -> Finding:
    """Return a finding with the number of usable cores."""
    return ok(f"cores: {usable_cores(root)} of {os.cpu_count()} usable")


def check_open_files(root: Path = ROOT) -> Finding:
    """Check the hard limit of open files, to which a mount raises its soft limit."""
    limit = process_limit("Max open files", root, hard=True)
    if limit is not None and limit < _OPEN_FILES:
        return warning(
            f"open files: limit too low for many open movies (expected {_OPEN_FILES}, got {limit})",
            f"raise the limit before mounting (ulimit -n {_OPEN_FILES}, limits.conf(5), or LimitNOFILE= of a service)",
        )
    return ok(f"open files: {'no limit' if limit is None else limit} for a mount")


def check_compiled_code() -> Finding:
    """Check that the program is compiled for this processor, so that commands start at once."""
    # imports numba, which takes half a second
    from cryofs.codecs import compiled
    from cryofs.kernels import warm_up  # noqa: F401 - imports all kernels

    stored = compiled.stored()
    if stored.for_all == stored.kernels:
        return ok("compiled code: used from the folders of the program, for all users")
    missing = stored.kernels - stored.for_all - stored.for_user
    if not missing:
        return ok(f"compiled code: used from {stored.own[0].parent}, for this user")
    return warning(
        f"compiled code: missing for {missing} of {stored.kernels} kernels on this type of processor, so the next "
        "command compiles them",
        "run cryofs warm, as the owner of the installation if others use it too",
    )


def _fuse_conf(root: Path) -> str:
    try:
        return system_text(root / "etc/fuse.conf")
    except OSError:
        return ""


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
