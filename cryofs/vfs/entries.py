"""The movies of a mount: the kind and name under which each stored file is shown.

Symbolic links to stored files are resolved within the archive, so that movies also appear beside such links.

Threads: thread-safe; cached metadata (`cryofs.vfs.facts`) have their own locks.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cryofs.errors import CryofsError
from cryofs.formats.archive_names import is_own_name, is_reference_name
from cryofs.movies import registry
from cryofs.movies.provider import Appearance
from cryofs.movies.registry import AnyProvider
from cryofs.system.paths import LONGEST_NAME
from cryofs.vfs.archive_root import Root
from cryofs.vfs.attributes import Attributes, attributes_of
from cryofs.vfs.damage import Damage
from cryofs.vfs.facts import Facts
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.links import target_beneath
from cryofs.vfs.nodes import Node, Shown, Source, made_at, made_of_source, plain_node
from cryofs.vfs.views import View

# Placeholder for an unknown movie size. Not 0, because copy programs may skip empty files and report success; not the
# size of the stored file, because a program could mistake it for the size of the movie.
_UNKNOWN_SIZE = 1
_UNKNOWN = Appearance(None)


class Entries:
    """The movies that a mount derives from the files of an archive.

    Parameters
    ----------
    main : View
        The main view.
    reference_of : callable
        Function that returns the gain reference for TIFF movies of other programs in a folder, or None.
    """

    def __init__(self, root: Root, io: IoExecutor, main: View, reference_of: Callable[[Path], Path | None]):
        self._root = root
        self.reference_of = reference_of
        self._main = main
        self.facts = Facts(root, io, main.options)
        # files listed as movies because storage did not respond
        self._assumed: set[Path] = set()

    def own_inode(self, place: Path, stored: Path, found: os.stat_result) -> int:
        """Return the inode number of its own that a file has if its place in the main view shows it.

        Parameters
        ----------
        stored : Path
            The place itself for an unchanged file, or the path of the movie that is shown there instead.
        """
        if stored == place:
            return plain_node(self._root, place, found, self._main).attributes.inode
        provider = _replacing(registry.providers_of(stored.name), self._main.options.enabled)[0]
        return made_of_source(self._root, place, Source(stored, found), self._main, provider).inode

    def appears(self, path: Path, found: os.stat_result, view: View) -> tuple[str, AnyProvider | None] | None:
        """Return the shown name of a stored file and the kind that replaces it, or None if the file is hidden."""
        if _is_hidden(path.name, found, view):
            return None
        replaced = self._replaced(path, found, view)
        return (path.name, None) if replaced is None else replaced[:2]

    def replacing(self, place: Path, view: View) -> Node | None:
        """Return the node of the movie that is shown at a place instead of its stored file, or None."""
        for provider in _replacing(registry.PROVIDERS, view.options.enabled):
            for name in provider.stored_names(place.name):
                path = place.with_name(name)
                found = self.lstat(path)
                # the file may have become a plain movie before its record is read
                with contextlib.suppress(FileNotFoundError):
                    if found is not None and (node := self._made(provider, place, Source(path, found), view)):
                        return node
        return None

    def beside(self, place: Path, view: View) -> Node | None:
        """Return the node of the movie that is shown at a place beside its stored file or a link to it, or None."""
        kinds: dict[str, list[AnyProvider]] = {}
        for provider in _beside(registry.PROVIDERS, view.options.enabled):
            for name in provider.stored_names(place.name):
                kinds.setdefault(name, []).append(provider)
        for name, found in self._existing(place.parent, sorted(kinds, key=_has_capitals)):
            if (source := self._behind(place.with_name(name), found)) is None:
                continue
            for provider in kinds[name]:
                if node := self._made(provider, place, source, view):
                    return node
        return None

    def folder_file(self, place: Path, view: View) -> Node | None:
        """Return the node of a file that is added at a place because its folder has movies of a kind, or None."""
        for provider in registry.FOLDER_PROVIDERS:
            stored = provider.stored_at(view.options) if provider.name == place.name else None
            if stored is None:
                continue
            metadata = self.first(provider.made_of, place.parent) if self._root.is_folder(place.parent) else None
            try:
                found = stored.stat()
            except OSError:
                continue  # opening a movie that needs the file reports the error
            if metadata is None or not stat.S_ISREG(found.st_mode):
                continue
            key, bytes_key = provider.key, provider.bytes_key(view.options)
            attributes = made_at(self._root, place, attributes_of(found), view, key, bytes_key, by_place=True)
            size = provider.size(metadata, view.options)
            return Node(place, provider, replace(attributes, size=size), view, None)
        return None

    def listed(self, path: Path, found: os.stat_result, stored: Attributes, view: View) -> Shown | None:
        """Return the name and node that a listing shows for a stored file, or None if the file is hidden.

        If the size of a movie is unknown, only the type and inode of its attributes are valid.

        Parameters
        ----------
        stored : Attributes
            Attributes of the stored file in the view.
        """
        if _is_hidden(path.name, found, view):
            return None
        replaced = self._replaced(path, found, view)
        if replaced is None:
            return Shown(path.name, stored, Node(path, None, stored, view, found))
        name, provider, metadata = replaced
        made = made_at(self._root, path, stored, view, provider.key, provider.bytes_key(view.options))
        return self._shown(name, provider, Source(path, found), made, view, metadata)

    def listed_beside(self, path: Path, found: os.stat_result, view: View) -> Shown | None:
        """Return the name and node of the movie that a listing shows beside a stored file, or None; see `listed`."""
        for provider in _beside(registry.providers_of(path.name), view.options.enabled):
            name = provider.shown_name(path.name)
            source = self._behind(path, found) if name is not None else None
            if name is not None and source is not None and self._is_shown(provider, source, view):
                made = made_of_source(self._root, path.with_name(name), source, view, provider)
                try:
                    metadata = self.facts.metadata(provider, source.path, source.found)
                except (CryofsError, OSError):
                    metadata = None
                return self._shown(name, provider, source, made, view, metadata)
        return None

    def first(self, provider: AnyProvider, folder: Path) -> Any:
        """Return the metadata of the first intact file of a kind in a folder, or None."""
        for name, found in self._root.entries(folder):
            if provider in registry.providers_of(name):
                try:
                    source = self._behind(folder / name, found)
                    metadata = self.facts.metadata(provider, source.path, source.found) if source else None
                except (CryofsError, OSError):
                    continue
                if metadata is not None and not isinstance(metadata, Damage):
                    return metadata
        return None

    def gain(self, path: Path, found: os.stat_result) -> str | None:
        """Return the SHA-256 of the gain reference of an archived movie, or None for any other file."""
        for provider in registry.providers_of(path.name):
            if provider.replaces_stored and provider.shown_name(path.name) is not None:
                metadata = self.facts.metadata(provider, path, found)
                if metadata is not None and not isinstance(metadata, Damage):
                    return provider.gain(metadata)
        return None

    def needs_references(self, folder: Path) -> bool:
        """Return True if a folder shows gain references, because it contains movies that use them.

        Files named like archived movies are skipped, to avoid reading every record.
        """
        try:
            names = self._root.names(folder)
        except OSError:
            return False  # an unreadable folder shows no gain references
        return any(self._needs_references(folder / name) for name in names if registry.comes_with_references(name))

    def lstat(self, place: Path) -> os.stat_result | None:
        """Return the attributes of a place in the archive, or None if there is no file."""
        try:
            return self._root.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            # a shown name within the limit may exceed it with the suffix of the stored file
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise

    def _existing(self, folder: Path, names: list[str]) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the given names that exist in a folder of the archive, with their attributes."""
        # a shown name within the limit may exceed it with the suffix of the stored file
        possible = [name for name in names if len(os.fsencode(name)) <= LONGEST_NAME]
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if possible:
                yield from self._root.existing(folder, possible)

    def _replaced(self, path: Path, found: os.stat_result, view: View) -> tuple[str, AnyProvider, Any] | None:
        """Return the name, kind and metadata of the movie that replaces a stored file, or None.

        The metadata are None if they cannot be read.
        """
        if view.stored_files:
            return None
        for provider in _replacing(registry.providers_of(path.name), view.options.enabled):
            name = provider.shown_name(path.name)
            if name is None:
                continue
            try:
                metadata = self.facts.metadata(provider, path, found)
            except OSError:
                # keep the movie listed, so that users notice the problem; opening it reports the error
                metadata, is_shown = None, provider.option is None
            else:
                if isinstance(metadata, Damage):
                    is_shown = provider.option is None
                else:
                    is_shown = metadata is not None and provider.is_shown(metadata, view.options)
            if is_shown:
                return name, provider, metadata
        return None

    def _is_shown(self, provider: AnyProvider, source: Source, view: View) -> bool:
        """Return True if a movie of this kind is shown beside its stored file; also if storage does not respond."""
        try:
            metadata = self.facts.metadata(provider, source.path, source.found)
        except (CryofsError, OSError):
            if provider.option is not None:
                return False  # show the kind that is common to all views
            self._assumed.add(source.path)
            return True
        if metadata is None or isinstance(metadata, Damage):
            return metadata is not None and metadata.listed and provider.option is None
        return self._is_shown_intact(provider, metadata, source, view)

    def _is_shown_intact(self, provider: AnyProvider, metadata: Any, source: Source, view: View) -> bool:
        """Return True if an intact file is shown as a kind; kinds that apply a gain reference require one."""
        if not provider.is_shown(metadata, view.options):
            return False
        has_reference = not provider.applies_reference or provider.gain(metadata) is not None
        return has_reference or self.reference_of(source.path.parent) is not None

    def _made(self, provider: AnyProvider, place: Path, source: Source, view: View) -> Node | None:
        """Return the node of a source shown as a kind at a place, or None if the source is not of that kind."""
        metadata = self.facts.metadata(provider, source.path, source.found)
        if metadata is None:
            return None
        if isinstance(metadata, Damage):
            if provider.option is not None or not (metadata.listed or source.path in self._assumed):
                return None
        elif not self._is_shown_intact(provider, metadata, source, view):
            return None
        made = made_of_source(self._root, place, source, view, provider)
        return self._node(provider, source, made, view, metadata)

    def _shown(
        self, name: str, provider: AnyProvider, source: Source, made: Attributes, view: View, metadata: Any
    ) -> Shown:
        node = self._node(provider, source, made, view, metadata)
        return Shown(name, node.attributes, node)

    def _node(self, provider: AnyProvider, source: Source, made: Attributes, view: View, metadata: Any) -> Node:
        """Return the node of a shown movie; the size is unknown if metadata are missing or report damage."""
        if metadata is None or isinstance(metadata, Damage):
            appearance = _UNKNOWN
        else:
            appearance = provider.appearance(metadata, view.options)
        has_size = appearance.size is not None
        return Node(source.path, provider, _with(made, appearance), view, source.found, has_size=has_size)

    def _needs_references(self, path: Path) -> bool:
        for provider in registry.providers_of(path.name):
            if provider.comes_with_references:
                try:
                    source = self._source(path)
                    metadata = self.facts.metadata(provider, source.path, source.found) if source else None
                except (CryofsError, OSError):
                    return True
                if metadata is not None:
                    return metadata.listed if isinstance(metadata, Damage) else provider.needs_references(metadata)
        return False

    def _source(self, path: Path) -> Source | None:
        """Return the file under a name, or the target of a link of that name, or None."""
        found = self.lstat(path)
        return self._behind(path, found) if found else None

    def _behind(self, path: Path, found: os.stat_result) -> Source | None:
        """Return the file itself, or the target of a link if the mount shows that target unchanged."""
        if stat.S_ISREG(found.st_mode):
            return Source(path, found)
        try:
            target = target_beneath(self._root, path) if stat.S_ISLNK(found.st_mode) else None
            if target is None or any(map(is_own_name, self._root.below(target))):
                return None
            at_target = self._root.lstat(target)
        except OSError:
            return None  # no movie is shown beside a link that cannot be resolved
        is_plain = self.appears(target, at_target, self._main) == (target.name, None)
        return Source(target, at_target, True) if is_plain and stat.S_ISREG(at_target.st_mode) else None


def _is_hidden(name: str, found: os.stat_result, view: View) -> bool:
    """Return True if a stored file is hidden regardless of its content."""
    if view.stored_files:
        return False
    is_reference = is_reference_name(name) and stat.S_ISREG(found.st_mode)
    return is_own_name(name) or (is_reference and not view.references)


def _has_capitals(name: str) -> bool:
    """Return True if the suffix has upper-case letters; such names are looked up last."""
    return not name[name.rfind(".") :].islower()


@lru_cache(maxsize=256)
def _replacing(providers: tuple[AnyProvider, ...], enabled: frozenset[str]) -> tuple[AnyProvider, ...]:
    """Return the enabled kinds that are shown in place of their stored files."""
    return tuple(one for one in providers if one.replaces_stored and _is_enabled(one, enabled))


@lru_cache(maxsize=256)
def _beside(providers: tuple[AnyProvider, ...], enabled: frozenset[str]) -> tuple[AnyProvider, ...]:
    """Return the enabled kinds that are shown beside their stored files."""
    return tuple(one for one in providers if not one.replaces_stored and _is_enabled(one, enabled))


def _is_enabled(provider: AnyProvider, enabled: frozenset[str]) -> bool:
    return provider.metadata_type is not None and (provider.option is None or provider.option in enabled)


def _with(made: Attributes, appearance: Appearance) -> Attributes:
    """Return the attributes with the size, times and mode of the movie."""
    size = appearance.size or _UNKNOWN_SIZE
    if appearance.mode is None or appearance.mtime_ns is None or appearance.atime_ns is None:
        return replace(made, size=size)
    return replace(made, size=size, mode=appearance.mode, mtime_ns=appearance.mtime_ns, atime_ns=appearance.atime_ns)
