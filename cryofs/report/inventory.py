"""What an archive holds, movie by movie, without decoding any: from records, indexes and attributes."""

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

# Columns and rows of an image, in either orientation, and the cameras that give them.
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
    """A movie of an archive.

    Attributes
    ----------
    path : Path
        Its file.
    folder : Path
        Where that is, relative to the archive.
    kind : str
        What movies have in common that are alike: size, type, gain.
    time : float
        When the original was written, in seconds since 1970.
    gain : str or None
        SHA-256 of its gain reference.
    exceptions : int
        Values that are exceptions, of `values` in all.
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
    """An archive: its movies, what else is in it, and what is wrong, each with the file.

    Attributes
    ----------
    kept_plain : list
        Files called like movies that are plain copies, with the reasons.
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
    """What a group of movies takes."""

    name: str
    movies: int
    frames: int
    original_bytes: int
    stored_bytes: int

    @property
    def ratio(self) -> float:
        """Stored size as a share of the original one."""
        return self.stored_bytes / self.original_bytes if self.original_bytes else 1.0

    @classmethod
    def of(cls, name: str, movies: Iterable[MovieFacts]) -> "Saved":
        """The sums of some movies."""
        every = list(movies)
        sums = (sum(getattr(one, what) for one in every) for what in ("frames", "original_bytes", "stored_bytes"))
        return cls(name, len(every), *sums)


def survey(root: Path) -> Survey:
    """Look at every file of an archive."""
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
    """Savings of each kind of movie, the largest first."""
    return _grouped((movie.kind, movie) for movie in movies)


def by_folder(movies: list[MovieFacts], most: int) -> list[Saved]:
    """Savings of each folder; of their parents, as far up as it takes for no more than `most`."""
    depth = max((len(movie.folder.parts) for movie in movies), default=0)
    while True:
        groups = _grouped((str(Path(*movie.folder.parts[:depth])), movie) for movie in movies)
        if len(groups) <= most or depth == 0:
            return groups
        depth -= 1


def chosen(movies: list[MovieFacts], count: int) -> list[MovieFacts]:
    """Some movies, evenly chosen in time, with one of every kind as far as there is room."""
    groups: dict[str, list[MovieFacts]] = {}
    for movie in movies:
        groups.setdefault(movie.kind, []).append(movie)
    shares = Counter(dict.fromkeys(groups, 0))
    for _ in range(min(count, len(movies))):
        open_groups = [kind for kind in groups if shares[kind] < len(groups[kind])]
        shares[min(open_groups, key=lambda kind: (shares[kind], -len(groups[kind])))] += 1
    picked = [
        groups[kind][place]
        for kind, share in shares.items()
        for place in np.unique(np.linspace(0, len(groups[kind]) - 1, share).astype(int)).tolist()
    ]
    return sorted(picked, key=lambda movie: (movie.time, movie.path))


def _grouped(named: Iterable[tuple[str, MovieFacts]]) -> list[Saved]:
    groups: dict[str, list[MovieFacts]] = {}
    for name, movie in named:
        groups.setdefault(name, []).append(movie)
    saved = [Saved.of(name, movies) for name, movies in groups.items()]
    return sorted(saved, key=lambda group: (-group.original_bytes, group.name))


def _movie(path: Path, folder: Path) -> MovieFacts | None:
    """Return the facts of a movie, or None if the file is not a movie; raise its damage."""
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
    return f"{nx} \u00d7 {ny}" + (f" (as {camera})" if camera else "")


def spans(movies: list[MovieFacts], most: int) -> Iterator[tuple[float, float, list[MovieFacts]]]:
    """The time that the movies took, in equal spans, each with its movies: begin and end in seconds."""
    first, last = movies[0].time, movies[-1].time
    step = next((step for step in _STEPS if (last - first) / step < most), (last - first) / (most - 1))
    begin = first - first % step
    place = 0
    while begin <= last:
        end = begin + step
        inside = []
        while place < len(movies) and movies[place].time < end:
            inside.append(movies[place])
            place += 1
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
