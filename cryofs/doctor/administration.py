"""Check the helpers of mount(8), /etc/fstab and services for `cryofs doctor`.

Each check is a function of its inputs, so that tests can pass simulated machines. `root` is the folder that contains
/etc, /sbin, archives and mountpoints.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote

from cryofs.config.mount_options import parse_options, split_options, without_mount_words
from cryofs.config.settings import load_settings
from cryofs.doctor.finding import Finding, ok, problem, run_check, warning
from cryofs.doctor.machine import users_may_allow_others
from cryofs.errors import SettingsError, UsageError
from cryofs.system.mount_table import Mount, is_remote, mount_of, mount_table, unescaped
from cryofs.system.resources import ROOT

# Time limit for the storage of archives and mountpoints.
_SECONDS = 5.0
_TYPES = ("cryofs", "fuse.cryofs")
# folders that mount(8) searches for helpers
_HELPER_FOLDERS = ("sbin", "sbin/fs.d", "sbin/fs")
_UNITS = ("cryofs@.service", "cryofs-writable@.service", "cryofs-ingest@.service")
_UNIT_FOLDERS = (
    *("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system"),
    "lib/systemd/system",
)
# options with which mount(8) permits users to mount
_BY_USERS = {"user", "users", "owner", "group"}


@dataclass(frozen=True)
class FstabLine:
    """A line of /etc/fstab that mounts an archive."""

    archive: str
    mountpoint: str
    kind: str
    options: str


def check_administration(root: Path = ROOT, installed: Path = Path(sys.prefix)) -> list[Finding]:
    """Return the findings of all checks of mounts at boot and by mount(8).

    Parameters
    ----------
    installed : Path
        Prefix of this installation, which contains bin and share.
    """
    mounts: list[Mount] = []
    lines: list[FstabLine] = []
    findings = run_check("mount table", lambda: mounts.extend(mount_table(root / "proc/self/mountinfo")))
    findings += run_check("/etc/fstab", lambda: lines.extend(fstab_lines(root)))
    findings += run_check("helpers of mount(8)", lambda: check_helpers({line.kind for line in lines}, installed, root))
    for line in lines:
        findings += run_check(f"/etc/fstab, {line.mountpoint}", partial(check_fstab_line, line, mounts, root), _SECONDS)
    return findings + run_check("services", lambda: check_services(mounts, installed, root))


def fstab_lines(root: Path = ROOT) -> Iterator[FstabLine]:
    """Yield the lines of /etc/fstab that mount archives."""
    try:
        text = (root / "etc/fstab").read_bytes()
    except FileNotFoundError:
        return
    for line in text.splitlines():
        fields = [unescaped(field) for field in line.split()]
        if len(fields) >= 3 and not fields[0].startswith("#") and fields[2] in _TYPES:
            archive, mountpoint, kind, *rest = fields
            yield FstabLine(archive, mountpoint, kind, rest[0] if rest else "")


def check_helpers(used: set[str], installed: Path, root: Path = ROOT) -> list[Finding]:
    """Check that mount(8) finds the helpers of this installation.

    Parameters
    ----------
    used : set of str
        File system types used in /etc/fstab.
    """
    findings = []
    for kind in _TYPES:
        name = f"mount.{kind}"
        helper = installed / "bin" / name
        remedy = f"as root: ln -sf {quote(str(helper))} /sbin/{name}"
        places = [root / folder / name for folder in _HELPER_FOLDERS]
        found = next((place for place in places if os.path.lexists(place)), None)
        if found is None:
            if kind in used:
                findings.append(problem(f"/sbin/{name}: missing, so mount(8) cannot use lines of /etc/fstab", remedy))
        elif not os.access(found, os.X_OK):
            findings.append(problem(f"{found}: not an executable program", remedy))
        elif found.resolve() != helper.resolve():
            findings.append(warning(f"{found}: belongs to another installation ({found.resolve()})", remedy))
        else:
            findings.append(ok(f"{found}: installed, so mount(8) supports the type {kind}"))
    return findings or [
        ok("mount.cryofs: not installed, so mount(8) and /etc/fstab do not support cryofs", f"if needed, {remedy}")
    ]


def check_fstab_line(line: FstabLine, mounts: list[Mount], root: Path = ROOT) -> list[Finding]:
    """Check that a line of /etc/fstab can be mounted, including at boot."""
    where = f"/etc/fstab, {line.mountpoint}"
    words = set(split_options(line.options))
    if not line.archive.startswith("/"):
        return [
            problem(
                f"{where}: relative path of the archive ({line.archive}), which depends on the working directory",
                "use the absolute path",
            )
        ]
    found = list(_check_places(where, line.archive, line.mountpoint, mounts, root))
    found += _check_empty(where, line.archive, line.mountpoint, line.options, mounts, root)
    found += _check_values(where, line, root)
    mount = mount_of(Path(line.archive), mounts)
    if mount and is_remote(mount.kind) and not words & {"_netdev", "noauto"}:
        found.append(
            warning(
                f"{where}: the archive is on {mount.kind}, which may not be mounted yet at this point of the boot",
                "add the option _netdev",
            )
        )
    if "allow_other" not in words:
        found.append(
            warning(f"{where}: only the user who mounts it, usually root, can read it", "add the option allow_other")
        )
    elif words & _BY_USERS and not users_may_allow_others(root):
        found.append(
            warning(
                f"{where}: users may mount this line, but not with allow_other",
                "add the line user_allow_other to /etc/fuse.conf",
            )
        )
    return found or [ok(f"{where}: valid (archive {line.archive})")]


def _check_values(where: str, line: FstabLine, root: Path) -> Iterator[Finding]:
    """Yield findings about the options of a line, checked by the parser that mounts use."""
    try:
        _, given = parse_options(without_mount_words(line.options))
        gain = load_settings(_in(root, line.archive), given).eer_gain
    except UsageError as error:
        yield problem(f"{where}: {error}", "correct the line; see the documentation (Mount) for the options")
    except SettingsError as error:
        yield problem(f"{where}: {error}", "correct this file in the archive")
    else:
        if gain is not None and not _in(root, gain.removeprefix(str(root))).exists():
            yield problem(f"{where}: eer_gain {gain} is missing", "correct the path, or restore the file")


def check_services(mounts: list[Mount], installed: Path, root: Path = ROOT) -> list[Finding]:
    """Check the services and the configuration files of mounts; return no findings if no service is installed."""
    units = [unit for name in _UNITS if (unit := _installed_unit(name, root))]
    if not units:
        return []
    findings: list[Finding] = []
    for unit in units:
        findings += run_check(str(unit), partial(_check_unit, unit, installed, root))
    paths: list[Path] = []
    findings += run_check(str(root / "etc/cryofs"), lambda: paths.extend(sorted(_configurations(root))))
    for path in paths:
        findings += run_check(str(path), partial(check_configuration, path, mounts, root), _SECONDS)
    return findings


def _installed_unit(name: str, root: Path) -> Path | None:
    return next((root / folder / name for folder in _UNIT_FOLDERS if (root / folder / name).is_file()), None)


def _configurations(root: Path) -> list[Path]:
    try:
        return [path for path in (root / "etc/cryofs").iterdir() if path.suffix == ".conf"]
    except FileNotFoundError:
        return []


def _check_unit(unit: Path, installed: Path, root: Path) -> Iterator[Finding]:
    text = unit.read_text(errors="replace")
    commands = dict.fromkeys(re.findall(r"^Exec(?:Start|StartPre|Stop)=[-@:+!]*(/\S+)", text, re.MULTILINE))
    missing = [command for command in commands if not os.access(_in(root, command), os.X_OK)]
    for command in missing:
        yield problem(
            f"{unit}: starts {command}, which does not exist", f"as root: ln -sf {installed}/bin/cryofs {command}"
        )
    shipped = installed / "share/cryofs/systemd" / unit.name
    if shipped.is_file() and shipped.read_text(errors="replace") != text:
        yield warning(
            f"{unit}: differs from the unit of this installation",
            f"as root: cp {shipped} {unit} && systemctl daemon-reload; put local changes into a drop-in "
            f"(systemctl edit {unit.stem})",
        )
    elif not missing:
        yield ok(f"{unit}: installed")


def check_configuration(path: Path, mounts: list[Mount], root: Path = ROOT) -> list[Finding]:
    """Check that a file in /etc/cryofs names an existing archive and an existing mountpoint."""
    try:
        lines = re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", path.read_text(errors="replace"), re.MULTILINE)
    except OSError as error:
        return [warning(f"{path}: not readable by this user ({error.strerror})", f"as root: chmod a+r {path}")]
    values = {name: re.sub(r"""^(["'])(.*)\1$""", r"\2", value) for name, value in lines}
    missing = [name for name in ("ARCHIVE", "MOUNTPOINT") if not values.get(name, "").startswith("/")]
    if missing:
        return [
            problem(
                f"{path}: missing {' and '.join(missing)}", f"add lines such as {missing[0]}=/..., with absolute paths"
            )
        ]
    archive, mountpoint, options = values["ARCHIVE"], values["MOUNTPOINT"], values.get("OPTIONS", "")
    found = list(_check_places(str(path), archive, mountpoint, mounts, root))
    found += _check_empty(str(path), archive, mountpoint, options, mounts, root)
    return found or [ok(f"{path}: {archive} at {mountpoint}, by cryofs@{path.stem}")]


def _check_places(where: str, archive: str, mountpoint: str, mounts: list[Mount], root: Path) -> Iterator[Finding]:
    if not _is_folder(_in(root, archive)):
        yield problem(
            f"{where}: the archive {archive} does not exist", "correct the path, or mount the storage that contains it"
        )
    # an existing mount may be stale or stuck, so it is not accessed
    if all(mount.place != Path(mountpoint) for mount in mounts) and not _is_folder(_in(root, mountpoint)):
        yield problem(f"{where}: the mountpoint {mountpoint} does not exist", f"as root: mkdir -p {quote(mountpoint)}")


def _check_empty(
    where: str, archive: str, mountpoint: str, options: str, mounts: list[Mount], root: Path
) -> Iterator[Finding]:
    """Yield a finding if a mountpoint contains files and is not mounted."""
    is_free = all(mount.place != Path(mountpoint) for mount in mounts)
    if archive == mountpoint or not is_free or re.search(r"\bnonempty\b", options):
        return
    with contextlib.suppress(OSError), os.scandir(_in(root, mountpoint)) as entries:
        if next(entries, None) is not None:
            yield problem(
                f"{where}: the mountpoint {mountpoint} is not empty, so mounting fails",
                "use an empty folder, or add the option nonempty, which hides its files",
            )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _in(root: Path, path: str) -> Path:
    return root / path.lstrip("/")
