"""Options for EER movies, shared by several commands."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from cryofs.cli import declare
from cryofs.config.choices import EerCrop, EerDtype, EerGainConvention, EerLeftover, EerUpsampling

if TYPE_CHECKING:
    from cryofs.movies.eer_rendering import Rendering

# above any real dose or pixel size
_LARGEST = 1e6
_UPSAMPLINGS = {str(choice): choice for choice in get_args(EerUpsampling)}
_CROPS = {str(choice): choice for choice in get_args(EerCrop)}


def _upsampling(text: str) -> int:
    if text not in _UPSAMPLINGS:
        raise declare.BadParameter(f"invalid value {text!r}; expected 1, 2 or 4 (what RELION calls 3 is 4 here)")
    return int(text)


def _crop(text: str) -> int:
    if text not in _CROPS:
        raise declare.BadParameter(f"invalid value {text!r}; expected 1 or 2")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= _LARGEST:
        raise declare.BadParameter(f"invalid value {text!r}; expected a number above 0")
    return value


# The settings by their names, in the order of the help.
_OPTIONS: dict[str, Any] = {
    "eer_grouping": Annotated[
        int | None, declare.Option("--eer-grouping", min=1, help="EER frames per fraction.", show_default="40")
    ],
    "eer_dose_per_fraction": Annotated[
        float | None,
        declare.Option(
            "--eer-dose-per-fraction",
            metavar="D",
            parser=_positive,
            help="Set the grouping by the dose of a fraction, in e/A^2.",
        ),
    ],
    "eer_dose": Annotated[
        float | None,
        declare.Option(
            "--eer-dose",
            metavar="D",
            parser=_positive,
            help="Dose of a whole EER movie in e/A^2, instead of the value in its metadata.",
        ),
    ],
    "eer_pixel_size": Annotated[
        float | None,
        declare.Option(
            "--eer-pixel-size",
            metavar="A",
            parser=_positive,
            help="Angstrom per detector pixel of EER movies, instead of the value in their metadata.",
        ),
    ],
    "eer_upsampling": Annotated[
        int | None,
        declare.Option(
            "--eer-upsampling",
            metavar="|".join(_UPSAMPLINGS),
            parser=_upsampling,
            help="Rendered pixels per detector pixel and axis.",
        ),
    ],
    "eer_crop": Annotated[
        int | None,
        declare.Option(
            "--eer-crop",
            metavar="|".join(_CROPS),
            parser=_crop,
            help="Crop fractions in Fourier space to this upsampling, lower than --eer-upsampling.",
        ),
    ],
    "eer_dtype": Annotated[
        EerDtype | None,
        declare.Option(
            "--eer-dtype", help="Pixel type of EER fractions.", show_default="int16; float32 with --eer-crop"
        ),
    ],
    "eer_leftover": Annotated[
        EerLeftover | None,
        declare.Option(
            "--eer-leftover",
            help="EER frames that do not fill a fraction: drop them, keep them as a last one, or spread them.",
            show_default="drop",
        ),
    ],
    "eer_gain": Annotated[
        Path | None,
        declare.Option(
            "--eer-gain",
            metavar="FILE",
            help="Gain reference of EER movies: factors in a .gain file, divisors in any other.",
        ),
    ],
    "eer_gain_convention": Annotated[
        EerGainConvention | None,
        declare.Option(
            "--eer-gain-convention",
            help="Multiply counts with the values of the gain reference, or divide by them, whatever its name.",
        ),
    ],
    "eer_apply_gain": Annotated[
        bool | None, declare.Option("--eer-apply-gain", help="Multiply fractions with the gain, as float32.")
    ],
}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the EER options; its parameter `eer_settings` receives those given, by the names of settings."""
    own = inspect.signature(command).parameters
    shared = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _OPTIONS.items()
    }

    @functools.wraps(command)
    def wrapped(*context: Any, **options: Any) -> None:
        settings = {name: value for name in _OPTIONS if (value := options.pop(name)) is not None}
        if "eer_gain" in settings:
            settings["eer_gain"] = str(settings["eer_gain"].absolute())
        command(*context, **options, eer_settings=settings)

    parameters: list[inspect.Parameter] = []
    for name, parameter in own.items():
        if name == "eer_settings":
            parameters += shared.values()
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {name: kind for name, kind in command.__annotations__.items() if name != "eer_settings"}
    wrapped.__annotations__ |= _OPTIONS
    return wrapped


def rendering(given: dict[str, Any]) -> "Rendering":
    """Return the rendering that the options of a command ask for."""
    from cryofs.config.settings import eer_settings
    from cryofs.movies.eer_rendering import rendering_of

    return rendering_of(eer_settings(given))
