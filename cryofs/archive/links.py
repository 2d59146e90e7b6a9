"""Symbolic links in sources: their targets, and the jobs that archive them."""

import os
from collections.abc import Iterator
from pathlib import Path

from cryofs.archive.jobs import Job, Kind, Problem
from cryofs.archive.walking import Link, Places, job_of, named, relative_link, unreadable, walk
from cryofs.config.choices import LinkChoice
from cryofs.errors import ArchiveError
from cryofs.formats.archive_names import is_reference_name

# Maximum number of links that Linux follows in one path.
_MAX_HOPS = 40


def stays_inside(link: Link) -> bool:
    """Return True if a link, and each link on the way to its target, is relative and stays below the root.

    Only such a link leads to the corresponding file in an archive or a mount. An absolute link leads to the original.
    """
    rest = list(reversed(link.path.relative_to(link.root).parts))
    here: list[str] = []
    hops = 0
    while rest:
        part = rest.pop()
        if part == "..":
            if not here:
                return False
            here.pop()
            continue
        place = link.root.joinpath(*here, part)
        if not place.is_symlink():
            here.append(part)
            continue
        text = place.readlink()
        hops += 1
        if text.is_absolute() or hops > _MAX_HOPS:
            return False
        rest.extend(reversed(text.parts))
    return True


def holds(folder: str, place: str) -> bool:
    """Return True if the path `place` equals `folder` or is below it; both are real paths."""
    return place == folder or place.startswith(folder.rstrip("/") + "/")


def resolved(link: Link, archive: Path, places: Places, choice: LinkChoice) -> Iterator[Job | Problem | Link]:
    """Yield the jobs for a symbolic link, the problem with it, or the links in the folder to which it leads."""
    path, target = link.path, link.target
    try:
        real, own = os.path.realpath(path), os.path.realpath(archive)
        if not path.exists():
            yield Job(Kind.LINK, path, target)
        elif is_reference_name(target.name) and path.is_file():
            # stored as a movie, because mounts hide all other files with the name of a gain reference
            yield job_of(path, target, archive)
        elif stays_inside(link) and not holds(own, real):
            yield Job(Kind.LINK, path, target)
        elif choice == "follow":
            yield from _followed(link, real, own, archive, places)
        elif holds(own, real):
            yield Job(Kind.LINK, path, target, outside="leads into the archive")
        elif places.name_of(real) is not None:
            yield Job(Kind.LINK, path, target, outside=f"leads to the original {real}, not to its copy in the archive")
        else:
            yield Job(Kind.LINK, path, target, outside=f"leads to {real}, which is not among the sources")
    except OSError as error:
        yield unreadable(path, error)


def _followed(link: Link, real: str, own: str, archive: Path, places: Places) -> Iterator[Job | Problem | Link]:
    """Yield the jobs that store the target of a link under the name of the link.

    If the archive already contains the target, yield a job for a relative link instead.
    """
    path, target = link.path, link.target
    name = places.name_of(real)
    if holds(own, real):
        yield Problem(path, ArchiveError(f"{path}: link leads into the archive; remove the link, or pass --keep-links"))
    elif holds(real, os.path.realpath(path.parent)):
        yield Problem(
            path, ArchiveError(f"{path}: link leads to a folder above itself; remove the link, or pass --keep-links")
        )
    elif name is not None:
        yield Job(Kind.LINK, path, target, relative_link(target, name))
    elif path.is_dir():
        yield from walk(path, archive, places, target, once=True)
    elif path.is_file():
        yield named(path, target, archive, places)
    else:
        yield Problem(path, ArchiveError(f"{path}: not a file, folder or link; remove it from the sources"))
