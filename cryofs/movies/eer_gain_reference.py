"""The gain reference of EER movies as a mount shows it: one MRC file in each folder that holds EER movies."""

from pathlib import Path

from cryofs.formats import mrc
from cryofs.formats.archive_names import GAIN_REFERENCE
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.movies.eer import EER
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import EerFacts, fingerprint, gain_header
from cryofs.movies.movie import InMemoryFrame, Movie
from cryofs.movies.provider import FolderProvider, OpenContext, ShowOptions


class EerGainMovie(Movie):
    """A gain reference on the grid of rendered fractions, as an MRC file of one frame to be multiplied with them.

    Raises
    ------
    GainError, ChangedError
        See `EerGains.get`.
    """

    def __init__(self, path: Path, header: MrcHeader, gains: EerGains):
        self.name = str(path)
        self.gain = gains.get(path, (header.ny, header.nx))
        self._header = header
        self.layout = Layout.of(header)
        self.identity = *self.gain.state, "EER gain", self._header.shape

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    def read_frame(self, index: int, rows: range | None = None) -> InMemoryFrame:
        """Return the reference on its grid."""
        if index != 0:
            raise IndexError(f"{self.name}: a gain reference has no frame {index}")
        return InMemoryFrame(mrc.frame_raw(self.gain.values, self._header))

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Nothing follows the frame."""
        return b""

    def close(self) -> None:
        """Nothing is kept open."""


class EerGainProvider(FolderProvider):
    """The gain reference that fractions are to be multiplied with; not shown if it was applied already."""

    key = "EER_GAIN"
    name = GAIN_REFERENCE
    made_of = EER

    def stored_at(self, options: ShowOptions) -> Path | None:
        """Return the gain reference that the user named."""
        return None if options.rendering.apply_gain else options.rendering.gain

    def size(self, metadata: EerFacts, options: ShowOptions) -> int:
        """Return the size of the reference on the grid of the fractions."""
        return gain_header(metadata, options.rendering).data_end

    def open(self, metadata: EerFacts, context: OpenContext) -> EerGainMovie:
        """Load the reference."""
        rendering = context.options.rendering
        if rendering.gain is None:
            raise FileNotFoundError(self.name)
        return EerGainMovie(rendering.gain, gain_header(metadata, rendering), context.eer_gains)

    def bytes_key(self, options: ShowOptions) -> str:
        """Return the rendering, which decides on the grid."""
        return fingerprint(options.rendering)


EER_GAIN = EerGainProvider()
