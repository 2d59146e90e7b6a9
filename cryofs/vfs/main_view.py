"""Options of the main view, derived from the settings of a mount."""

from dataclasses import replace
from pathlib import Path

from cryofs.config.settings import Settings
from cryofs.errors import GainError
from cryofs.kernels.orientation import orientation_of
from cryofs.movies import gain_kinds
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering, rendering_of
from cryofs.system.paths import is_file


def main_rendering(settings: Settings, archive: Path, root: Path) -> Rendering:
    """Return the rendering of EER movies in the main view.

    A gain reference within the archive is accessed through `root`, so that a mount over the archive does not hide it.

    Raises
    ------
    GainError
        The gain reference does not exist, or is not a gain reference.
    """
    rendering = rendering_of(settings)
    if rendering.gain is None:
        return rendering
    gain = rendering.gain.absolute()
    if not is_file(gain):
        raise GainError(f"{gain}: gain reference does not exist; correct --eer-gain, or eer_gain in cryofs.toml")
    gain_kinds.check_eer(gain)
    return replace(rendering, gain=root / gain.relative_to(archive) if gain.is_relative_to(archive) else gain)


def main_gains(settings: Settings) -> EerGains:
    """Return the gain references of EER movies, in the orientation given by the settings."""
    return EerGains(orientation_of(settings.gain_orientation))
