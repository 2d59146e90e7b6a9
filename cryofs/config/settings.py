"""Validated settings: the defaults, then `cryofs.toml` at the root of an archive, then the options of a command.

The file's keys are the names of `Settings`, for example::

    cache_size = "8GiB"
    jobs = 4
    eer_grouping = 24
    eer_gain = "falcon.gain"
"""

import difflib
import re
import stat
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import msgspec.inspect

from cryofs.errors import SettingsError, UsageError
from cryofs.system.resources import default_cache_size, usable_cores

FILE_NAME = "cryofs.toml"

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_LARGEST = 2**63 - 1
# Less holds no frame of any detector; who writes it has forgotten the unit.
_SMALLEST_CACHE = 10**6
_LOCAL = "127.0.0.1"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?", re.IGNORECASE)

Positive = Annotated[int, msgspec.Meta(gt=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Dose = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
EerDtype = Literal["int8", "int16", "uint16", "float32"]
Leftover = Literal["drop", "keep"]
# Two ways of saying the same; one given on the command line replaces the other of the file.
_EITHER = ("eer_grouping", "eer_dose_per_fraction")


class Size(int):
    """Bytes, written as a number or with a unit: 500MB, 4GiB."""


class Address(str):
    """Where something is served: ``HOST:PORT``, or a port of this machine alone."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a mount.

    Attributes
    ----------
    cache_size : Size
        Bytes of decoded frames kept in memory; by default a share of what this process may use.
    jobs : int
        Threads that decode.
    readahead : Size
        Bytes that the kernel reads ahead of a sequential reader, where it may be set.
    metrics : Address or None
        Where figures for Prometheus are served.
    request_timeout : float
        Seconds after which a reader no longer waits for storage that gives no answer.
    eer_grouping : int
        EER frames in a fraction.
    eer_dose_per_fraction : float or None
        Electrons per square angstrom in a fraction, from which the grouping follows.
    eer_upsampling : int
        Pixels of a rendered image a pixel of the detector.
    eer_dtype : str
        Pixel type of fractions.
    eer_leftover : str
        What becomes of frames that fill no fraction.
    eer_gain : str or None
        Gain reference of the EER movies; in the file, relative to the archive.
    eer_apply_gain : bool
        Whether fractions are multiplied with it.
    """

    cache_size: Size = msgspec.field(default_factory=lambda: Size(default_cache_size()))
    jobs: Positive = msgspec.field(default_factory=usable_cores)
    readahead: Size = Size(1 << 20)
    metrics: Address | None = None
    request_timeout: Seconds = 60.0
    eer_grouping: Positive = 40
    eer_dose_per_fraction: Dose | None = None
    eer_upsampling: Literal[1, 2, 4] = 1
    eer_dtype: EerDtype = "int16"
    eer_leftover: Leftover = "drop"
    eer_gain: str | None = None
    eer_apply_gain: bool = False

    def __post_init__(self) -> None:
        if self.eer_apply_gain and self.eer_gain is None:
            raise ValueError("eer_apply_gain needs a gain reference; name one by eer_gain")


def parse_size(text: str | int) -> Size:
    """Bytes from 4GiB, 500MB, 1000.

    Raises
    ------
    SettingsError
        Not a size.
    """
    match = _SIZE.fullmatch(str(text).strip())
    if match is None or (unit := _UNITS.get(match[2].upper())) is None:
        raise SettingsError(f"{text!r} is no size; write bytes, or a number with a unit, as in 500MB or 4GiB")
    size = Size(Decimal(match[1]) * unit)
    if size > _LARGEST:
        raise SettingsError(f"{text!r} is no size that a machine could have")
    return size


def parse_address(text: str | int) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, or of a port alone, which is then reached from this machine only.

    Raises
    ------
    SettingsError
        Not an address.
    """
    host, _, port = str(text).rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise SettingsError(f"{text!r} is no address; write a port up to 65535, as 9555, or HOST:PORT")
    return host.strip("[]") or _LOCAL, int(port)


def load_settings(archive: Path, options: dict[str, Any]) -> Settings:
    """Settings for a mount of an archive; options that are None are taken from the file, or else the defaults.

    Parameters
    ----------
    options : dict
        Settings by their names, as values or as text. A gain reference is looked for in the archive, unless its path is
        absolute.

    Raises
    ------
    SettingsError
        The file has no usable value.
    UsageError
        An option has none.
    """
    text = read_file(archive)
    try:
        values = _parsed(text)
        _convert(values)
        _check_inside(archive, values.get("eer_gain"))
    except SettingsError as error:
        raise SettingsError(f"{archive / FILE_NAME}: {error}") from error
    given = {name: value for name, value in options.items() if value is not None}
    if any(name in given for name in _EITHER):
        values = {name: value for name, value in values.items() if name not in _EITHER}
    values |= given
    try:
        settings = _convert(values, strict=False)
    except SettingsError as error:
        raise UsageError(str(error)) from error
    if settings.eer_gain is None:
        return settings
    return msgspec.structs.replace(settings, eer_gain=str(archive / settings.eer_gain))


def read_file(archive: Path) -> str:
    """Text of the file of an archive; empty where there is none.

    Raises
    ------
    SettingsError
        Something of that name is there, and is no text that can be read.
    """
    path = archive / FILE_NAME
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{path}: this is no file; put a file of settings there, or remove it")
        # some editors begin a file with a mark of its encoding
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        if path.is_symlink():
            target = path.readlink()
            raise SettingsError(f"{path}: a link to {target}, which is not there; correct or remove it") from error
        return ""
    except OSError as error:
        remedy = "have its owner permit it" if isinstance(error, PermissionError) else "see that it can be read"
        raise SettingsError(f"{path}: {error.strerror}; {remedy}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: this is no text in UTF-8; save it as such") from error


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # besides errors of its own, tomllib raises what Python says of numbers too long and arrays too deep
        raise SettingsError(
            f'{error}; write lines as jobs = 4, and text and sizes with a unit in quotes, as in cache_size = "8GiB"'
        ) from error


def _check_inside(archive: Path, gain: str | None) -> None:
    """Refuse what looks like a file of the archive and is none: an archive may come from anywhere."""
    if gain is not None and not Path(gain).is_absolute():
        place = (archive / gain).resolve()
        if not place.is_relative_to(archive.resolve()):
            raise SettingsError(
                f"eer_gain = {gain!r} leads out of the archive, to {place}; put the file into the archive, or write "
                "this path if it is meant"
            )


def _convert(values: dict[str, Any], *, strict: bool = True) -> Settings:
    if all(name in values for name in _EITHER):
        raise SettingsError(f"{' and '.join(_EITHER)} say the same in two ways; keep one of them")
    _check_names(values)
    try:
        settings = msgspec.convert(values, Settings, strict=strict, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise SettingsError(readable(error, Settings, values)) from error
    if "cache_size" in values and settings.cache_size < _SMALLEST_CACHE:
        raise SettingsError(
            f"cache_size: {settings.cache_size} bytes hold no frame; write at least 1MB, and a unit, as in 8GiB"
        )
    return settings


def readable(error: msgspec.ValidationError, kind: type[msgspec.Struct], values: dict[str, Any]) -> str:
    """What is wrong with which value, and what may stand there, with its name in front.

    Parameters
    ----------
    kind : type
        What the values should have become.
    """
    found = re.fullmatch(r"(.*) - at `\$\.(\w+)`", str(error), flags=re.DOTALL)
    if found is None:
        return str(error)
    said, name = found.groups()
    if not said.startswith(("Expected", "Invalid enum value")):
        return f"{name}: {said}"
    field = next(field for field in msgspec.inspect.type_info(kind).fields if field.name == name)  # type: ignore[attr-defined]
    return f"{name}: {values[name]!r} cannot be; write {_wanted(field.type)}"


def _wanted(kind: msgspec.inspect.Type) -> str:
    """What may stand for a value, in words."""
    match kind:
        case msgspec.inspect.UnionType():
            return next(_wanted(one) for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))
        case msgspec.inspect.LiteralType():
            *most, last = map(str, kind.values)
            return f"{', '.join(most)} or {last}"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            bounds = ((kind.gt, "above"), (kind.ge, "from"), (kind.le, "up to"))
            said = [f"{word} {bound:g}" for bound, word in bounds if bound is not None]
            return " ".join(["a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number", *said])
        case _:
            return "text"


def _check_names(values: dict[str, Any]) -> None:
    """Refuse unknown settings, with the known one that was likely meant."""
    for name in values:
        if name not in Settings.__struct_fields__:
            near = difflib.get_close_matches(name.replace("-", "_"), Settings.__struct_fields__, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            known = ", ".join(Settings.__struct_fields__)
            raise SettingsError(f"{name!r} is no setting{meant}; known settings are {known}")


def _decode(kind: type, value: object) -> object:
    what = "size" if kind is Size else "address"
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{value!r} is no {what}")
    if kind is Size:
        return parse_size(value)
    parse_address(value)
    return Address(value)
