"""Gain reference of EER movies in a mount: one MRC file in each folder that contains EER movies."""

from pathlib import Path

from cryofs.formats.archive_names import GAIN_REFERENCE
from cryofs.movies.eer_gain import EerGainMovie
from cryofs.movies.eer_provider import EER
from cryofs.movies.eer_rendering import EerFacts, gain_header
from cryofs.movies.folder_provider import FolderProvider
from cryofs.movies.provider import OpenContext, ShowOptions


class EerGainProvider(FolderProvider):
    """The gain reference that readers multiply fractions with; hidden if the mount has already applied it."""

    key = "EER_GAIN"
    name = GAIN_REFERENCE
    made_of = EER

    def stored_at(self, options: ShowOptions) -> Path | None:
        """Return the gain reference that the user passed, or None to show nothing."""
        return None if options.rendering.multiplies_gain else options.rendering.gain

    def size(self, metadata: EerFacts, options: ShowOptions) -> int:
        """Return the size of the reference on the grid of the fractions, in bytes."""
        return gain_header(metadata, options.rendering).data_end

    def open(self, metadata: EerFacts, context: OpenContext) -> EerGainMovie:
        """Open the reference on the grid of the fractions."""
        rendering = context.options.rendering
        if rendering.gain is None:
            raise FileNotFoundError(self.name)
        return EerGainMovie(
            rendering.gain, gain_header(metadata, rendering), context.eer_gains, rendering.gain_convention
        )

    def bytes_key(self, options: ShowOptions) -> str:
        """Return the key of the grid and of an unusual convention."""
        rendering = options.rendering
        return f"{rendering.upsampling} {rendering.unusual_convention or ''}"


EER_GAIN = EerGainProvider()
