"""Names of which a plain file and an archived movie exist, while a step is under way or after a restored backup.

Threads: safe to call from any thread.
"""

from pathlib import Path

from msgspec.structs import replace

from cryofs.errors import CryofsError
from cryofs.formats.archive_names import is_reference_name
from cryofs.movies import registry
from cryofs.movies.twins import Counts, conflict, which_counts
from cryofs.storage.file_state import state_of
from cryofs.storage.journal import JOURNAL_NAME, Journal, parse
from cryofs.vfs.archive_root import Root
from cryofs.vfs.damage import Damage
from cryofs.vfs.entries import Entries
from cryofs.vfs.nodes import Node

# A step that begins or ends while it is looked at is looked at again.
_ATTEMPTS = 5


class Twins:
    """What counts of the two files of a name, by the journal and the record (`cryofs.movies.twins`)."""

    def __init__(self, root: Root, entries: Entries):
        self._root = root
        self._entries = entries

    def settled(self, place: Path, node: Node) -> Node | None:
        """Return the node of a name for which an archived movie was found.

        Returns
        -------
        Node or None
            The same node if the archived movie counts, or there is no plain file; None if the plain file counts, or
            the archived movie is gone; a node that cannot be opened if neither counts.
        """
        if is_reference_name(place.name):
            return node  # a plain file of this name is a gain reference, not a movie
        for _ in range(_ATTEMPTS):
            plain, archived = self._entries.lstat(place), self._entries.lstat(node.path)
            if plain is None:
                return node
            if archived is None:
                return None
            original = self._original(node)
            if original is None:
                return node  # damaged; opening it reports the error
            match which_counts(self._journal(place.parent), place.name, plain, archived, original):
                case Counts.ARCHIVED:
                    return node
                case Counts.PLAIN:
                    return None
            now = self._entries.lstat(place), self._entries.lstat(node.path)
            if None not in now and [state_of(found) for found in now if found] == [state_of(plain), state_of(archived)]:
                break
        problem = conflict(self._root.name_of(place), node.path.name)
        return replace(node, has_size=False, problem=str(problem))

    def _original(self, node: Node) -> tuple[int, int] | None:
        """Return size and mtime_ns of the original of an archived movie, or None if it is damaged."""
        for provider in registry.providers_of(node.path.name):
            if provider.replaces_stored and provider.option is None and node.stored is not None:
                try:
                    metadata = self._entries.facts.metadata(provider, node.path, node.stored)
                except CryofsError:
                    return None
                if metadata is None or isinstance(metadata, Damage):
                    return None
                shown = provider.appearance(metadata, node.view.options)
                return None if shown.size is None or shown.mtime_ns is None else (shown.size, shown.mtime_ns)
        return None

    def _journal(self, folder: Path) -> Journal:
        try:
            with self._root.open(folder / JOURNAL_NAME) as source:
                return parse(source.read(source.size, 0))
        except FileNotFoundError:
            return Journal()
