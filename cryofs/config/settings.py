"""Read and validate settings: options of a command override `cryofs.toml` of an archive, which overrides defaults.

The keys of `cryofs.toml` are the names of `Settings`, for example::

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
from typing import Annotated, Any

import msgspec

from cryofs.config.choices import (
    GAIN_WORDS,
    CloseMode,
    EerCrop,
    EerDtype,
    EerGainConvention,
    EerLeftover,
    EerUpsampling,
    GainOrientation,
    crop_problem,
)
from cryofs.config.invalid_values import readable
from cryofs.errors import SettingsError, UsageError
from cryofs.system.resources import default_cache_size, usable_cores

FILE_NAME = "cryofs.toml"

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_LARGEST = 2**63 - 1
# Minimum cache size in bytes. A smaller cache cannot hold a frame of any detector; the unit was probably omitted.
_SMALLEST_CACHE = 10**6
_LOCAL = "127.0.0.1"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?", re.IGNORECASE)

Positive = Annotated[int, msgspec.Meta(gt=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
SettleSeconds = Annotated[float, msgspec.Meta(ge=0, le=86400)]
Dose = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
Angstrom = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
# Mutually exclusive settings; one on the command line replaces the other in the file.
_EITHER = ("eer_grouping", "eer_dose_per_fraction")


class Size(int):
    """A number of bytes, written as a number or with a unit: 500MB, 4GiB."""


class Address(str):
    """A network address to listen on: ``HOST:PORT``, or a port of the loopback interface."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a mount.

    Attributes
    ----------
    cache_size : Size
        Maximum size of the decoded frames in memory; by default a quarter of the memory that the process may use.
    jobs : int
        Number of decoding threads.
    readahead : Size
        Read-ahead of the kernel in bytes, if cryofs has permission to set it.
    metrics : Address or None
        Address of the Prometheus metrics; None to serve no metrics.
    request_timeout : float
        Seconds after which a reader gets an error if storage does not respond.
    eer_grouping : int
        EER frames per fraction.
    eer_dose_per_fraction : float or None
        Electrons per square angstrom in a fraction; determines the grouping.
    eer_dose : float or None
        Electrons per square angstrom of a whole movie, instead of the value in its metadata.
    eer_pixel_size : float or None
        Angstrom per detector pixel, instead of the value in the metadata.
    eer_upsampling : int
        Rendered pixels per detector pixel and axis.
    eer_crop : int or None
        Pixels per detector pixel and axis after cropping in Fourier space; None to crop nothing.
    eer_dtype : str or None
        Pixel type of fractions; None for int16, or float32 if they are cropped.
    eer_leftover : str
        Use of the last frames that do not fill a fraction: ``"drop"``, ``"keep"`` or ``"spread"``.
    eer_gain : str or None
        Gain reference of the EER movies; in `cryofs.toml`, relative to the archive.
    eer_gain_convention : str or None
        Whether to multiply counts by the values of the gain reference or to divide by them; None to use the file name.
    eer_apply_gain : bool
        Whether to multiply fractions by the gain reference.
    gain_orientation : str or None
        Orientation to apply to the gain reference of EER movies; None to use the reference unchanged.
    settle : float
        Seconds without a change after which a writable mount archives a closed movie.
    ingest_jobs : int
        Threads with which a writable mount archives movies.
    gain : str
        Gain reference of written movies: ``"auto"``, ``"none"`` or a file.
    reserve : Size or None
        Bytes that a writable mount keeps free for archiving; None to derive them from the movies that wait.
    close : str
        Whether a written file is durable when close(2) returns (``"durable"``), or later (``"fast"``).
    """

    cache_size: Size = msgspec.field(default_factory=lambda: Size(default_cache_size()))
    jobs: Positive = msgspec.field(default_factory=usable_cores)
    readahead: Size = Size(1 << 20)
    metrics: Address | None = None
    request_timeout: Seconds = 60.0
    eer_grouping: Positive = 40
    eer_dose_per_fraction: Dose | None = None
    eer_dose: Dose | None = None
    eer_pixel_size: Angstrom | None = None
    eer_upsampling: EerUpsampling = 1
    eer_crop: EerCrop | None = None
    eer_dtype: EerDtype | None = None
    eer_leftover: EerLeftover = "drop"
    eer_gain: str | None = None
    eer_gain_convention: EerGainConvention | None = None
    eer_apply_gain: bool = False
    gain_orientation: GainOrientation | None = None
    settle: SettleSeconds = 30.0
    ingest_jobs: Positive = msgspec.field(default_factory=lambda: max(1, usable_cores() // 2))
    gain: str = "auto"
    reserve: Size | None = None
    close: CloseMode = "durable"

    def __post_init__(self) -> None:
        if self.eer_gain is not None and "\0" in self.eer_gain:
            raise ValueError(f"eer_gain: invalid path {self.eer_gain!r} (contains a null byte); pass a file")
        if not self.gain or "\0" in self.gain:
            raise ValueError(f"gain: invalid value {self.gain!r}; expected auto, none or a file")
        if self.eer_apply_gain and self.eer_gain is None:
            raise ValueError("eer_apply_gain requires a gain reference; set eer_gain")
        if self.eer_gain_convention is not None and self.eer_gain is None:
            raise ValueError("eer_gain_convention requires a gain reference; set eer_gain")
        if self.gain_orientation is not None and self.eer_gain is None:
            raise ValueError("gain_orientation requires a gain reference; set eer_gain")
        if problem := crop_problem(self.eer_upsampling, self.eer_crop, self.eer_dtype):
            raise ValueError(problem)

    @property
    def gain_files(self) -> tuple[Path, ...]:
        """The gain references that the settings name."""
        given = self.eer_gain, None if self.gain in GAIN_WORDS else self.gain
        return tuple(Path(path) for path in given if path is not None)

    @property
    def suits_every_eer_file(self) -> bool:
        """Whether every intact EER file can be rendered with these settings."""
        return self.eer_gain is None and self.eer_dose_per_fraction is None and self.eer_upsampling == 1


def parse_size(text: str | int) -> Size:
    """Return the number of bytes of a size such as 4GiB, 500MB or 1000.

    Raises
    ------
    SettingsError
        The text is not a size, or the size is out of range.
    """
    match = _SIZE.fullmatch(str(text).strip())
    if match is None or (unit := _UNITS.get(match[2].upper())) is None:
        raise SettingsError(f"invalid size {text!r}; expected bytes, or a number with a unit such as 500MB or 4GiB")
    size = Size(Decimal(match[1]) * unit)
    if size > _LARGEST:
        raise SettingsError(f"invalid size {text!r}; expected at most {_LARGEST} bytes")
    return size


def parse_address(text: str | int) -> tuple[str, int]:
    """Return the host and port of an address: ``HOST:PORT``, or a port alone for the loopback interface.

    Raises
    ------
    SettingsError
        The text is not an address, or the port is out of range.
    """
    host, _, port = str(text).rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise SettingsError(f"invalid address {text!r}; expected a port from 1 to 65535, such as 9555, or HOST:PORT")
    return host.strip("[]") or _LOCAL, int(port)


def load_settings(archive: Path, options: dict[str, Any]) -> Settings:
    """Return the settings of a mount; options override `cryofs.toml`, which overrides the defaults.

    Parameters
    ----------
    options : dict
        Settings by name, as values or text; None for an option that was not passed. The path of a gain reference may be
        relative to the archive.

    Raises
    ------
    SettingsError
        A value in the file is invalid.
    UsageError
        An option is invalid.
    """
    text = read_file(archive)
    try:
        values = _parsed(text)
        _convert(values)
        for name in ("eer_gain", "gain"):
            _check_inside(archive, name, values.get(name))
    except SettingsError as error:
        raise SettingsError(f"{archive / FILE_NAME}: {error}") from error
    given = {name: value for name, value in options.items() if value is not None}
    if any(name in given for name in _EITHER):
        values = {name: value for name, value in values.items() if name not in _EITHER}
    values |= given
    settings = _converted(values)
    paths = {"eer_gain": settings.eer_gain, "gain": None if settings.gain in GAIN_WORDS else settings.gain}
    absolute = {name: str(archive / path) for name, path in paths.items() if path is not None}
    return msgspec.structs.replace(settings, **absolute) if absolute else settings


def eer_settings(options: dict[str, Any]) -> Settings:
    """Return settings with the given options for EER movies, and defaults for all other settings.

    Raises
    ------
    UsageError
        An option is invalid, or is not an option for EER movies.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if not name.startswith("eer_"):
            raise UsageError(f"unknown option {name!r}; expected an option for EER movies, such as eer_grouping")
    return _converted(given)


def read_file(archive: Path) -> str:
    """Return the text of an archive's `cryofs.toml`, or an empty string if there is no such file.

    Raises
    ------
    SettingsError
        The file exists but is not a readable text file.
    """
    path = archive / FILE_NAME
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{path}: not a regular file; replace it with a settings file, or remove it")
        # some editors write a byte order mark at the beginning
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        if path.is_symlink():
            target = path.readlink()
            raise SettingsError(f"{path}: dangling link to {target}; correct or remove it") from error
        return ""
    except OSError as error:
        remedy = "grant read permission" if isinstance(error, PermissionError) else "make it readable"
        raise SettingsError(f"{path}: {error.strerror}; {remedy}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not valid UTF-8; save the file as UTF-8") from error


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # for very long numbers and deeply nested arrays, tomllib raises Python's own errors
        raise SettingsError(
            f'invalid TOML: {error}; write lines such as jobs = 4, and quote text and sizes: cache_size = "8GiB"'
        ) from error


def _check_inside(archive: Path, name: str, gain: str | None) -> None:
    """Raise SettingsError if a relative path points outside the archive, because an archive may be untrusted."""
    if gain is not None and not Path(gain).is_absolute():
        place = (archive / gain).resolve()
        if not place.is_relative_to(archive.resolve()):
            raise SettingsError(
                f"{name} = {gain!r}: file outside the archive ({place}); move it into the archive, or write the "
                "absolute path"
            )


def _converted(options: dict[str, Any]) -> Settings:
    try:
        return _convert(options, strict=False)
    except SettingsError as error:
        raise UsageError(str(error)) from error


def _convert(values: dict[str, Any], *, strict: bool = True) -> Settings:
    if all(name in values for name in _EITHER):
        raise SettingsError(f"{' and '.join(_EITHER)} are mutually exclusive; set only one")
    _check_names(values)
    try:
        settings = msgspec.convert(values, Settings, strict=strict, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise SettingsError(readable(error, Settings, values)) from error
    if "cache_size" in values and settings.cache_size < _SMALLEST_CACHE:
        raise SettingsError(
            f"cache_size: {settings.cache_size} bytes is too small for a frame; expected at least 1MB, such as 8GiB"
        )
    return settings


def _check_names(values: dict[str, Any]) -> None:
    """Raise SettingsError for an unknown setting, and suggest the closest valid one."""
    for name in values:
        if name not in Settings.__struct_fields__:
            near = difflib.get_close_matches(name.replace("-", "_"), Settings.__struct_fields__, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            known = ", ".join(Settings.__struct_fields__)
            raise SettingsError(f"unknown setting {name!r}{meant}; valid settings: {known}")


def _decode(kind: type, value: object) -> object:
    what = "size" if kind is Size else "address"
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"invalid {what} {value!r}")
    if kind is Size:
        return parse_size(value)
    parse_address(value)
    return Address(value)
