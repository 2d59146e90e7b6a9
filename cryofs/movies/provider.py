"""The interface of a provider, which defines all properties of one kind of movie.

`cryofs.movies.registry` lists the providers. A provider keeps no state, so any thread may call it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cryofs.errors import CryofsError, DamagedError
from cryofs.formats.record import Record
from cryofs.movies.eer_findings import Findings
from cryofs.movies.eer_rendering import Rendering
from cryofs.movies.movie import Movie
from cryofs.movies.mrc_facts import mrc_description
from cryofs.storage.byte_source import ByteSource, LocalFile
from cryofs.system.resources import usable_cores

if TYPE_CHECKING:
    from cryofs.movies.eer_gain import EerGains
    from cryofs.movies.gain_library import GainLibrary

M = TypeVar("M")
I = TypeVar("I")  # noqa: E741 - the index of a file

# The option of TIFF movies of other programs that are multiplied with their gain reference.
NORMALISED = "normalised"


@dataclass(frozen=True)
class ShowOptions:
    """Options for presenting movies.

    Attributes
    ----------
    rendering : Rendering
        Options for rendering EER movies.
    enabled : frozenset
        Names of further options. A provider that names one in `option` applies only if it is among them.
    """

    rendering: Rendering = field(default_factory=Rendering)
    enabled: frozenset[str] = frozenset()

    @property
    def is_normalised(self) -> bool:
        """Whether counts of other programs are shown only multiplied with their gain reference."""
        return NORMALISED in self.enabled


@dataclass(frozen=True)
class Appearance:
    """Attributes of a shown movie; None for each that equals the attribute of the stored file.

    Attributes
    ----------
    size : int or None
        Size of the MRC file; None if opening the movie fails, so that its size is unknown.
    """

    size: int | None
    mode: int | None = None
    mtime_ns: int | None = None
    atime_ns: int | None = None


@dataclass(frozen=True)
class Stored:
    """Identification of a file of an archive.

    Attributes
    ----------
    provider : Provider or None
        The kind of movie; None for any other file.
    record : Record or None
        The record of an archived or adopted movie.
    error : DamagedError or None
        Reason why it is damaged.
    is_foreign : bool
        Whether it is a movie of another program of a kind that `cryofs adopt` gives records, damaged or not; or an
        adopted one that lost its record.
    """

    provider: "Provider[Any, Any] | None" = None
    size: int = 0
    record: Record | None = None
    error: DamagedError | None = None
    is_foreign: bool = False


@dataclass(frozen=True)
class Summary:
    """Facts about a movie for the report of an archive.

    Attributes
    ----------
    kind : str
        Description that groups similar movies, with ``{size}`` in place of columns and rows.
    time : float
        When the movie was written, in seconds since 1970.
    gain : str or None
        SHA-256 of the gain reference that the file names.
    exceptions : int
        Number of values that are exceptions, out of `values`.
    """

    kind: str
    shape: tuple[int, int, int]
    time: float
    original_bytes: int
    stored_bytes: int
    gain: str | None = None
    exceptions: int = 0
    values: int = 0


@dataclass(frozen=True)
class InfoOptions:
    """Options of `cryofs info`.

    Attributes
    ----------
    rendering : Rendering
        Options for rendering EER movies, with the pixel size and dose to use instead of those in the file.
    """

    jobs: int = field(default_factory=usable_cores)
    rendering: Rendering = field(default_factory=Rendering)


@dataclass(frozen=True)
class OpenContext:
    """Resources shared by all open movies.

    Attributes
    ----------
    pool : Executor or None
        Decodes the strips of a frame in parallel.
    index : callable
        Returns the index of an open file, from memory if it is there.
    findings : callable
        Returns the `Findings` of an open file.
    reference : callable
        Returns the gain reference that lies in a folder or above it for TIFF movies of other programs, or None.
    limited : callable
        Returns a source of the same bytes that limits the time of each read, for reads while frames are decoded.
    shows_bytes : bool
        Whether a packed file is opened for its bytes, which need not be a movie.
    """

    gains: "GainLibrary"
    eer_gains: "EerGains"
    pool: Executor | None = None
    options: ShowOptions = field(default_factory=ShowOptions)
    index: Callable[["Provider[Any, Any]", LocalFile], Any] = lambda provider, source: provider.read_index(source)
    findings: Callable[[LocalFile], Findings] = lambda source: Findings(source.name)
    reference: Callable[[Path], Path | None] = lambda folder: None
    limited: Callable[[LocalFile], ByteSource] = lambda source: source
    shows_bytes: bool = False


class Provider(ABC, Generic[M, I]):
    """A kind of movie.

    Attributes
    ----------
    key : str
        Identifies the kind. Inode numbers of mounts depend on it, so it never changes.
    suffixes : tuple of str
        Ends of the names of stored files. Files of other names are never probed. A suffix has at most two dots.
    metadata_type : type
        What `probe` returns; the index of a mount stores it with msgspec.
    replaces_stored : bool
        Whether a mount shows the movie in place of the stored file, not beside it.
    option : str or None
        The option of a view without which the kind is not shown.
    lists_damaged : bool
        Whether a mount lists the movie of a damaged file, so that the loss is seen.
    comes_with_references : bool
        Whether a mount shows gain references of the archive beside movies for which `needs_references` is true.
    has_records : bool
        Whether a file of this kind may have a record.
    is_rendered : bool
        Whether compress can archive the movie in place of the stored file; `open` then returns a `SourceMovie`.
    checks_take_time : bool
        Whether `damage` is so slow that commands limit its time; `identify` then does not read the file.
    has_details : bool
        Whether `details` returns facts.
    is_unpackable : bool
        Whether compress can archive the movie in the file in place of the file.
    is_surveyed : bool
        Whether the index takes reading the whole file: mounts keep it, and let readers wait for `survey`.
    index_type : type
        What `survey` returns; the index of a mount stores it with msgspec.
    applies_reference : bool
        Whether the bytes depend on a gain reference: the one that `gain` names, or else the one that
        `OpenContext.reference` finds. Without either the movie is not shown.
    """

    key: str
    suffixes: tuple[str, ...] = ()
    metadata_type: Any = None
    replaces_stored: bool = False
    option: str | None = None
    lists_damaged: bool = True
    comes_with_references: bool = False
    has_records: bool = False
    is_rendered: bool = False
    checks_take_time: bool = False
    has_details: bool = False
    is_unpackable: bool = False
    is_surveyed: bool = False
    index_type: Any = None
    applies_reference: bool = False

    @property
    def table(self) -> str:
        """Key of the metadata table, shared by kinds that are derived from the same files."""
        return self.key

    def metadata_key(self, options: ShowOptions) -> str:
        """Return the key under which the index of a mount stores what `probe` returns with these options."""
        return self.table

    def shown_name(self, stored: str) -> str | None:
        """Return the name under which a mount shows the movie of a stored file, or None if it shows none."""
        return None

    def stored_names(self, shown: str) -> Sequence[str]:
        """Return the possible names of the stored file of a shown movie, the most likely first."""
        return ()

    def claims(self, source: LocalFile) -> bool:
        """Return True if an open file with a matching name is opened as this kind; metadata are not checked."""
        return True

    def read_index(self, source: LocalFile) -> I | None:
        """Read the index of a file: data that opening the movie needs beyond the metadata, cached for a few files."""
        return None

    @abstractmethod
    def probe(self, source: LocalFile, read_index: Callable[[LocalFile], I], options: ShowOptions) -> M | None:
        """Read the metadata of a file: the data that names and attributes depend on. No frame is decoded.

        Parameters
        ----------
        read_index : callable
            Returns the index of `read_index`, from memory if it is cached.
        options : ShowOptions
            Options of the main view.

        Returns
        -------
        metadata or None
            None if the file is not of this kind.

        Raises
        ------
        DamagedError, FormatError
            It is of this kind, and damaged.
        """

    def is_shown(self, metadata: M, options: ShowOptions) -> bool:
        """Return True if an intact file is shown as this kind."""
        return True

    def survey(self, source: ByteSource) -> I:
        """Return the index of a file of a kind that is surveyed; errors as of `probe`."""
        raise NotImplementedError

    def needs_survey(self, metadata: M) -> bool:
        """Return True if the size of the movie is known only from the index of a kind that is surveyed."""
        return False

    def surveyed(self, index: I) -> M:
        """Return the metadata of a file of a kind that is surveyed from its index."""
        raise NotImplementedError

    @abstractmethod
    def appearance(self, metadata: M, options: ShowOptions) -> Appearance:
        """Return the attributes of the shown movie."""

    @abstractmethod
    def open(self, path: Path, source: LocalFile, context: OpenContext) -> Movie:
        """Open the movie. It closes `source`; if this raises an error, the caller does."""

    def bytes_key(self, options: ShowOptions) -> str:
        """Return a key that distinguishes the bytes of the movie from those with other options of the same view."""
        return ""

    def gain(self, metadata: M) -> str | None:
        """Return the SHA-256 of the gain reference that the movie needs, or None."""
        return None

    def needs_references(self, metadata: M) -> bool:
        """Return True if a mount shows gain references of the archive beside the movie."""
        return False

    def details(self, metadata: M, options: ShowOptions, name: str, findings: Findings) -> dict[str, Any]:
        """Return the rendering of the movie and the problems found in it, for extended attributes."""
        return {}

    def describe(self, movie: Any, path: Path, options: InfoOptions) -> dict[str, Any]:
        """Return the output of `cryofs info` for a movie that `open` returned."""
        return mrc_description(movie, path.name)

    def identify(self, path: Path) -> Stored | None:
        """Identify a file with a matching name, without decoding frames; return None if it is not of this kind.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        return Stored(self)

    def damage(self, path: Path, *, every_frame: bool = False) -> CryofsError | None:
        """Return the reason why the frames of a file cannot be found, or None; no frame is decoded.

        Parameters
        ----------
        every_frame : bool
            Whether a file with only some intact frames counts as damaged, if its kind skips damaged frames.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        found = self.identify(path)
        return found.error if found else None

    def load_compiled(self) -> None:
        """Load compiled code that reading needs, so that the first reader does not wait for it."""
        return

    @abstractmethod
    def summarize(self, path: Path) -> Summary | None:
        """Return the facts for the report of an archive, without decoding a frame; None to skip the file."""
