"""Open the files of nodes.

Threads: thread-safe after `start`.
"""

import functools
import os
import stat
from collections.abc import Callable
from concurrent.futures import Executor

from cryofs.cache.frame_cache import FrameCache
from cryofs.errors import ChangedError, DamagedError
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.folder_provider import FolderProvider
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.movie import Movie
from cryofs.movies.provider import OpenContext, ShowOptions
from cryofs.storage.byte_source import ByteSource, LocalFile
from cryofs.storage.file_state import FileState
from cryofs.vfs.archive_root import Root
from cryofs.vfs.entries import Entries
from cryofs.vfs.findings import FindingsTable
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.nodes import Node
from cryofs.vfs.open_files import MovieFile, OpenFile, PlainFile
from cryofs.vfs.rehearsal import rehearse


class Opener:
    """Opener of the files and movies of a mount. It owns the resources that open movies share.

    Parameters
    ----------
    findings : FindingsTable
        Table that records problems of movies.
    eer_gains : EerGains
        Gain references of EER movies.
    limited : callable
        Returns a source of the same bytes that limits the time of each read.
    """

    def __init__(
        self,
        root: Root,
        io: IoExecutor,
        entries: Entries,
        findings: FindingsTable,
        eer_gains: EerGains,
        limited: Callable[[LocalFile], ByteSource],
    ):
        self._root = root
        self._limited = limited
        self._io = io
        self._entries = entries
        self._findings = findings
        self._gains = GainLibrary(root.path)
        self._eer_gains = eer_gains
        self._pool: Executor | None = None
        self._cache: FrameCache | None = None

    def start(self, pool: Executor, cache: FrameCache) -> None:
        """Set the thread pool that decodes frames, and the frame cache."""
        self._pool, self._cache = pool, cache

    def prepare(self, options: ShowOptions) -> None:
        """Load the gain reference and other resources that the first reader would wait for."""
        self._gains.preload(self._root.path)
        rehearse(self._root, self._context(options), self._io)

    def open(self, node: Node, must_be_found: bool) -> OpenFile:
        """Return the open file of a node.

        Raises
        ------
        ChangedError
            With `must_be_found`: the file was replaced or moved after the lookup.
        DamagedError
            A plain file has the name of the movie, and it is not known which of them counts.
        """
        if stat.S_ISDIR(node.attributes.mode):
            raise IsADirectoryError(node.path.name)
        context = self._context(node.view.options)
        if isinstance(node.kind, FolderProvider):
            metadata = self._entries.first(node.kind.made_of, node.path.parent)
            if metadata is None:
                raise FileNotFoundError(node.path.name)
            return self._movie_file(node.kind.open(metadata, context))
        if node.problem is not None:
            raise DamagedError(node.problem)
        try:
            source = self._root.open(node.path)
        except FileNotFoundError as error:
            if not must_be_found:
                raise
            # an archived movie may have taken its place
            raise ChangedError(f"{self._root.name_of(node.path)}: moved while it was opened; open it again") from error
        try:
            if must_be_found and node.stored and not os.path.samestat(source.stat, node.stored):
                raise ChangedError(f"{source.name}: file was replaced while it was being opened; retry")
            if node.kind is None:
                return PlainFile(source, self._io, is_made=node.is_elsewhere)
            movie = node.kind.open(node.path, source, context)
            movie.follow_content(functools.partial(self._drop_frames, source.identity))
            return self._movie_file(movie)
        except BaseException:
            source.close()
            raise

    def _drop_frames(self, identity: FileState) -> None:
        """Drop the decoded frames of a file whose ctime moved."""
        if self._cache is not None:
            self._cache.drop(identity)

    def _context(self, options: ShowOptions) -> OpenContext:
        return OpenContext(
            self._gains,
            self._eer_gains,
            self._pool,
            options,
            self._entries.facts.index,
            lambda source: self._findings.of(source.identity, source.name),
            self._entries.reference_of,
            self._limited,
            shows_bytes=True,
        )

    def _movie_file(self, movie: Movie) -> MovieFile:
        if self._cache is None:
            raise RuntimeError("open called before start")
        return MovieFile(movie, self._cache, self._io)
