"""Write the report of an archive as a single self-contained HTML page."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from cryofs.errors import CryofsError
from cryofs.gain.gain_files import reliability_path
from cryofs.movies.gain_library import load_reference, reference_sha256
from cryofs.movies.mrc import MrcMovie
from cryofs.report import inventory as surveys
from cryofs.report.gain_fit import GainFit, fit_of
from cryofs.report.inventory import MovieFacts, Saved, Survey, by_folder, by_kind, chosen, survey
from cryofs.report.movie_summary import summarize
from cryofs.report.pictures import Picture, draw
from cryofs.report.preview import histogram_caption
from cryofs.storage import atomic_file
from cryofs.text import as_unicode, printable, size_text
from cryofs.version import VERSION

_FOLDERS = 40
_SPANS = 60
_PATHS = 5
_PICTURE = 480


@dataclass(frozen=True)
class ReferencePicture:
    """A gain reference on the page.

    Attributes
    ----------
    low, high : float
        Lowest and highest gain of all pixels.
    without : int
        Number of pixels without a gain (values exactly 0 or 1, or not finite).
    reliability : Picture or None
        Picture of the number of values that agreed with the estimated gain of each pixel.
    fit : GainFit or None
        Significance of each orientation, for a reference that came with TIFF movies.
    """

    name: str
    shape: tuple[int, int]
    arithmetic: str
    low: float
    high: float
    without: int
    movies: int
    frames: int
    exceptions: float | None
    picture: Picture
    reliability: Picture | None
    fit: GainFit | None


def write_report(archive: Path, target: Path, previews: int, jobs: int, on_progress: Callable[[str], None]) -> Survey:
    """Write the report of an archive, and return its contents; failed previews are included in the problems.

    Parameters
    ----------
    previews : int
        Number of movies to decode and show.
    on_progress : callable
        Function to call with a message before each slow step.
    """
    on_progress(f"{archive}: reading the records")
    found = survey(archive)
    summaries = []
    for movie in chosen(found.movies, previews):
        on_progress(f"{movie.path}: preview")
        try:
            summaries.append(_preview(movie, jobs))
        except (CryofsError, OSError) as error:
            if all(path != movie.path for path, _ in found.problems):
                found.problems.append((movie.path, str(error)))
    page = _environment().from_string(resources.files(__package__).joinpath("report.html.j2").read_text("utf-8"))
    text = page.render(
        name=printable(archive.absolute().name),
        place=printable(str(archive.absolute())),
        made=datetime.datetime.now().astimezone(),
        version=VERSION,
        whole=Saved.of("", found.movies),
        survey=found,
        folders=by_folder(found.movies, _FOLDERS),
        kinds=by_kind(found.movies),
        course=_course(found.movies),
        references=[_reference(path, found, jobs) for path in found.references],
        previews=summaries,
        problems=_by_text(found.problems, found.root),
        kept_plain=_by_text(found.kept_plain, found.root),
        max_paths=_PATHS,
    )
    atomic_file.write_file(target, as_unicode(text).encode())
    return found


def _by_text(found: list[tuple[Path, str]], root: Path) -> list[tuple[str, list[str]]]:
    """Return each distinct message with the names of the files to which it applies."""
    grouped: dict[str, list[str]] = {}
    for path, text in found:
        problem = printable(text.removeprefix(f"{path}: ").removeprefix(f"{path}, "))
        grouped.setdefault(problem, []).append(_inside(path, root))
    return list(grouped.items())


def _preview(movie: MovieFacts, jobs: int) -> dict[str, Any]:
    summary = summarize(movie.path, jobs)
    tallest = float(summary.histogram.shares.max()) or 1.0
    return {
        "summary": summary,
        "movie": movie,
        "total": draw(summary.total, _PICTURE),
        "spectrum": draw(summary.spectrum, _PICTURE),
        "caption": histogram_caption(summary),
        "tallest": tallest,
        "bars": [
            ((first + last) / 2, share, share / tallest)
            for first, last, share in zip(
                summary.histogram.edges[:-1], summary.histogram.edges[1:], summary.histogram.shares, strict=True
            )
        ],
    }


def _reference(path: Path, found: Survey, jobs: int) -> ReferencePicture | str:
    """Return the facts and pictures of a gain reference, or the error message if the file cannot be read."""
    try:
        reference = load_reference(path)
        sha256 = reference_sha256(path)
    except (CryofsError, OSError) as error:
        return str(error)
    users = [movie for movie in found.movies if movie.gain == sha256]
    without = (reference.gain == 1) | (reference.gain == 0) | ~np.isfinite(reference.gain)
    own = reference.gain[~without]
    low, high = (float(own.min()), float(own.max())) if own.size else (1.0, 1.0)
    values = sum(movie.values for movie in users)
    return ReferencePicture(
        name=_inside(path, found.root),
        shape=reference.shape,
        arithmetic=reference.arithmetic.value,
        low=low,
        high=high,
        without=int(without.sum()),
        movies=len(users),
        frames=sum(movie.frames for movie in users),
        exceptions=sum(movie.exceptions for movie in users) / values if values else None,
        picture=draw(reference.gain, _PICTURE, without),
        reliability=_reliability(reliability_path(path), reference.shape),
        fit=fit_of(path, users[0].path, jobs) if users else None,
    )


def _reliability(path: Path, shape: tuple[int, int]) -> Picture | None:
    try:
        with MrcMovie(path) as movie:
            values = movie.frame(0).astype(np.float32)
    except (CryofsError, OSError):
        return None
    return draw(values, _PICTURE, values <= 0) if values.shape == shape else None


def _course(movies: list[MovieFacts]) -> dict[str, Any] | None:
    """Return sizes and rates over time, or None if all movies have the same time."""
    if len(movies) < 2 or movies[0].time == movies[-1].time:
        return None
    spans = list(surveys.spans(movies, _SPANS))
    highest = max(len(inside) for _, _, inside in spans)
    original = np.cumsum([sum(one.original_bytes for one in inside) for _, _, inside in spans])
    stored = np.cumsum([sum(one.stored_bytes for one in inside) for _, _, inside in spans])
    busy = [(end - begin, inside) for begin, end, inside in spans if inside]
    hours = sum(length for length, _ in busy) / 3600
    return {
        "begin": spans[0][0],
        "end": spans[-1][1],
        "step": spans[0][1] - spans[0][0],
        "highest": highest,
        "columns": [
            (begin, len(inside), len(inside) / highest, Saved.of("", inside).ratio if inside else None)
            for begin, _, inside in spans
        ],
        "movies_per_hour": len(movies) / hours,
        "bytes_per_hour": float(original[-1]) / hours,
        "original": _area(original, float(original[-1])),
        "stored": _area(stored, float(original[-1])),
    }


def _area(heights: "np.ndarray[Any, Any]", tallest: float) -> str:
    """Return the SVG path of an area in a square of 100 x 100, starting at the bottom left."""
    places = np.linspace(0, 100, len(heights) + 1)
    tops = [0.0, *(100 * heights / tallest).tolist()]
    points = [f"{x:.2f},{100 - y:.2f}" for x, y in zip(places.tolist(), tops, strict=True)]
    return f"M{' L'.join(points)} L100,100 Z"


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "size": size_text,
        "percent": _percent,
        "time": _time,
        "length": len,
        "span": _span,
        "plain": _plain,
        "mean": _mean,
    }
    return environment


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share >= 0.0001 or share == 0 else "below 0.01 %"


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def _span(seconds: float) -> str:
    for length, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            count = seconds / length
            return f"1 {name}" if count == 1 else f"{count:g} {name}s"
    return f"{seconds:.3g} seconds"


def _plain(number: float) -> str:
    return f"{number:,}".replace(",", "\u202f") if isinstance(number, int) else f"{number:.3g}"


def _mean(step: int) -> str:
    return "" if step == 1 else f", averaged over {step} \u00d7 {step} pixels"


def _inside(path: Path, root: Path) -> str:
    absolute = path.absolute()
    inside = absolute.is_relative_to(root.absolute())
    return printable(str(absolute.relative_to(root.absolute()) if inside else path))
