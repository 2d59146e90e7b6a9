"""Options of the main view, from the settings of a mount."""

from pathlib import Path

from cryofs.config.settings import Settings
from cryofs.errors import GainError
from cryofs.movies import gain_kinds
from cryofs.movies.eer_rendering import Rendering
from cryofs.system.paths import is_file


def rendering_of(settings: Settings, archive: Path, root: Path) -> Rendering:
    """Return the rendering of EER movies in the main view.

    A gain reference inside the archive is reached through `root`, past any mount over the archive.

    Raises
    ------
    GainError
        There is no such gain reference, or it is a file of another kind.
    """
    gain = Path(settings.eer_gain).absolute() if settings.eer_gain else None
    if gain is not None and not is_file(gain):
        raise GainError(f"{gain}: gain reference does not exist; correct --eer-gain, or eer_gain in cryofs.toml")
    if gain is not None:
        gain_kinds.check_eer(gain)
    if gain is not None and gain.is_relative_to(archive):
        gain = root / gain.relative_to(archive)
    return Rendering(
        grouping=settings.eer_grouping,
        dose_per_fraction=settings.eer_dose_per_fraction,
        upsampling=settings.eer_upsampling,
        dtype=settings.eer_dtype,
        keep_leftover=settings.eer_leftover == "keep",
        gain=gain,
        apply_gain=settings.eer_apply_gain,
    )
