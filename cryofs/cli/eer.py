"""Options for EER movies, shared by several commands."""

from pathlib import Path
from typing import Annotated, get_args

from cryofs.cli import declare
from cryofs.config.choices import EerDtype, EerLeftover, EerUpsampling

# above any real dose or pixel size
_LARGEST = 1e6
_UPSAMPLINGS = {str(choice): choice for choice in get_args(EerUpsampling)}


def _upsampling(text: str) -> int:
    if text not in _UPSAMPLINGS:
        raise declare.BadParameter(f"invalid value {text!r}; expected 1, 2 or 4 (what RELION calls 3 is 4 here)")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= _LARGEST:
        raise declare.BadParameter(f"invalid value {text!r}; expected a number above 0")
    return value


GroupingOption = Annotated[
    int | None, declare.Option("--eer-grouping", min=1, help="EER frames per fraction.", show_default="40")
]
DoseOption = Annotated[
    float | None,
    declare.Option(
        "--eer-dose-per-fraction",
        metavar="D",
        parser=_positive,
        help="Set the grouping by the dose of a fraction, in e/A^2.",
    ),
]
PixelSizeOption = Annotated[
    float | None,
    declare.Option(
        "--pixel-size", metavar="A", parser=_positive, help="Pixel size in A of an EER movie whose metadata lack it."
    ),
]
TotalDoseOption = Annotated[
    float | None,
    declare.Option(
        "--dose", metavar="D", parser=_positive, help="Total dose in e/A^2 of an EER movie whose metadata lack it."
    ),
]
UpsamplingOption = Annotated[
    int | None,
    declare.Option(
        "--eer-upsampling",
        metavar="|".join(_UPSAMPLINGS),
        parser=_upsampling,
        help="Rendered pixels per detector pixel and axis.",
    ),
]
DtypeOption = Annotated[
    EerDtype | None, declare.Option("--eer-dtype", help="Pixel type of EER fractions.", show_default="int16")
]
LeftoverOption = Annotated[
    EerLeftover | None,
    declare.Option(
        "--eer-leftover",
        help="Use of the last EER frames if they do not fill a fraction.",
        show_default="drop",
    ),
]
GainOption = Annotated[
    Path | None,
    declare.Option(
        "--eer-gain",
        metavar="FILE",
        help="Gain reference of EER movies: factors in a .gain file, divisors in an MRC file.",
    ),
]
