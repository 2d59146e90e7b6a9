"""Inventory of the movies of an archive from records, indexes and attributes, without decoding."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cryofs.archive.identify import why_plain
from cryofs.archive.scan import Kind, collect_archived
from cryofs.errors import CryofsError
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.registry import summarize

# Names of the cameras with common image sizes (columns, rows), in either orientation.
_CAMERAS = {
    (3838, 3710): "K2",
    (7676, 7420): "K2 super-resolution",
    (5760, 4092): "K3",
    (11520, 8184): "K3 super-resolution",
    (4096, 4096): "Falcon",
    (8192, 8192): "Falcon, 8K grid",
}


@dataclass(frozen=True)
class MovieFacts:
    """An entry of the inventory: an archived movie.

    Attributes
    ----------
    path : Path
        The file in the archive.
    folder : Path
        Folder of the file, relative to the archive.
    kind : str
        Description of image size, pixel type and gain; the report groups movies by this text.
    time : float
        Modification time of the original, in seconds since 1970.
    gain : str or None
        SHA-256 of the gain reference; None for a movie without one.
    exceptions : int
        Number of exceptions among the `values` pixel values of the movie.
    """

    path: Path
    folder: Path
    kind: str
    time: float
    frames: int
    original_bytes: int
    stored_bytes: int
    gain: str | None = None
    exceptions: int = 0
    values: int = 0


@dataclass
class Survey:
    """Contents of an archive: movies, other files, and problems.

    Attributes
    ----------
    kept_plain : list
        Plain copies of files with the suffix of a movie, each with the reason.
    problems : list
        Files with problems, each with the error message.
    """

    root: Path
    movies: list[MovieFacts] = field(default_factory=list)
    other_files: int = 0
    other_bytes: int = 0
    kept_plain: list[tuple[Path, str]] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)
    references: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Saved:
    """Total sizes of a group of movies, in bytes."""

    name: str
    movies: int
    frames: int
    original_bytes: int
    stored_bytes: int

    @property
    def ratio(self) -> float:
        """Stored size as a fraction of the original size."""
        return self.stored_bytes / self.original_bytes if self.original_bytes else 1.0

    @classmethod
    def of(cls, name: str, movies: Iterable[MovieFacts]) -> "Saved":
        """Return the total sizes of a group of movies."""
        group = list(movies)
        names = ("frames", "original_bytes", "stored_bytes")
        return cls(name, len(group), *(sum(getattr(movie, attribute) for movie in group) for attribute in names))


def survey(root: Path) -> Survey:
    """Return the contents of an archive; every file is examined."""
    found = Survey(root)
    gains = GainLibrary(root.absolute())
    jobs, problems = collect_archived([root])
    found.problems += [(problem.source, str(problem.error)) for problem in problems]
    folders = {root.absolute()}
    for job in jobs:
        if job.kind is not Kind.FILE:
            continue
        folders.add(job.source.absolute().parent)
        try:
            movie = _movie(job.source, job.target.parent)
            if movie is None:
                found.other_files += 1
                found.other_bytes += job.source.stat().st_size
                if (reason := why_plain(job.source)) is not None:
                    found.kept_plain.append((job.source, reason))
                continue
            found.movies.append(movie)
            if movie.gain is not None:
                gains.get(movie.gain, job.source.absolute().parent, str(job.source))
        except (CryofsError, OSError) as error:
            found.problems.append((job.source, str(error)))
    found.references = sorted({path for folder in folders for path in gains.paths(folder)})
    found.movies.sort(key=lambda movie: (movie.time, movie.path))
    return found


def by_kind(movies: Iterable[MovieFacts]) -> list[Saved]:
    """Return the total sizes of each kind of movie, the largest first."""
    return _grouped((movie.kind, movie) for movie in movies)


def by_folder(movies: list[MovieFacts], limit: int) -> list[Saved]:
    """Return the total sizes of each folder; folders are merged into their parents until at most `limit` remain."""
    depth = max((len(movie.folder.parts) for movie in movies), default=0)
    while True:
        groups = _grouped((str(Path(*movie.folder.parts[:depth])), movie) for movie in movies)
        if len(groups) <= limit or depth == 0:
            return groups
        depth -= 1


def chosen(movies: list[MovieFacts], count: int) -> list[MovieFacts]:
    """Return `count` movies, evenly spaced in time, with at least one of each kind if possible."""
    groups: dict[str, list[MovieFacts]] = {}
    for movie in movies:
        groups.setdefault(movie.kind, []).append(movie)
    shares = Counter(dict.fromkeys(groups, 0))
    for _ in range(min(count, len(movies))):
        open_groups = [kind for kind in groups if shares[kind] < len(groups[kind])]
        shares[min(open_groups, key=lambda kind: (shares[kind], -len(groups[kind])))] += 1
    picked = [
        groups[kind][index]
        for kind, share in shares.items()
        for index in np.unique(np.linspace(0, len(groups[kind]) - 1, share).astype(int)).tolist()
    ]
    return sorted(picked, key=lambda movie: (movie.time, movie.path))


def _grouped(named: Iterable[tuple[str, MovieFacts]]) -> list[Saved]:
    groups: dict[str, list[MovieFacts]] = {}
    for name, movie in named:
        groups.setdefault(name, []).append(movie)
    saved = [Saved.of(name, movies) for name, movies in groups.items()]
    return sorted(saved, key=lambda group: (-group.original_bytes, group.name))


def _movie(path: Path, folder: Path) -> MovieFacts | None:
    """Return the entry of a movie, or None for any other file; raise DamagedError or FormatError if damaged."""
    found = summarize(path)
    if found is None:
        return None
    frames, ny, nx = found.shape
    return MovieFacts(
        path=path,
        folder=folder,
        kind=found.kind.format(size=_size(nx, ny)),
        time=found.time,
        frames=frames,
        original_bytes=found.original_bytes,
        stored_bytes=found.stored_bytes,
        gain=found.gain,
        exceptions=found.exceptions,
        values=found.values,
    )


def _size(nx: int, ny: int) -> str:
    camera = _CAMERAS.get((nx, ny)) or _CAMERAS.get((ny, nx))
    return f"{nx} \u00d7 {ny}" + (f" ({camera})" if camera else "")


def spans(movies: list[MovieFacts], limit: int) -> Iterator[tuple[float, float, list[MovieFacts]]]:
    """Yield at most `limit` equal spans of time that cover all movies, as (begin, end, movies) in seconds."""
    first, last = movies[0].time, movies[-1].time
    step = next((step for step in _STEPS if (last - first) / step < limit), (last - first) / (limit - 1))
    begin = first - first % step
    index = 0
    while begin <= last:
        end = begin + step
        inside = []
        while index < len(movies) and movies[index].time < end:
            inside.append(movies[index])
            index += 1
        yield begin, end, inside
        begin = end


_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_STEPS = (
    tuple(n * _MINUTE for n in (1, 2, 5, 10, 15, 30))
    + tuple(n * _HOUR for n in (1, 2, 3, 6, 12))
    + (
        _DAY,
        2 * _DAY,
        7 * _DAY,
        28 * _DAY,
        91 * _DAY,
        365 * _DAY,
    )
)
