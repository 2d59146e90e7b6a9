"""The interface of a provider of files that a mount adds to folders; `cryofs.movies.registry` lists them."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from cryofs.movies.movie import Movie
from cryofs.movies.provider import OpenContext, Provider, ShowOptions


class FolderProvider(ABC):
    """A file that a mount adds to each folder that contains movies of a kind.

    Attributes
    ----------
    key : str
        See `Provider.key`.
    name : str
        Name of the shown file.
    made_of : Provider
        Kind of movie. The first intact file of this kind in the folder determines the shown file.
    """

    key: str
    name: str
    made_of: Provider[Any, Any]

    @abstractmethod
    def stored_at(self, options: ShowOptions) -> Path | None:
        """Return the file whose attributes are shown, or None to show nothing."""

    @abstractmethod
    def size(self, metadata: Any, options: ShowOptions) -> int:
        """Return the size of the shown file in bytes."""

    @abstractmethod
    def open(self, metadata: Any, context: OpenContext) -> Movie:
        """Open the shown file; `metadata` is that of the first intact file."""

    @abstractmethod
    def bytes_key(self, options: ShowOptions) -> str:
        """Return a key that identifies the bytes of the file; see `Provider.bytes_key`."""
