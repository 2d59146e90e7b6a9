"""Storing the movies of a run one after the other: what belongs to one process of it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryofs.archive.identify import held_movie, is_marked
from cryofs.archive.links import LinkChoice
from cryofs.archive.scan import Job, Kind
from cryofs.compress.existing import replaced_text
from cryofs.compress.full_disk import is_full
from cryofs.compress.plan import Coding, make_plan
from cryofs.compress.row_blocks import Workers
from cryofs.compress.writer import OnFrame, archive_movie
from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, CryofsError, DamagedError, FullDiskError
from cryofs.formats.archive_names import is_reference_name, original_name
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.gain.references import Reference, References
from cryofs.gain.samples import take_samples
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.registry import open_rendered
from cryofs.movies.source import SourceMovie


@dataclass(frozen=True)
class CompressOptions:
    """What the user chose.

    Attributes
    ----------
    gain : Path or str
        A gain reference, a folder of references, "auto" or "none".
    rendering : Rendering or None
        For EER files that become TIFF.
    links : str
        What becomes of links that lead out of the sources.
    strict : bool
        Whether files called like movies that cannot be archived as such are failures.
    least_saving : float
        Share of its size that a movie has to save; one that saves less is kept as a plain copy.
    """

    gain: Path | Literal["auto", "none"] = "auto"
    coding: Coding = field(default_factory=Coding)
    rendering: Rendering | None = None
    only_do_unfinished: bool = False
    jobs: int = 1
    links: LinkChoice = "report"
    strict: bool = False
    least_saving: float = 0.05


@dataclass(frozen=True)
class Stored:
    """A movie in the archive: sizes of its source and its file, and what the user may want to know.

    Attributes
    ----------
    replaced : str or None
        What is said of another original that the archive held under this name.
    """

    source_bytes: int
    stored_bytes: int
    note: str | None = None
    replaced: str | None = None


class Archiver:
    """Stores movies of a run.

    Parameters
    ----------
    archive : Path
        Root of the archive.
    """

    def __init__(self, archive: Path, options: CompressOptions, workers: Workers):
        self._archive = archive
        self._options = options
        self._workers = workers
        self.references = References(archive)
        self._given: list[Reference] = []
        if isinstance(options.gain, Path):
            given = options.gain
            self._given = self.references.take_in_all(given) if given.is_dir() else [self.references.take_in(given)]
        self.eer_gains = EerGains()

    def open(self, job: Job) -> SourceMovie:
        """The movie that a job is to store."""
        if job.kind is Kind.EER and self._options.rendering is not None:
            return open_rendered(job.source, self._options.rendering, self.eer_gains)
        return MrcMovie(job.source)

    def store(self, job: Job, on_frame: OnFrame) -> Stored:
        """Store a movie.

        Raises
        ------
        CryofsError
            It cannot be stored, whatever the reason, and nothing of it stays behind.
        """
        try:
            return self._store(job, on_frame)
        except CryofsError:
            raise
        except OSError as error:
            if is_full(error):
                raise FullDiskError(error.strerror) from error
            raise ArchiveError(f"{job.source}: not stored: {explain(error)}") from error
        except MemoryError as error:
            raise ArchiveError(f"{job.source}: memory is short ({error}); try fewer --jobs") from error
        except Exception as error:
            # one movie that nobody thought of must not keep the others from being stored
            what = f"{type(error).__name__}: {error}"
            raise ArchiveError(f"{job.source}: not stored, by a fault of cryofs ({what}); please report it") from error

    def _store(self, job: Job, on_frame: OnFrame) -> Stored:
        target = self._archive / job.target
        with self.open(job) as movie:
            replaced = _replaced(movie, job.source, target)
            samples = take_samples(movie)
            reference: Reference | None = None
            note = None
            if job.kind is Kind.MOVIE and movie.mrc_header.mode == MODE_FLOAT32 and self._options.gain != "none":
                if len(self._given) == 1 and self._given[0].gain.shape == movie.shape[1:]:
                    (reference,) = self._given
                else:
                    reference = self.references.fitting(movie.shape[1:], samples)
            plan = make_plan(movie, samples, reference, self._options.coding, self._workers.pool)
            if self._given and job.kind is Kind.MOVIE and not self._is_served(plan.reference):
                note = _not_used(job.source, self._given, movie)
            stored = archive_movie(movie, target, plan, self._workers, on_frame, self._limit(job, movie))
            return Stored(movie.stat.st_size, stored, note, replaced)

    def _is_served(self, used: Reference | None) -> bool:
        """Whether a movie uses what the user gave: this reference, or any where a folder of several was given."""
        return used is self._given[0] if len(self._given) == 1 else used is not None

    def _limit(self, job: Job, movie: SourceMovie) -> float | None:
        """Return how many bytes a stored movie may take; None for one that is stored whatever its size."""
        target = self._archive / job.target
        asked_for = job.kind is Kind.EER or self._options.coding.compression == "none"
        if asked_for or os.path.lexists(target) or is_reference_name(original_name(target.name) or ""):
            return None
        return (1 - self._options.least_saving) * movie.stat.st_size


def _replaced(movie: SourceMovie, source: Path, target: Path) -> str | None:
    """What is said of another original under this name, which this one replaces.

    Raises
    ------
    ArchiveError
        No movie that compress wrote has the name, but another file, which would be lost.
    """
    if not os.path.lexists(target):
        return None
    try:
        held = held_movie(target)
    except DamagedError:
        if is_marked(target):
            return f"{target}: the archive held a damaged movie of this name: replaced"
        held = None
    if held is None or held.adopted is not None:
        raise ArchiveError(
            f"{source}: the archive keeps another file under this name ({target}); rename the movie, or remove the file"
        )
    original = held.rendered or held.original
    known = original.bytes, original.mtime_ns
    return None if known == movie.state else replaced_text(target, *known)


def _not_used(source: Path, given: list[Reference], movie: SourceMovie) -> str | None:
    """Return what the log says about a movie that no given gain reference served."""
    if movie.mrc_header.mode != MODE_FLOAT32:
        return None
    if len(given) > 1:
        return f"{source}: none of the gain references given is used: none gives counts; give its own, or --gain auto"
    size, needed = (f"{ny} x {nx}" for ny, nx in (given[0].gain.shape, movie.shape[1:]))
    why = "it gives no counts" if size == needed else f"of another size ({size}, its frames are {needed})"
    return f"{source}: the gain reference given is not used: {why}; give the right one, or --gain auto"
