"""Options for EER movies, shared by several commands."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

import click

from cryofs.cli.parameters import PATH, UPSAMPLING
from cryofs.config.choices import EerCrop, EerDtype, EerGainConvention, EerLeftover

if TYPE_CHECKING:
    from cryofs.movies.eer_rendering import Rendering

# Attributes of the options by the names of the settings, which also limit the numbers; in the order of help.
_OPTIONS: dict[str, dict[str, Any]] = {
    "eer_grouping": {"type": click.IntRange(1), "show_default": "40", "help": "EER frames per fraction."},
    "eer_dose_per_fraction": {
        "type": float,
        "metavar": "D",
        "help": "Set the grouping by the dose of a fraction, in e/A^2.",
    },
    "eer_dose": {
        "type": float,
        "metavar": "D",
        "help": "Dose of a whole EER movie in e/A^2, instead of the value in its metadata.",
    },
    "eer_pixel_size": {
        "type": float,
        "metavar": "A",
        "help": "Angstrom per detector pixel of EER movies, instead of the value in their metadata.",
    },
    "eer_upsampling": {
        "type": UPSAMPLING,
        "help": "Rendered pixels per detector pixel and axis; what RELION calls 3 is 4 here.",
    },
    "eer_crop": {
        "type": click.Choice(get_args(EerCrop)),
        "help": "Crop fractions in Fourier space to this upsampling, lower than --eer-upsampling.",
    },
    "eer_dtype": {
        "type": click.Choice(get_args(EerDtype)),
        "show_default": "int16; float32 with --eer-crop",
        "help": "Pixel type of EER fractions.",
    },
    "eer_leftover": {
        "type": click.Choice(get_args(EerLeftover)),
        "show_default": "drop",
        "help": "EER frames that do not fill a fraction: drop them, keep them as a last one, or spread them.",
    },
    "eer_gain": {
        "type": PATH,
        "metavar": "FILE",
        "help": "Gain reference of EER movies: factors in a .gain file, divisors in any other.",
    },
    "eer_gain_convention": {
        "type": click.Choice(get_args(EerGainConvention)),
        "help": "Multiply counts with the values of the gain reference, or divide by them, whatever its name.",
    },
    # None if not given, so that cryofs.toml decides
    "eer_apply_gain": {"is_flag": True, "default": None, "help": "Multiply fractions with the gain, as float32."},
}


def eer_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the EER options; its parameter `eer_settings` receives those given, by the names of settings."""

    @functools.wraps(command)
    def collect(**values: Any) -> None:
        given = {name: value for name in _OPTIONS if (value := values.pop(name)) is not None}
        if "eer_gain" in given:
            given["eer_gain"] = str(given["eer_gain"].absolute())
        command(**values, eer_settings=given)

    decorated: Callable[..., None] = collect
    # click lists the option of the last decorator first
    for name, attributes in reversed(_OPTIONS.items()):
        decorated = click.option("--" + name.replace("_", "-"), **attributes)(decorated)
    return decorated


def rendering_of(given: dict[str, Any]) -> "Rendering":
    """Return the rendering that the options of a command ask for."""
    from cryofs.config.settings import eer_settings
    from cryofs.movies import eer_rendering

    return eer_rendering.rendering_of(eer_settings(given))
