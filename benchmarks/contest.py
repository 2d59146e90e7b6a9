"""Run programs alternately on the same movies: measure time and size, and compare the pixels of their output."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.competitors import OURS, RELION, Competitor, write_lists
from benchmarks.figures import Figure
from benchmarks.measure import Run, apart, run, warm
from benchmarks.pixels import compare

# a competitor that takes more seconds than this runs only once
SLOW = 30


@dataclass(frozen=True)
class Entry:
    """A competitor and the movies of one run."""

    competitor: Competitor
    key: str
    movies: list[str]
    runs: list[Run] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)


class Contest:
    """A kind of movie, compressed by all programs.

    Parameters
    ----------
    title : str
        Name of the movies in tables.
    folder : Path
        Folder of the movies.
    movies : sequence of str
        Names of the movies relative to the folder.
    runs : int
        Number of runs of each competitor.
    notes : list of str
        List to which notes for the report are appended.
    """

    def __init__(self, title: str, folder: Path, movies: Sequence[str], runs: int, notes: list[str]):
        self.title = title
        self.folder = folder
        self.movies = list(movies)
        self.runs = runs
        self._notes = notes
        write_lists(folder, movies)

    def hold(
        self,
        competitors: Sequence[Competitor],
        variant: str = "",
        grouping: int | None = None,
        *,
        same_pixels: bool = True,
    ) -> list[Figure]:
        """Run all installed competitors, on one movie and on all; compare the pixels of their TIFF files.

        Parameters
        ----------
        variant : str
            Variant of the output, appended to the title.
        grouping : int or None
            EER frames per fraction.
        same_pixels : bool
            Whether the TIFF files of cryofs and RELION hold the same pixels.
        """
        case = f"{self.title}{variant}"
        what = case if grouping is None else f"{case}, grouping {grouping}"
        for competitor in competitors:
            if not competitor.installed():
                self._notes.append(f"{what}: {competitor.program} is not installed.")
        entries = [
            Entry(competitor, key, self.movies[: 1 if key == "one" else competitor.most])
            for key in ("one", "all")
            for competitor in competitors
            if competitor.installed() and key in competitor.commands
        ]
        for turn in range(self.runs):
            for entry in entries:
                if turn == 0 or entry.runs[0].seconds < SLOW:
                    self._run(entry)
                    seconds = entry.runs[-1].seconds
                    print(f"{what}: {entry.competitor.name}, {len(entry.movies)} in {seconds:.2f} s", flush=True)
        self._compare_pixels(what, same_pixels)
        return [self._figure(entry, case, grouping) for entry in entries]

    def _run(self, entry: Entry) -> None:
        competitor = entry.competitor
        competitor.clear(self.folder)
        warm(self.folder / name for name in entry.movies)
        done = run(competitor.commands[entry.key](entry.movies), self.folder)
        stored = sorted(self.folder.glob(competitor.stored))
        entry.runs.append(done)
        entry.stored.append(sum(path.stat().st_size for path in stored))
        if entry.key == "one" and competitor.name in (OURS, RELION):
            stored[0].rename(self._kept(competitor.name))
        competitor.clear(self.folder)

    def _kept(self, name: str) -> Path:
        return self.folder / f"{name}.tif"

    def _compare_pixels(self, what: str, same_pixels: bool) -> None:
        kept = [self._kept(name) for name in (OURS, RELION)]
        if same_pixels and all(path.exists() for path in kept):
            self._notes.append(f"{what}: {apart(compare, *kept)}")
            print(self._notes[-1], flush=True)
        for path in kept:
            path.unlink(missing_ok=True)

    def _figure(self, entry: Entry, case: str, grouping: int | None) -> Figure:
        return Figure(
            case=case,
            grouping=grouping,
            competitor=entry.competitor.name,
            movies=len(entry.movies),
            original_bytes=sum((self.folder / name).stat().st_size for name in entry.movies),
            stored_bytes=entry.stored[0],
            seconds=[run.seconds for run in entry.runs],
            peak_bytes=max(run.peak_bytes for run in entry.runs),
            core_seconds=[run.core_seconds for run in entry.runs] if len(entry.movies) == 1 else [],
        )
