"""Warm-up read of a movie after mounting, so that the first reader does not wait for one-time costs.

At the first use, code is not in the processor's cache, and possibly not in the page cache; threads must be started and
memory allocated.
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

# Number of files to search for an archived movie.
_MOST_FILES = 1000
_READ_BYTES = 16 << 10
# Cache size in bytes; enough for a row block of any camera.
_CACHE_BYTES = 64 << 20


def rehearse(root: Root, context: OpenContext, io: IoExecutor) -> None:
    """Read the beginning of the first archived movie, if any, through the code path of requests.

    Errors are ignored here; readers of the movie get them. The frame cache and the figures of the mount do not change.
    """
    with contextlib.suppress(CryofsError, OSError), _first_movie(root, context) as movie:
        if movie.row_block(0) is not None:
            file = MovieFile(movie, FrameCache(_CACHE_BYTES, run_io=io.run), io)
            file.read(_READ_BYTES, 0, np.empty(_READ_BYTES, np.uint8))


def _first_movie(root: Root, context: OpenContext) -> Movie:
    """Open the first archived movie; raise FileNotFoundError if none is found."""
    for path, _ in itertools.islice(root.files_below(root.path), _MOST_FILES):
        for provider in registry.providers_of(path.name):
            if provider.replaces_stored and provider.option is None and provider.shown_name(path.name) is not None:
                return provider.open(path, root.open(path), context)
    raise FileNotFoundError(root.path)
