"""Read a part of a movie after the start of a mount, so that no reader waits for what is used for the first time.

Code that was never used is not in the processor's cache, and after other programs have used much memory not even in
that of the system; threads and memory have to be made.
"""

import contextlib
import itertools

import numpy as np

from cryofs.cache.frame_cache import FrameCache
from cryofs.errors import CryofsError
from cryofs.movies import registry
from cryofs.movies.movie import Movie
from cryofs.movies.provider import OpenContext
from cryofs.vfs.archive_root import Root
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.open_files import MovieFile

# Files of the archive among which a movie is searched.
_MOST_FILES = 1000
_READ_BYTES = 16 << 10
# A row block of any camera fits.
_CACHE_BYTES = 64 << 20


def rehearse(root: Root, context: OpenContext, io: IoExecutor) -> None:
    """Read the beginning of the first archived movie, if there is one, by the way of any request.

    Errors are left to the readers of the movie. The frame cache of the mount and its figures stay as they are.
    """
    with contextlib.suppress(CryofsError, OSError), _first_movie(root, context) as movie:
        if movie.row_block(0) is not None:
            file = MovieFile(movie, FrameCache(_CACHE_BYTES, run_io=io.run), io)
            file.read(_READ_BYTES, 0, np.empty(_READ_BYTES, np.uint8))


def _first_movie(root: Root, context: OpenContext) -> Movie:
    """Open a movie; raise FileNotFoundError if there is none."""
    for path, _ in itertools.islice(root.files_below(root.path), _MOST_FILES):
        for provider in registry.providers_of(path.name):
            if provider.replaces_stored and provider.option is None and provider.shown_name(path.name) is not None:
                return provider.open(path, root.open(path), context)
    raise FileNotFoundError(root.path)
