"""The report of an archive: one HTML page that asks for nothing from elsewhere."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from cryofs.errors import CryofsError
from cryofs.gain.estimation import RELIABILITY_NAME
from cryofs.movies.gain_library import load_reference, reference_sha256
from cryofs.movies.mrc import MrcMovie
from cryofs.report import inventory as surveys
from cryofs.report.inventory import MovieFacts, Saved, Survey, by_folder, by_kind, chosen, survey
from cryofs.report.movie_summary import look_at
from cryofs.report.pictures import Picture, draw
from cryofs.report.preview import histogram_caption
from cryofs.storage import atomic_file
from cryofs.text import printable, size_text
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
        Least and greatest gain of a pixel.
    without : int
        Pixels that have no gain of their own: exactly 1, 0 or no number.
    reliability : Picture or None
        Picture of how many values agreed with the estimate.
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


def write_report(archive: Path, target: Path, previews: int, jobs: int, tell: Callable[[str], None]) -> Survey:
    """Write the report of an archive; movies whose previews cannot be made are among the problems.

    Parameters
    ----------
    previews : int
        How many movies are decoded and shown.
    tell : callable
        Called with the name of each part that takes time.
    """
    tell(f"{archive}: reading the records")
    found = survey(archive)
    looks = []
    for movie in chosen(found.movies, previews):
        tell(f"{movie.path}: preview")
        try:
            looks.append(_preview(movie, jobs))
        except (CryofsError, OSError) as error:
            if all(path != movie.path for path, _ in found.problems):
                found.problems.append((movie.path, str(error)))
    page = _environment().from_string(resources.files(__package__).joinpath("report.html.j2").read_text("utf-8"))
    text = page.render(
        name=archive.absolute().name,
        place=str(archive.absolute()),
        made=datetime.datetime.now().astimezone(),
        version=VERSION,
        whole=Saved.of("", found.movies),
        survey=found,
        folders=by_folder(found.movies, _FOLDERS),
        kinds=by_kind(found.movies),
        course=_course(found.movies),
        references=[_reference(path, found) for path in found.references],
        previews=looks,
        problems=_problems(found),
        most_paths=_PATHS,
    )
    atomic_file.write_file(target, printable(text).encode())
    return found


def _problems(found: Survey) -> list[tuple[str, list[str]]]:
    """What is wrong, each with the files that it is wrong with."""
    grouped: dict[str, list[str]] = {}
    for path, text in found.problems:
        grouped.setdefault(text.removeprefix(f"{path}: ").removeprefix(f"{path}, "), []).append(
            _inside(path, found.root)
        )
    return list(grouped.items())


def _preview(movie: MovieFacts, jobs: int) -> dict[str, Any]:
    look = look_at(movie.path, jobs)
    tallest = float(look.histogram.shares.max()) or 1.0
    return {
        "look": look,
        "movie": movie,
        "total": draw(look.total, _PICTURE),
        "spectrum": draw(look.spectrum, _PICTURE),
        "caption": histogram_caption(look),
        "tallest": tallest,
        "bars": [
            ((first + last) / 2, share, share / tallest)
            for first, last, share in zip(
                look.histogram.edges[:-1], look.histogram.edges[1:], look.histogram.shares, strict=True
            )
        ],
    }


def _reference(path: Path, found: Survey) -> ReferencePicture | str:
    """What the page shows of a gain reference, or what is wrong with it."""
    try:
        reference = load_reference(path)
        sha256 = reference_sha256(path)
    except (CryofsError, OSError) as error:
        return str(error)
    served = [movie for movie in found.movies if movie.gain == sha256]
    without = (reference.gain == 1) | (reference.gain == 0) | ~np.isfinite(reference.gain)
    own = reference.gain[~without]
    low, high = (float(own.min()), float(own.max())) if own.size else (1.0, 1.0)
    values = sum(movie.values for movie in served)
    return ReferencePicture(
        name=_inside(path, found.root),
        shape=reference.shape,
        arithmetic=reference.arithmetic.value,
        low=low,
        high=high,
        without=int(without.sum()),
        movies=len(served),
        frames=sum(movie.frames for movie in served),
        exceptions=sum(movie.exceptions for movie in served) / values if values else None,
        picture=draw(reference.gain, _PICTURE, without),
        reliability=_reliability(path.with_name(RELIABILITY_NAME), reference.shape),
    )


def _reliability(path: Path, shape: tuple[int, int]) -> Picture | None:
    try:
        with MrcMovie(path) as movie:
            values = movie.frame(0).astype(np.float32)
    except (CryofsError, OSError):
        return None
    return draw(values, _PICTURE, values <= 0) if values.shape == shape else None


def _course(movies: list[MovieFacts]) -> dict[str, Any] | None:
    """Sizes and rates over time; None where all movies are of one moment."""
    if len(movies) < 2 or movies[0].time == movies[-1].time:
        return None
    spans = list(surveys.spans(movies, _SPANS))
    most = max(len(inside) for _, _, inside in spans)
    original = np.cumsum([sum(one.original_bytes for one in inside) for _, _, inside in spans])
    stored = np.cumsum([sum(one.stored_bytes for one in inside) for _, _, inside in spans])
    busy = [(end - begin, inside) for begin, end, inside in spans if inside]
    hours = sum(length for length, _ in busy) / 3600
    return {
        "begin": spans[0][0],
        "end": spans[-1][1],
        "step": spans[0][1] - spans[0][0],
        "most": most,
        "columns": [
            (begin, len(inside), len(inside) / most, Saved.of("", inside).ratio if inside else None)
            for begin, _, inside in spans
        ],
        "movies_an_hour": len(movies) / hours,
        "bytes_an_hour": float(original[-1]) / hours,
        "original": _area(original, float(original[-1])),
        "stored": _area(stored, float(original[-1])),
    }


def _area(heights: "np.ndarray[Any, Any]", tallest: float) -> str:
    """Outline of an area in a square of 100 x 100, from the bottom left."""
    places = np.linspace(0, 100, len(heights) + 1)
    tops = [0.0, *(100 * heights / tallest).tolist()]
    points = [f"{x:.2f},{100 - y:.2f}" for x, y in zip(places.tolist(), tops, strict=True)]
    return f"M{' L'.join(points)} L100,100 Z"


def _environment() -> Environment:
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {
        "size": size_text,
        "percent": _percent,
        "time": _time,
        "length": len,
        "span": _span,
        "plain": _plain,
        "mean": _mean,
    }
    return made


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
    return "" if step == 1 else f", mean of {step} \u00d7 {step} pixels"


def _inside(path: Path, root: Path) -> str:
    absolute = path.absolute()
    return str(absolute.relative_to(root.absolute())) if absolute.is_relative_to(root.absolute()) else str(path)
