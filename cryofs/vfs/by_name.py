"""What a listing shows of stored files by their names alone, without reading their metadata.

A file with the name of an archived movie counts as one, unless the checksum list of its folder contains it: the list
holds the files that were kept as they are. Other files count as movies of the kind that their suffix belongs to.

Threads: one request at a time uses an object.
"""

import os
from functools import cached_property, lru_cache
from pathlib import Path

from cryofs.formats.archive_names import SUFFIX
from cryofs.movies import registry
from cryofs.movies.registry import AnyProvider
from cryofs.storage.checksum_lines import parse
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.vfs.archive_root import Root
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.inodes import FolderInodes, made_of
from cryofs.vfs.nodes import Node, Shown
from cryofs.vfs.views import View


class ByName:
    """Files of a folder, shown by their names.

    Parameters
    ----------
    folder : Path
        Place of the folder in the archive.
    inodes : FolderInodes
        Inode numbers of the stored files.
    """

    def __init__(self, root: Root, folder: Path, view: View, inodes: FolderInodes):
        self._root = root
        self._folder = folder
        self._view = view
        self._inodes = inodes

    def shown(self, name: str, found: os.stat_result) -> list[Shown]:
        """Return what is shown of a stored file, in the order of a listing."""
        replacing, beside = _of_all_views(registry.providers_of(name))
        stored = self._inodes.attributes(name, found)
        if replacing is not None and name not in self._kept and (shown := replacing.shown_name(name)):
            return [self._movie(shown, replacing, stored)]
        own = Shown(name, stored, Node(self._folder / name, None, stored, self._view, found))
        if beside is not None and (shown := beside.shown_name(name)):
            return [self._movie(shown, beside, stored), own]
        return [own]

    def _movie(self, name: str, kind: AnyProvider, stored: Attributes) -> Shown:
        return Shown(name, made_of(stored, kind.key, self._view.name, kind.bytes_key(self._view.options), ""), None)

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
def _of_all_views(kinds: tuple[AnyProvider, ...]) -> tuple[AnyProvider | None, AnyProvider | None]:
    """Return the kinds that all views show, in place of the stored file and beside it."""
    every = [one for one in kinds if one.option is None and one.metadata_type is not None]
    replacing, beside = ([one for one in every if one.replaces_stored is where] for where in (True, False))
    return next(iter(replacing), None), next(iter(beside), None)
