"""The interface of a provider, which defines one kind of movie.

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

# Option of views that multiply TIFF movies of other programs with their gain reference.
NORMALISED = "normalised"


@dataclass(frozen=True)
class ShowOptions:
    """Options that determine which movies a mount shows, and how.

    Attributes
    ----------
    rendering : Rendering
        Options for rendering EER movies.
    enabled : frozenset
        Names of the options in effect. A provider with an `option` applies only if that option is among them.
    """

    rendering: Rendering = field(default_factory=Rendering)
    enabled: frozenset[str] = frozenset()

    @property
    def is_normalised(self) -> bool:
        """True if counts of other programs are shown only after multiplication with their gain reference."""
        return NORMALISED in self.enabled


@dataclass(frozen=True)
class Appearance:
    """Attributes of a shown movie; None for each attribute that equals that of the stored file.

    Attributes
    ----------
    size : int or None
        Size of the MRC file in bytes; None if it is unknown because the movie cannot be opened.
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
        The damage; None if the file is intact.
    is_foreign : bool
        Whether the file is a movie of another program that `cryofs adopt` can give a record, damaged or not, or an
        adopted movie that lost its record.
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
        Description shared by similar movies, with ``{size}`` in place of columns and rows.
    time : float
        Modification time of the movie in seconds since 1970.
    gain : str or None
        SHA-256 of the gain reference in the record.
    exceptions : int
        Number of exceptions among the `values` values.
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
        Options for rendering EER movies; its pixel size and dose override those in the file.
    """

    jobs: int = field(default_factory=usable_cores)
    rendering: Rendering = field(default_factory=Rendering)


@dataclass(frozen=True)
class OpenContext:
    """Resources shared by all open movies.

    Attributes
    ----------
    pool : Executor or None
        Thread pool that decodes the strips of a frame in parallel; None to decode in the calling thread.
    index : callable
        Returns the index of an open file, from memory if it is cached.
    findings : callable
        Returns the `Findings` of an open file.
    reference : callable
        Returns the gain reference in a folder or above it for TIFF movies of other programs, or None.
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
    """A kind of movie, with all operations on it.

    Attributes
    ----------
    key : str
        Identifier of the kind. Inode numbers of mounts depend on it, so it must not change.
    suffixes : tuple of str
        Suffixes of stored files, with at most two dots each. Files with other suffixes are not probed.
    metadata_type : type
        Type that `probe` returns. The index of a mount stores it with msgspec.
    replaces_stored : bool
        Whether a mount shows the movie in place of the stored file instead of beside it.
    option : str or None
        Option that a view needs to show the kind; None if all views show it.
    lists_damaged : bool
        Whether a mount lists the movie of a damaged file, so that users notice the damage.
    comes_with_references : bool
        Whether a mount may show gain references of the archive beside the movie; see `needs_references`.
    has_records : bool
        Whether a file of this kind may have a record.
    is_rendered : bool
        Whether compress can archive the movie in place of the stored file; `open` then returns a `SourceMovie`.
    checks_take_time : bool
        Whether `damage` may be slow, so that commands limit its time and `identify` does not read the file.
    has_details : bool
        Whether `details` returns any items.
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
        """Key of the metadata table, shared by kinds with the same stored files."""
        return self.key

    def metadata_key(self, options: ShowOptions) -> str:
        """Return the key under which the index of a mount stores the result of `probe` with these options."""
        return self.table

    def shown_name(self, stored: str) -> str | None:
        """Return the name under which a mount shows the movie of a stored file, or None if it shows no movie."""
        return None

    def stored_names(self, shown: str) -> Sequence[str]:
        """Return the possible names of the stored file of a shown movie, the most likely first."""
        return ()

    def claims(self, source: LocalFile) -> bool:
        """Return True if an open file with a matching name is to be opened as this kind; do not check metadata."""
        return True

    def read_index(self, source: LocalFile) -> I | None:
        """Read the index of a file: data beyond the metadata that `open` needs, cached for a few files."""
        return None

    @abstractmethod
    def probe(self, source: LocalFile, read_index: Callable[[LocalFile], I], options: ShowOptions) -> M | None:
        """Read the metadata of a file, on which names and attributes depend; decode no frame.

        Parameters
        ----------
        read_index : callable
            Returns the result of `read_index`, from memory if it is cached.
        options : ShowOptions
            Options of the main view.

        Returns
        -------
        metadata or None
            None if the file is not of this kind.

        Raises
        ------
        DamagedError, FormatError
            The file is of this kind, but damaged.
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
        """Open the movie, which closes `source`; if an error is raised, the caller closes it."""

    def bytes_key(self, options: ShowOptions) -> str:
        """Return a key that distinguishes the bytes of the movie under different options of the same view."""
        return ""

    def gain(self, metadata: M) -> str | None:
        """Return the SHA-256 of the gain reference that the movie needs, or None."""
        return None

    def needs_references(self, metadata: M) -> bool:
        """Return True if a mount shows gain references of the archive beside the movie."""
        return False

    def details(self, metadata: M, options: ShowOptions, name: str, findings: Findings) -> dict[str, Any]:
        """Return the rendering of the movie and the problems found in it, by name, for extended attributes."""
        return {}

    def describe(self, movie: Any, path: Path, options: InfoOptions) -> dict[str, Any]:
        """Return the facts that `cryofs info` prints about a movie that `open` returned, by name."""
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
        """Return the reason why the frames of a file cannot be read, or None; decode no frame.

        Parameters
        ----------
        every_frame : bool
            For kinds that skip damaged frames: whether a file with a few damaged frames counts as damaged.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        found = self.identify(path)
        return found.error if found else None

    def load_compiled(self) -> None:
        """Load the compiled code that reading needs, so that the first reader does not wait for it."""
        return

    @abstractmethod
    def summarize(self, path: Path) -> Summary | None:
        """Return the facts for the report of an archive, or None to omit the file; decode no frame."""
