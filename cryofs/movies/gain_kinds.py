"""Recognition of files that are not gain references, with commands to convert them."""

from dataclasses import dataclass
from pathlib import Path

from cryofs.errors import GainError
from cryofs.formats.tiff_directories import MAGICS

_HEAD_BYTES = 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# DigitalMicrograph files begin with their version, big-endian.
_DIGITAL_MICROGRAPH = {b"\0\0\0\3": "DM3", b"\0\0\0\4": "DM4"}
_PACKED = {
    b"BZh": ("bzip2", "bunzip2 --keep"),
    b"\x1f\x8b\x08": ("gzip", "gunzip --keep"),
    b"\xfd7zXZ\0": ("xz", "unxz --keep"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
_SAME_CAMERA = "pass the gain reference of this camera"


@dataclass(frozen=True)
class GainKind:
    """Kind of a file that is not an MRC gain reference, with the remedy."""

    name: str
    remedy: str
    is_tiff: bool = False


def kind_of(path: Path) -> GainKind | None:
    """Return the kind of a file that is not MRC, recognized by its contents; None if it is unknown.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    result = path.with_suffix(".mrc").name
    if head[:4] in MAGICS:
        return GainKind("a TIFF file", f"convert it with IMOD: tif2mrc {path.name} {result}", is_tiff=True)
    if version := _DIGITAL_MICROGRAPH.get(head[:4]):
        name = f"a DigitalMicrograph file ({version})"
        return GainKind(name, f"convert it with IMOD: dm2mrc {path.name} {result}")
    text = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if text.startswith(b"<") and b"\0" not in head:
        return GainKind("a list of defects (XML)" if b"efect" in text else "an XML file", _SAME_CAMERA)
    if text.startswith(b"CameraSizeX"):
        return GainKind("a list of defects (SerialEM)", _SAME_CAMERA)
    for magic, (name, command) in _PACKED.items():
        if head.startswith(magic):
            return GainKind(f"packed with {name}", f"unpack it: {command} {path.name}")
    return None


def check_mrc(path: Path) -> None:
    """Raise GainError if a file is of a known kind other than MRC; ignore files that cannot be read."""
    if (kind := _readable_kind(path)) is not None:
        raise GainError(f"{path}: {kind.name}, not an MRC gain reference; {kind.remedy}")


def check_eer(path: Path, shown: str | None = None) -> None:
    """Raise GainError if a file is of a known kind other than MRC and TIFF; ignore files that cannot be read.

    Parameters
    ----------
    shown : str or None
        Path for messages; None for `path`.
    """
    kind = _readable_kind(path)
    if kind is not None and not kind.is_tiff:
        raise GainError(f"{shown or path}: {kind.name}, not a gain reference in MRC or TIFF; {kind.remedy}")


def _readable_kind(path: Path) -> GainKind | None:
    try:
        return kind_of(path)
    except OSError:
        return None
