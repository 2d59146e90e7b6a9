"""Parser of the options of `-o`: ownership, FUSE options, and settings by name.

`cryofs mount`, the helper of mount(8), and the check of /etc/fstab use the same parser.
"""

import difflib
import grp
import pwd
import re
from typing import Annotated, Any, get_type_hints

import msgspec

from cryofs.config.invalid_values import readable
from cryofs.config.settings import Settings
from cryofs.errors import UsageError
from cryofs.system.logs import Format, Level

# chown(2) reserves the next larger ID for "no change"
_LARGEST_ID = 2**32 - 2
# an option between commas; a backslash escapes the next character
_PIECE = re.compile(r"(?:[^,\\]|\\.?)+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# Options that contradict a guarantee of mounts, with the end of the error message.
_REFUSED = {
    "suid": "are always nosuid",
    "dev": "are always nodev",
    "remount": "keep their options until they are unmounted",
    "subtype": "are always of the type fuse.cryofs",
    "kernel_cache": "decide for each file whether its pages stay cached",
    "auto_cache": "decide for each file whether its pages stay cached",
    "direct_io": "decide for each file whether its pages stay cached",
}
# Ignored options: those always in effect, and those without effect. mount(8) passes rw by default, so that it must not
# make a mount writable.
_IMPLIED = {
    *("rw", "nosuid", "nodev", "default_permissions", "async", "sync", "dirsync", "atime", "noatime", "diratime"),
    *("nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime"),
}
# Options that mount(8), fstab and systemd handle themselves; mount(8) passes rw by default.
_MOUNT_WORDS = {
    *("rw", "defaults", "auto", "noauto", "nofail", "_netdev", "comment", "user", "nouser", "users", "nousers"),
    *("owner", "noowner", "group", "nogroup"),
}
_FOREIGN_PREFIXES = ("x-", "X-", "comment=", "uhelper=", "helper=")

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86400 * 365)]


class UserId(int):
    """A user id, written as a number or a name."""


class GroupId(int):
    """A group id, written as a number or a name."""


class Umask(int):
    """Permission bits to clear, written in octal."""


class MountOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a mount that are not settings.

    Attributes
    ----------
    uid, gid : int or None
        Owner and group of all files and folders; None for the owner and group in the archive.
    umask : int
        Permission bits cleared on all files and folders.
    log_file : str or None
        Log file of a mount in the background.
    log_level, log_format : str or None
        Lowest severity to log, and the format of a line.
    fsname : str or None
        Source shown in the mount table; by default the archive.
    nonempty : bool
        Whether to mount over a folder that is not empty, which hides its files.
    writable : bool
        Whether programs can write through the mount.
    ro : bool
        Whether the mount has to be read-only, as it is without `writable`.
    break_lock : bool
        Whether a writable mount ignores the locks of other machines on the archive.

    All other attributes have the meaning of the options of mount.fuse3(8), fuse(4) and mount(8) with the same names.
    """

    uid: UserId | None = None
    gid: GroupId | None = None
    umask: Umask = Umask(0)
    log_file: str | None = None
    log_level: Level | None = None
    log_format: Format | None = None
    nonempty: bool = False
    writable: bool = False
    ro: bool = False
    break_lock: bool = False

    fsname: str | None = None
    allow_other: bool = False
    allow_root: bool = False
    auto_unmount: bool = False
    noexec: bool = False
    debug: bool = False
    clone_fd: bool = False
    max_idle_threads: Annotated[int, msgspec.Meta(gt=0)] | None = None
    attr_timeout: Seconds | None = None
    entry_timeout: Seconds | None = None
    negative_timeout: Seconds | None = None
    context: str | None = None
    fscontext: str | None = None
    defcontext: str | None = None
    rootcontext: str | None = None

    def __post_init__(self) -> None:
        if self.allow_other and self.allow_root:
            raise ValueError("allow_other and allow_root are mutually exclusive; set only one")
        if self.log_file is not None and not self.log_file.startswith("/"):
            raise ValueError(f"log_file={self.log_file}: not an absolute path; write the full path")
        if self.writable and (self.uid is not None or self.gid is not None or self.umask):
            raise ValueError("writable and uid, gid or umask are mutually exclusive; new files belong to their writer")
        if self.writable and self.ro:
            raise ValueError("writable and ro are mutually exclusive; set only one")


# Options without a value.
_SWITCHES = {name for kind in (MountOptions, Settings) for name, of in get_type_hints(kind).items() if of is bool}
_EXAMPLES = {"cache_size": "8GiB", "readahead": "4MiB", "umask": "027", "metrics": "9555", "log_file": "/var/log/x.log"}
_OURS = (
    *("uid", "gid", "umask", "log_file", "log_level", "log_format", "fsname", "nonempty"),
    *("writable", "ro", "break_lock"),
)
_OF_FUSE = tuple(name for name in MountOptions.__struct_fields__ if name not in _OURS)


def parse_options(text: str) -> tuple[MountOptions, dict[str, Any]]:
    r"""Parse a comma-separated list of options into mount options and settings.

    If an option is repeated, the last value applies.

    Parameters
    ----------
    text : str
        For example ``allow_other,uid=cryo,cache_size=8GiB``. A comma in a value is written ``\,``.

    Returns
    -------
    options : MountOptions
        Options that are not settings, validated.
    settings : dict
        Settings by name, to be validated by `cryofs.config.settings.load_settings`.

    Raises
    ------
    UsageError
        An option is unknown, or its value is invalid.
    """
    options: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for piece in filter(str.strip, split_options(text)):
        written, equals, value = piece.partition("=")
        written = written.strip()
        name = written.replace("-", "_")
        if name in _REFUSED:
            raise UsageError(f"-o {written}: not supported, because cryofs mounts {_REFUSED[name]}; remove this option")
        if equals and name in {*_IMPLIED, "exec", "ro"}:
            raise UsageError(f"-o {written}: unexpected value; write {written} alone, or remove this option")
        if name in _IMPLIED:
            continue
        if name == "exec":
            options["noexec"] = False
            continue
        chosen = settings if name in Settings.__struct_fields__ else options
        if chosen is options and name not in MountOptions.__struct_fields__:
            raise UsageError(f"-o {written}: unknown option{_suggestion(name)}")
        if not equals and name not in _SWITCHES:
            raise UsageError(f"-o {written}: missing value; write {written}={_EXAMPLES.get(name, '...')}")
        chosen[name] = _plain(value) if equals else True
    try:
        return msgspec.convert(options, MountOptions, strict=False, dec_hook=_decode), settings
    except msgspec.ValidationError as error:
        raise UsageError(f"-o {readable(error, MountOptions, options)}") from error


def fuse_options(options: MountOptions) -> dict[str, str | bool]:
    """Return the mount options to pass to libfuse, by name."""
    values = {name: getattr(options, name) for name in _OF_FUSE}
    chosen = {name: value for name, value in values.items() if value is not None and value is not False}
    return {name: value if isinstance(value, bool) else escaped(str(value)) for name, value in chosen.items()}


def split_options(text: str) -> list[str]:
    """Return the options of a comma-separated list; escapes remain unchanged."""
    return _PIECE.findall(text)


def without_mount_words(text: str) -> str:
    """Return a comma-separated list without the options of mount(8), fstab and systemd."""
    return ",".join(
        piece
        for piece in split_options(text)
        if piece.strip() not in _MOUNT_WORDS and not piece.strip().startswith(_FOREIGN_PREFIXES)
    )


def escaped(value: str) -> str:
    """Return a value with commas and backslashes escaped."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


def _plain(value: str) -> str:
    return _ESCAPED.sub(r"\1", value)


def _suggestion(name: str) -> str:
    known = [*MountOptions.__struct_fields__, *Settings.__struct_fields__]
    near = difflib.get_close_matches(name, [*known, *_IMPLIED], 1)
    return f"; did you mean {near[0]}?" if near else f"; valid options: {', '.join(known)}"


def _decode(kind: type, value: object) -> object:
    text = str(value).strip()
    if kind is Umask:
        if re.fullmatch("0?[0-7]{1,3}", text):
            return Umask(text, 8)
        raise ValueError(f"invalid umask {text!r}; expected octal permission bits such as 027")
    what, find = ("user", _user_id) if kind is UserId else ("group", _group_id)
    try:
        number = int(text) if text.isdecimal() else find(text)
    except KeyError:
        raise ValueError(f"unknown {what} {text!r}; use a name that this machine knows, or a number") from None
    if number > _LARGEST_ID:
        raise ValueError(f"invalid {what} id {number}; expected at most {_LARGEST_ID}")
    return kind(number)


def _user_id(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _group_id(name: str) -> int:
    return grp.getgrnam(name).gr_gid
