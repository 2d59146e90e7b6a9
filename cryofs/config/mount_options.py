"""What stands behind `-o`: who owns what is shown, options of FUSE, and settings of ours by their keys.

The same words serve `cryofs mount`, the helper of mount(8), and the check of /etc/fstab.
"""

import difflib
import grp
import pwd
import re
from typing import Annotated, Any, get_type_hints

import msgspec

from cryofs.config.settings import Settings, readable
from cryofs.errors import UsageError
from cryofs.system.logs import Format, Level

# One id less: the last stands for none (chown(2)).
_LARGEST_ID = 2**32 - 2
# a piece between commas, where a backslash takes the meaning from the next character
_PIECE = re.compile(r"(?:[^,\\]|\\.?)+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# What would undo something that is promised, and what is so instead.
_REFUSED = {
    "rw": "are always read-only",
    "suid": "are always nosuid",
    "dev": "are always nodev",
    "remount": "keep their options until they are unmounted",
    "subtype": "are always of the type fuse.cryofs",
    "kernel_cache": "say of each file which of its pages may be kept",
    "auto_cache": "say of each file which of its pages may be kept",
    "direct_io": "say of each file which of its pages may be kept",
}
# What is so in any case, or means nothing where nobody writes.
_GIVEN = {
    *("ro", "nosuid", "nodev", "default_permissions", "async", "sync", "dirsync", "atime", "noatime", "diratime"),
    *("nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime"),
}
# Words that mount(8), fstab and systemd keep to themselves; rw is what mount(8) says where nobody says anything.
_OF_MOUNT = {
    *("rw", "defaults", "auto", "noauto", "nofail", "_netdev", "comment", "user", "nouser", "users", "nousers"),
    *("owner", "noowner", "group", "nogroup"),
}
_OF_OTHERS = ("x-", "X-", "comment=", "uhelper=", "helper=")

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86400 * 365)]


class UserId(int):
    """A user, written as number or name."""


class GroupId(int):
    """A group, written as number or name."""


class Umask(int):
    """Permissions that are taken away, written in octal."""


class MountOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a mount that are no settings.

    Attributes
    ----------
    uid, gid : int or None
        Owner and group that all files and folders show; those of the archive where None.
    umask : int
        Permissions taken away from all files and folders.
    log_file : str or None
        Where a mount in the background writes its log.
    log_level, log_format : str or None
        Least important events that are logged, and how.
    fsname : str or None
        What the table of mounts shows as the source; else the archive.

    The others are those of mount.fuse3(8), fuse(4) and mount(8) of the same name.
    """

    uid: UserId | None = None
    gid: GroupId | None = None
    umask: Umask = Umask(0)
    log_file: str | None = None
    log_level: Level | None = None
    log_format: Format | None = None

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
            raise ValueError("allow_other and allow_root exclude each other; keep one of them")
        if self.log_file is not None and not self.log_file.startswith("/"):
            raise ValueError(f"log_file={self.log_file}: write an absolute path, as the mount leaves this folder")


# What is meant by its name alone.
_SWITCHES = {name for kind in (MountOptions, Settings) for name, of in get_type_hints(kind).items() if of is bool}
_EXAMPLES = {"cache_size": "8GiB", "readahead": "4MiB", "umask": "027", "metrics": "9555", "log_file": "/var/log/x.log"}
_OURS = ("uid", "gid", "umask", "log_file", "log_level", "log_format", "fsname")
_OF_FUSE = tuple(name for name in MountOptions.__struct_fields__ if name not in _OURS)


def parse_options(text: str) -> tuple[MountOptions, dict[str, Any]]:
    r"""Options and settings from a list separated by commas; of an option given twice the last counts.

    Parameters
    ----------
    text : str
        As in ``allow_other,uid=cryo,cache_size=8GiB``. A comma inside a value is written ``\,``.

    Returns
    -------
    options : MountOptions
        Those that are no settings, validated.
    settings : dict
        Settings by their names, as `cryofs.config.settings.load_settings` takes and validates them.

    Raises
    ------
    UsageError
        There is no such option, or it has no usable value.
    """
    options: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for piece in filter(str.strip, split_options(text)):
        written, equals, value = piece.partition("=")
        written = written.strip()
        name = written.replace("-", "_")
        if name in _REFUSED:
            raise UsageError(f"-o {written}: mounts of cryofs {_REFUSED[name]}; leave this option out")
        if equals and name in {*_GIVEN, "exec"}:
            raise UsageError(f"-o {written}: takes no value; write {written} alone, or leave this option out")
        if name in _GIVEN:
            continue
        if name == "exec":
            options["noexec"] = False
            continue
        chosen = settings if name in Settings.__struct_fields__ else options
        if chosen is options and name not in MountOptions.__struct_fields__:
            raise UsageError(f"-o {written}: there is no such option{_near(name)}")
        if not equals and name not in _SWITCHES:
            raise UsageError(f"-o {written}: has no value; write {written}={_EXAMPLES.get(name, '...')}")
        chosen[name] = _plain(value) if equals else True
    try:
        return msgspec.convert(options, MountOptions, strict=False, dec_hook=_decode), settings
    except msgspec.ValidationError as error:
        raise UsageError(f"-o {readable(error, MountOptions, options)}") from error


def fuse_options(options: MountOptions) -> dict[str, str | bool]:
    """Those that FUSE knows, as it takes them."""
    values = {name: getattr(options, name) for name in _OF_FUSE}
    chosen = {name: value for name, value in values.items() if value is not None and value is not False}
    return {name: value if isinstance(value, bool) else escaped(str(value)) for name, value in chosen.items()}


def split_options(text: str) -> list[str]:
    """Pieces of a list, with escapes as they are."""
    return _PIECE.findall(text)


def without_words_of_mount(text: str) -> str:
    """A list without what belongs to mount(8), fstab and systemd."""
    return ",".join(
        piece
        for piece in split_options(text)
        if piece.strip() not in _OF_MOUNT and not piece.strip().startswith(_OF_OTHERS)
    )


def escaped(value: str) -> str:
    """A value such that its commas separate nothing."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


def _plain(value: str) -> str:
    return _ESCAPED.sub(r"\1", value)


def _near(name: str) -> str:
    known = [*MountOptions.__struct_fields__, *Settings.__struct_fields__]
    near = difflib.get_close_matches(name, [*known, *_GIVEN], 1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


def _decode(kind: type, value: object) -> object:
    text = str(value).strip()
    if kind is Umask:
        if re.fullmatch("0?[0-7]{1,3}", text):
            return Umask(text, 8)
        raise ValueError(f"{text!r} is no umask; write permissions in octal, as in 027")
    what, find = ("user", _user_id) if kind is UserId else ("group", _group_id)
    try:
        number = int(text) if text.isdecimal() else find(text)
    except KeyError:
        raise ValueError(f"there is no {what} {text!r} on this machine; write another name, or a number") from None
    if number > _LARGEST_ID:
        raise ValueError(f"{number} is no number of a {what}")
    return kind(number)


def _user_id(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _group_id(name: str) -> int:
    return grp.getgrnam(name).gr_gid
