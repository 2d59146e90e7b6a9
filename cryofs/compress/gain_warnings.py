"""Warnings about gain references passed by the user that do not fit the movies of a run."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from cryofs.archive.jobs import Job, Kind
from cryofs.compress.existing import MovieInfo
from cryofs.compress.movie_task import CompressOptions
from cryofs.errors import CryofsError
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.gain.gain_check import warn_of
from cryofs.gain.scaled import step_of
from cryofs.movies.eer_gain_use import convention_of
from cryofs.movies.mrc import MrcMovie


def gain_warnings(options: CompressOptions, movies: Mapping[Job, MovieInfo]) -> Iterator[str]:
    """Yield warnings, based on a few frames of the first movie of counts and of the first EER movie.

    Gain-normalised movies need no check here, because each is compared with its reference when it is stored.
    """
    counts = (job for job, info in movies.items() if job.kind is Kind.MOVIE and info.mode != MODE_FLOAT32)
    rendered = (job for job in movies if job.kind is Kind.EER)
    gain = options.gain if isinstance(options.gain, Path) and options.gain.is_file() else None
    rendering = options.rendering
    eer_gain = rendering.gain if rendering else None
    convention = convention_of(eer_gain, rendering.gain_convention) if rendering and eer_gain else None
    for reference, jobs, used in ((gain, counts, None), (eer_gain, rendered, convention)):
        if reference is None or (first := next(jobs, None)) is None:
            continue
        if reference is gain and _is_scaled(first):
            continue
        if warning := warn_of(reference, first.source, options.jobs, options.gain_orientation, used):
            yield warning


def _is_scaled(job: Job) -> bool:
    """Return True if a movie of integers is gain-normalised."""
    try:
        with MrcMovie(job.source) as movie:
            return step_of(movie) is not None
    except (CryofsError, OSError):
        return False  # storing this movie reports the error
