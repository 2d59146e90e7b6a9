"""Validated settings: the defaults, then `cryofs.toml` at the root of an archive, then the options of a command.

The file's keys are the names of `Settings`, for example::

    cache_size = "8GiB"
    jobs = 4
"""

import os
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec

from cryofs.errors import SettingsError

FILE_NAME = "cryofs.toml"

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_LARGEST = 2**63 - 1
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?", re.IGNORECASE)

Positive = Annotated[int, msgspec.Meta(gt=0)]


class Size(int):
    """Bytes, written as a number or with a unit: 500MB, 4GiB."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a mount.

    Attributes
    ----------
    cache_size : Size
        Bytes of decoded frames kept in memory.
    jobs : int
        Threads that decode.
    readahead : Size
        Bytes that the kernel reads ahead of a sequential reader, where it may be set.
    """

    cache_size: Size = Size(4 << 30)
    jobs: Positive = msgspec.field(default_factory=usable_cores)
    readahead: Size = Size(1 << 20)


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


def load_settings(archive: Path, options: dict[str, Any]) -> Settings:
    """Settings for a mount of an archive; options that are None are taken from the file, or else the defaults.

    Raises
    ------
    SettingsError
        The file or an option has no usable value.
    """
    path = archive / FILE_NAME
    values: dict[str, Any] = {}
    try:
        if path.is_file():
            values = tomllib.loads(path.read_text())
        msgspec.convert(values, Settings, dec_hook=_decode_size)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}; known settings are {', '.join(Settings.__struct_fields__)}") from error
    values |= {name: value for name, value in options.items() if value is not None}
    try:
        return msgspec.convert(values, Settings, dec_hook=_decode_size)
    except msgspec.ValidationError as error:
        raise SettingsError(str(error)) from error


def _decode_size(kind: type, value: object) -> object:
    if kind is Size and isinstance(value, (str, int)):
        return parse_size(value)
    raise ValueError(f"{value!r} is no size")
