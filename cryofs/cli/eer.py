"""EER options that several commands share."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

import click

from cryofs.cli.parameters import PATH, UPSAMPLING
from cryofs.config.choices import EerCrop, EerDtype, EerGainConvention, EerLeftover

if TYPE_CHECKING:
    from cryofs.movies.eer_rendering import Rendering

# Attributes of the options by setting name, in the order of the help; the settings define the valid values.
_OPTIONS: dict[str, dict[str, Any]] = {
    "eer_grouping": {"type": click.IntRange(1), "show_default": "40", "help": "EER frames per fraction."},
    "eer_dose_per_fraction": {
        "type": float,
        "metavar": "D",
        "help": "Dose per fraction in e/A^2; determines the grouping.",
    },
    "eer_dose": {
        "type": float,
        "metavar": "D",
        "help": "Total dose of an EER movie in e/A^2, instead of the value in its metadata.",
    },
    "eer_pixel_size": {
        "type": float,
        "metavar": "A",
        "help": "Detector pixel size of EER movies in angstrom, instead of the value in their metadata.",
    },
    "eer_upsampling": {
        "type": UPSAMPLING,
        "help": "Rendered pixels per detector pixel and axis; 4 corresponds to 3 in RELION.",
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
        "help": "Last EER frames that do not fill a fraction: drop them, keep them as a shorter fraction, or spread "
        "them over the last fractions.",
    },
    "eer_gain": {
        "type": PATH,
        "metavar": "FILE",
        "help": "Gain reference of EER movies; a .gain file contains factors, any other file divisors.",
    },
    "eer_gain_convention": {
        "type": click.Choice(get_args(EerGainConvention)),
        "help": "Multiply counts by the values of the gain reference, or divide by them, regardless of its file name.",
    },
    # None if not given, so that the value in cryofs.toml applies
    "eer_apply_gain": {
        "is_flag": True,
        "default": None,
        "help": "Multiply fractions by the gain; they become float32.",
    },
}


def eer_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the EER options to a command; its parameter `eer_settings` receives the given options by setting name."""

    @functools.wraps(command)
    def collect(**values: Any) -> None:
        given = {name: value for name in _OPTIONS if (value := values.pop(name)) is not None}
        if "eer_gain" in given:
            given["eer_gain"] = str(given["eer_gain"].absolute())
        command(**values, eer_settings=given)

    decorated: Callable[..., None] = collect
    # click lists the options of later decorators first
    for name, attributes in reversed(_OPTIONS.items()):
        decorated = click.option("--" + name.replace("_", "-"), **attributes)(decorated)
    return decorated


def rendering_of(given: dict[str, Any]) -> "Rendering":
    """Return the rendering for the given EER options of a command."""
    from cryofs.config.settings import eer_settings
    from cryofs.movies import eer_rendering

    return eer_rendering.rendering_of(eer_settings(given))
