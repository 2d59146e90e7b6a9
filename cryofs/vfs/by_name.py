"""What a listing shows of stored files by their names alone, without reading their metadata.

A file with the name of an archived movie counts as one, unless the checksum list of its folder contains it: the list
holds the files that were kept as they are. Other files count as movies of the kind that their suffix belongs to.

Threads: one request at a time uses an object.
"""

from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path

from msgspec.structs import replace

from cryofs.formats.archive_names import SUFFIX
from cryofs.movies import registry
from cryofs.movies.registry import AnyProvider
from cryofs.storage.checksum_lines import parse
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.vfs.archive_root import Root
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.entries import UNKNOWN_SIZE
from cryofs.vfs.nodes import Node, Shown, made_at
from cryofs.vfs.views import View


class ByName:
    """Files of a folder, shown by their names.

    Parameters
    ----------
    folder : Path
        Place of the folder in the archive.
    """

    def __init__(self, root: Root, folder: Path, view: View):
        self._root = root
        self._folder = folder
        self._view = view

    def shown(self, node: Node) -> Iterator[Shown]:
        """Yield what is shown of a stored file; `node` is the file as it is stored."""
        name = node.path.name
        providers = registry.providers_of(name)
        if name not in self._kept:
            for provider in _of_all_views(providers, True):
                if movie := self._movie(node, provider):
                    yield movie
                    return
        yield Shown(name, node)
        for provider in _of_all_views(providers, False):
            if movie := self._movie(node, provider):
                yield movie
                return

    def _movie(self, node: Node, provider: AnyProvider) -> Shown | None:
        shown = provider.shown_name(node.path.name)
        if shown is None:
            return None
        place = node.path if provider.replaces_stored else node.path.with_name(shown)
        key, bytes_key = provider.key, provider.bytes_key(self._view.options)
        made = made_at(self._root, place, node.attributes, self._view, key, bytes_key)
        attributes: Attributes = replace(made, size=UNKNOWN_SIZE)
        return Shown(shown, Node(node.path, provider, attributes, self._view, node.stored, has_size=False))

    @cached_property
    def _kept(self) -> frozenset[str]:
        """Names in the checksum list that could be those of archived movies."""
        try:
            with self._root.open(self._folder / LIST_NAME) as source:
                lines = source.read(source.size, 0).split(b"\n")
        except OSError:
            return frozenset()
        return frozenset(parse(b"\n".join(line for line in lines if SUFFIX.encode() in line)).sums)


@lru_cache(maxsize=256)
def _of_all_views(providers: tuple[AnyProvider, ...], replaces_stored: bool) -> tuple[AnyProvider, ...]:
    """Return the kinds that all views show, in place of their stored files or beside them."""
    return tuple(
        one
        for one in providers
        if one.option is None and one.metadata_type is not None and one.replaces_stored is replaces_stored
    )
