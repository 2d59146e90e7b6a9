"""Pair each source file, link and folder with its counterpart in a mount of the archive."""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from cryofs.archive.progress import as_cryofs_error
from cryofs.archive.shown import Shown, ShownKind, is_renamed_movie, kind_of, renamed_movie, shown_in, states_in
from cryofs.errors import CryofsError
from cryofs.execution.parts import Part
from cryofs.formats.archive_names import is_own_name
from cryofs.movies import registry
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.text import as_unicode


class Side(StrEnum):
    """Side of the comparison; the value is the name for messages."""

    SOURCE = "source"
    ARCHIVE = "archive"


@dataclass(frozen=True)
class Missing:
    """A name that is missing on one side; `path` is the file on the other side."""

    path: Path
    side: Side
    reason: str = ""


@dataclass(frozen=True)
class Pair:
    """A source, and the file that a mount shows under its name.

    Attributes
    ----------
    name : Path
        Path relative to SOURCE.
    state : os.stat_result
        Inode of the source; for a link, of the link itself.
    behind_link : bool
        True if the path of the source contains a link to a folder, so that the file may lie outside SOURCE.
    """

    name: Path
    source: Path
    state: os.stat_result
    shown: Shown
    behind_link: bool = False


@dataclass
class Scan:
    """Result of scanning SOURCE and ARCHIVE.

    Attributes
    ----------
    folders : list of Pair
        Folders on both sides, each before its subfolders.
    links : list of Pair
        Names that are links in SOURCE, in the archive, or in both.
    unlike : list of Pair
        Names with different file types on the two sides.
    followed : list of Pair
        Links to folders that the archive contains as folders.
    archive_links : list of Path
        All symbolic links of the archive.
    unmatched_links : list of Path
        Symbolic links of SOURCE that are missing in the archive or have another file type there.
    """

    files: list[Pair] = field(default_factory=list)
    links: list[Pair] = field(default_factory=list)
    folders: list[Pair] = field(default_factory=list)
    unlike: list[Pair] = field(default_factory=list)
    followed: list[Pair] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    failed: list[CryofsError] = field(default_factory=list)
    archive_links: list[Path] = field(default_factory=list)
    unmatched_links: list[Path] = field(default_factory=list)
    source_folders: dict[tuple[int, int], Path] = field(default_factory=dict)
    archive_folders: dict[tuple[int, int], Path] = field(default_factory=dict)


@dataclass(frozen=True)
class _Folders:
    """A folder of SOURCE and its counterpart in the archive; None for a missing one."""

    name: Path
    source: Path | None
    shown: Path | None
    behind_link: bool = False


def scan(source: Path, archive: Path, listed: Callable[[Path], None]) -> Scan:
    """Return the pairs below two folders; call `listed` with each archive folder after listing it."""
    return _Scanner(archive, listed).run(source)


class _Scanner:
    def __init__(self, archive: Path, listed: Callable[[Path], None]):
        self._archive = archive
        self._listed = listed
        self._found = Scan()

    def run(self, source: Path) -> Scan:
        waiting = [_Folders(Path(), source, self._archive)]
        while waiting:
            waiting += reversed(list(self._folders(waiting.pop())))
        return self._found

    def _folders(self, place: _Folders) -> Iterator[_Folders]:
        """Pair the names in two folders; yield the pairs of subfolders."""
        try:
            sources = self._sources(place.source, place.behind_link) if place.source else {}
            shown = self._shown(place.shown) if place.shown else {}
        except OSError as error:
            self._found.failed.append(as_cryofs_error(error, place.source or place.shown or Path()))
            return
        _pair_packed(sources, shown)
        if place.name != Path() and not sources and not shown:
            # a missing folder is reported by its files, or by its own name if it is empty
            if place.shown is None and place.source is not None:
                self._found.missing.append(Missing(place.source, Side.ARCHIVE))
            elif place.source is None and place.shown is not None:
                self._found.missing.append(Missing(place.shown, Side.SOURCE))
        for name in sorted(sources | shown):
            yield from self._name(place, name, sources.get(name), shown.get(name))

    def _sources(self, folder: Path, behind_link: bool) -> dict[str, os.stat_result]:
        if not behind_link:
            self._found.source_folders[identity(folder.stat())] = folder
        return dict(states_in(folder))

    def _shown(self, folder: Path) -> dict[str, Shown]:
        self._found.archive_folders[identity(folder.stat())] = folder
        shown = shown_in(folder, self._archive)
        self._listed(folder)
        self._found.archive_links += [each.path for each in shown.values() if each.kind is ShownKind.LINK]
        return shown

    def _name(
        self, place: _Folders, name: str, state: os.stat_result | None, shown: Shown | None
    ) -> Iterator[_Folders]:
        below = place.name / name
        if state is None or place.source is None:
            if shown is not None:
                yield from self._only_in_archive(below, shown)
            return
        source = place.source / name
        if shown is None and place.shown is not None:
            shown = renamed_movie(place.shown, name)
        if name == LIST_NAME:
            # compress skips the checksum list of a source, because the archive has its own
            return
        if is_own_name(name):
            reason = "names that begin with .cryofs- belong to cryofs and are not archived"
            self._found.missing.append(Missing(source, Side.ARCHIVE, reason))
            if kind_of(state) is ShownKind.LINK:
                self._found.unmatched_links.append(source)
        elif shown is None:
            yield from self._only_in_source(below, source, state, place.behind_link)
        else:
            yield from self._both(Pair(below, source, state, shown, place.behind_link))

    def _only_in_archive(self, name: Path, shown: Shown) -> Iterator[_Folders]:
        if shown.kind is ShownKind.FOLDER:
            yield _Folders(name, None, shown.path)
        elif not shown.optional and not is_renamed_movie(shown):
            self._found.missing.append(Missing(shown.path, Side.SOURCE))

    def _only_in_source(self, name: Path, source: Path, state: os.stat_result, behind_link: bool) -> Iterator[_Folders]:
        kind = kind_of(state)
        if kind is ShownKind.FOLDER:
            yield _Folders(name, source, None, behind_link)
        else:
            if kind is ShownKind.LINK:
                self._found.unmatched_links.append(source)
            reason = "not a file, folder or link" if kind is ShownKind.SPECIAL else ""
            self._found.missing.append(Missing(source, Side.ARCHIVE, reason))

    def _both(self, pair: Pair) -> Iterator[_Folders]:
        kind, shown = kind_of(pair.state), pair.shown.kind
        is_file = shown in (ShownKind.FILE, ShownKind.MOVIE)
        # behind a link, compress stores links to files that the archive already contains
        is_link = kind is ShownKind.LINK or (pair.behind_link and shown is ShownKind.LINK)
        if kind is ShownKind.FOLDER and shown is ShownKind.FOLDER:
            self._found.folders.append(pair)
            yield _Folders(pair.name, pair.source, pair.shown.path, pair.behind_link)
        elif kind is ShownKind.LINK and shown is ShownKind.FOLDER and pair.source.is_dir():
            self._found.followed.append(pair)
            yield _Folders(pair.name, pair.source, pair.shown.path, behind_link=True)
        elif is_link and (is_file or shown is ShownKind.LINK):
            self._found.links.append(pair)
        elif kind is ShownKind.FILE and is_file:
            self._found.files.append(pair)
        else:
            self._found.unlike.append(pair)
            if kind is ShownKind.LINK:
                self._found.unmatched_links.append(pair.source)


def part_of_scan(found: Scan, part: Part, source: Path, archive: Path) -> Scan:
    """Return the pairs and missing names of a part; links of the archive and folders are complete, for the checks."""

    def of_part(pairs: list[Pair]) -> list[Pair]:
        return [pair for pair in pairs if part.has(pair.name)]

    def is_own(missing: Missing) -> bool:
        return part.has(missing.path.relative_to(archive if missing.side is Side.SOURCE else source))

    return replace(
        found,
        files=of_part(found.files),
        links=of_part(found.links),
        folders=of_part(found.folders),
        unlike=of_part(found.unlike),
        followed=of_part(found.followed),
        missing=list(filter(is_own, found.missing)),
    )


def is_one_inode(one: os.stat_result, other: os.stat_result) -> bool:
    """Return True if two results of stat describe the same inode, even if overlays or NFS change the device number."""
    if identity(one) == identity(other):
        return True
    # two copies do not have the same change time
    numbers = [(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) for found in (one, other)]
    return numbers[0] == numbers[1]


def _pair_packed(sources: Collection[str], shown: dict[str, Shown]) -> None:
    """Give a movie that compress unpacked from a source, or a link to it, the name of this source."""
    for name in sources:
        movie = registry.unpackable_name(name)
        if movie is None or name in shown or movie in sources or movie not in shown:
            continue
        found = shown[movie]
        packed = found.record.packed if found.record else None
        if found.kind is ShownKind.LINK or (packed is not None and packed.name == as_unicode(name)):
            shown[name] = shown.pop(movie)


def identity(found: os.stat_result) -> tuple[int, int]:
    """Return the device and inode numbers of a file, which identify it as long as it exists."""
    return found.st_dev, found.st_ino
