"""Use of a gain reference for EER movies as text: its convention, its grid, and contradictions."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cryofs.config.choices import EerGainConvention
from cryofs.formats import mrc, tiff_image
from cryofs.formats.tiff_directories import MAGICS

_MULTIPLIED_SUFFIX = ".gain"


def convention_of(path: Path, given: EerGainConvention | None = None) -> EerGainConvention:
    """Return the given convention of a gain reference, or the one that RELION infers from its name."""
    return given or ("multiply" if path.suffix == _MULTIPLIED_SUFFIX else "divide")


def read_tiff(path: Path, convention: EerGainConvention) -> NDArray[Any]:
    """Return a reference in a TIFF file, shape (ny, nx), with rows in the order of the EER file.

    As in RELION, the rows of a reference to multiply with keep their stored order; those of any other TIFF file are
    reversed.

    Raises
    ------
    FormatError
        The file is not a TIFF file with one image.
    """
    image = tiff_image.read_image(path)
    return image if convention == "multiply" else image[::-1]


def is_tiff(path: Path) -> bool:
    """Return True for a TIFF file, and for a damaged file with a TIFF suffix."""
    with path.open("rb") as file:
        head = file.read(mrc.MAIN_HEADER_BYTES)
    is_multiplied = path.suffix.lower() == _MULTIPLIED_SUFFIX
    return head[: len(MAGICS[0])] in MAGICS or (is_multiplied and not mrc.has_map_word(head))


def use_text(
    name: str,
    given: EerGainConvention | None,
    convention: EerGainConvention,
    stored: tuple[int, ...],
    shape: tuple[int, int],
) -> str:
    """Return one line of text about a gain reference: its convention, and its conversion to the grid of an image.

    Parameters
    ----------
    given : str or None
        Convention that the user chose; None if it was inferred.
    convention : str
        Convention in effect.
    stored, shape : tuple
        Rows and columns of the reference and of the image.
    """
    verb = "multiplied with its values" if convention == "multiply" else "divided by its values"
    reason = "as requested" if given else "inferred from the file name, as in RELION"
    grid = ""
    if shape[0] > stored[0]:
        grid = f"; each of its pixels covers {shape[0] // stored[0]} x {shape[0] // stored[0]} image pixels"
    elif shape[0] < stored[0]:
        grid = f"; {stored[0] // shape[0]} x {stored[0] // shape[0]} of its pixels are summed for each image pixel"
    return f"{name}: gain reference of {stored[0]} x {stored[1]}; counts are {verb} ({reason}){grid}"


def contradiction(path: Path, name: str, given: EerGainConvention | None) -> str | None:
    """Return a warning if the contents or the suffix of a reference contradict its convention, otherwise None."""
    if given is not None:
        return None
    if convention_of(path) == "multiply":
        usual = "counts are multiplied with an MRC file, but most MRC references are to be divided by"
        reason = None if is_tiff(path) else usual
    elif path.suffix.lower() == _MULTIPLIED_SUFFIX:
        reason = f"counts are divided by it, because RELION recognizes {_MULTIPLIED_SUFFIX} in lower case only"
    elif is_tiff(path) and tiff_image.has_eer_metadata(path):
        reason = "counts are divided by it, but its metadata are those of a reference to multiply with"
    else:
        reason = None
    return reason and f"{name}: {reason}; pass --eer-gain-convention multiply or divide"
