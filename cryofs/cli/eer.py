"""Options on EER movies that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Grouping = Annotated[
    int | None, typer.Option("--eer-grouping", min=1, help="EER frames in a fraction.", show_default="40")
]
DosePerFraction = Annotated[
    float | None, typer.Option("--eer-dose-per-fraction", metavar="D", help="Group by dose instead, in e/A^2.")
]


def _upsampling(text: str) -> int:
    if text not in ("1", "2", "4"):
        raise typer.BadParameter("1, 2 or 4 times the pixels of the detector (what RELION calls 3 is 4 here)")
    return int(text)


Upsampling = Annotated[
    int | None,
    typer.Option(
        "--eer-upsampling", metavar="1|2|4", parser=_upsampling, help="Pixels a detector pixel.", show_default="1"
    ),
]
Leftover = Annotated[
    str | None,
    typer.Option("--eer-leftover", metavar="drop|keep", help="Frames that fill no fraction.", show_default="drop"),
]
Gain = Annotated[
    Path | None,
    typer.Option("--eer-gain", metavar="FILE", help="Gain reference of EER movies: .gain multiplies, MRC divides."),
]
