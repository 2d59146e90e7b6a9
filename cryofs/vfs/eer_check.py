"""Check of the settings for EER movies before mounting."""

from pathlib import Path

from cryofs.config.settings import Settings
from cryofs.errors import ChangedError, GainError
from cryofs.formats.eer import EerIndex
from cryofs.kernels.orientation import orientation_of
from cryofs.movies import eer_dose
from cryofs.movies.eer_files import first_eer
from cryofs.movies.eer_gain import check_fit
from cryofs.movies.eer_rendering import Rendering, fraction_header, rendering_of
from cryofs.storage.byte_source import LocalFile


def check_eer(archive: Path, settings: Settings) -> list[str]:
    """Return lines that describe how the settings apply to the first EER file of an archive.

    Without a readable EER file, nothing is checked.

    Raises
    ------
    FormatError
        The file cannot be rendered: its metadata lack what the settings need, or its positions are too coarse.
    GainError
        The gain reference cannot be read, or does not match the detector size of the file.
    """
    if (found := first_eer(archive)) is None:
        return []
    path, index = found
    rendering = rendering_of(settings)
    _check_rendering(path, index, rendering)
    if rendering.gain is None or not rendering.gain.is_file():
        # a later step reports a missing file
        return []
    shape = index.ny * rendering.upsampling, index.nx * rendering.upsampling
    try:
        orientation = orientation_of(settings.gain_orientation)
        return check_fit(rendering.gain, rendering.gain_convention, shape, orientation)
    except GainError as error:
        raise GainError(f"{error} ({path.relative_to(archive)} has {index.ny} x {index.nx} pixels)") from error


def _check_rendering(path: Path, index: EerIndex, rendering: Rendering) -> None:
    try:
        with LocalFile.open(path) as source:
            facts = eer_dose.facts_for(source, index, rendering)
    except (ChangedError, OSError):
        # a read of the movie reports the error
        return
    fraction_header(facts, rendering, str(path))
