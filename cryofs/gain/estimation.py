"""Gain estimation over movies: frames in, a row of figures for each, a state that survives between runs."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from cryofs.errors import ArchiveError, CryofsError, GainError
from cryofs.formats.archive_names import GAIN_REFERENCE
from cryofs.formats.mrc import MODE_FLOAT32, new_header
from cryofs.gain.arithmetic import find_arithmetic
from cryofs.kernels.from_counts import GainReference
from cryofs.kernels.gain_estimate import BECAME_RELIABLE, CHANGED, MISMATCH, NEGATIVE, GainEstimate
from cryofs.movies.gain_library import reference_file
from cryofs.movies.mrc import MrcMovie
from cryofs.storage.atomic_file import draft, make_folders, naming, remove_stale_drafts, write_file

RELIABILITY_NAME = "gain-reliability.mrc"
STATE_NAME = "gain-estimate.npz"
DEFAULT_THRESH = 50

# One piece of work: these rows of these frames, a few megabytes, so that the state of the pixels stays in cache.
_BATCH_FRAMES = 8
_BAND_ROWS = 32
# The estimate no longer changes: at most one pixel in a million over this many frames.
_QUIET_FRAMES = 16
_QUIET_SHARE = 1e-6
_SAVE_SECONDS = 60.0


@dataclass(frozen=True)
class FrameRow:
    """What a frame did to the estimate."""

    movie: str
    frame: int
    changed: int
    mismatch: int
    negative: int
    unreliable: int
    pixels: int

    def __str__(self) -> str:
        return (
            f"{self.movie} Frame {self.frame:03d} #Changed {self.changed} #Mismatch {self.mismatch}, "
            f"#Negative {self.negative}, #Unreliable {self.unreliable} / {self.pixels}"
        )


@dataclass(frozen=True)
class Limits:
    """When to stop before the estimate is stable: after so many frames in all, or once `stop` says so."""

    frames: int | None = None
    stop: Callable[[], bool] = lambda: False


@dataclass
class Estimation:
    """An estimate in progress: what is known of the pixels, and which movies told it."""

    estimate: GainEstimate
    thresh: int = DEFAULT_THRESH
    reliable: int = 0
    changes: list[int] = field(default_factory=list)
    frames_done: dict[str, int] = field(default_factory=dict)
    pixel_size: float | None = None
    tolerance: float = 0.0

    @classmethod
    def for_movie(cls, movie: MrcMovie, thresh: int = DEFAULT_THRESH, tolerance: float = 0.0) -> Self:
        """Nothing known yet, of frames as large as this movie's; `tolerance` as in `GainEstimate.update`."""
        if movie.mrc_header.mode != MODE_FLOAT32:
            raise GainError(f"{movie.name}: its values are no float32, so not gain-normalised; leave it out")
        _, ny, nx = movie.shape
        empty = GainEstimate.empty(ny, nx)
        return cls(empty, thresh, pixel_size=movie.mrc_header.pixel_size, tolerance=tolerance)

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""
        return self.estimate.gain.size

    @property
    def stable(self) -> bool:
        """Whether further frames no longer change the estimate."""
        recent = self.changes[-_QUIET_FRAMES:]
        return len(recent) == _QUIET_FRAMES and sum(recent) <= self.pixels * _QUIET_SHARE

    @property
    def hopeless(self) -> bool:
        """Whether most pixels show values without a common divisor: the movies are not gain-normalised counts."""
        if len(self.changes) < _BATCH_FRAMES:
            return False
        seen = np.count_nonzero(self.estimate.gain)
        return bool(np.count_nonzero(self.estimate.reliability < 0) > 0.5 * seen)

    def add_movie(self, movie: MrcMovie, pool: Executor, limits: Limits) -> Iterator[FrameRow]:
        """Take in the frames of a movie that were not taken in before, until the estimate is stable or limits are met.

        Raises
        ------
        GainError
            The movie is not of float32 frames of the size of this estimate.
        """
        frames, ny, nx = movie.shape
        if movie.mrc_header.mode != MODE_FLOAT32 or (ny, nx) != self.estimate.gain.shape:
            raise GainError(f"{movie.name}: its frames are not float32 of {self.estimate.gain.shape}; leave it out")
        first = self.frames_done.get(movie.name, 0)
        while not (self.stable or limits.stop() or (len(self.changes) == _BATCH_FRAMES and self.hopeless)):
            end = min(first + _BATCH_FRAMES, frames)
            if limits.frames is not None:
                end = min(end, first + limits.frames - len(self.changes))
            if end <= first:
                return
            yield from self._add_batch(movie, range(first, end), pool)
            first = end

    def _add_batch(self, movie: MrcMovie, batch: range, pool: Executor) -> list[FrameRow]:
        ny = self.estimate.gain.shape[0]

        def add_band(first: int) -> Any:
            values = movie.stack(batch, first, min(first + _BAND_ROWS, ny))
            return self.estimate.update(first, values, self.thresh, self.tolerance)

        statistics = sum(pool.map(add_band, range(0, ny, _BAND_ROWS)))
        rows = []
        for frame, figures in zip(batch, statistics, strict=True):
            self.reliable += int(figures[BECAME_RELIABLE])
            self.changes.append(int(figures[CHANGED]))
            rows.append(
                FrameRow(
                    movie=movie.name,
                    frame=frame,
                    changed=int(figures[CHANGED]),
                    mismatch=int(figures[MISMATCH]),
                    negative=int(figures[NEGATIVE]),
                    unreliable=self.pixels - self.reliable,
                    pixels=self.pixels,
                )
            )
        self.frames_done[movie.name] = batch.stop
        return rows

    def set_thresh(self, thresh: int) -> None:
        """Count pixels as reliable from another threshold on."""
        if thresh != self.thresh:
            self.thresh = thresh
            self.reliable = int(np.count_nonzero(self.estimate.reliability >= thresh))

    def reference(self, pool: Executor) -> GainReference:
        """The gain reference that the estimate makes, by the arithmetic that serves the movies best."""
        return find_arithmetic(self.estimate.reference(), self.frames_done, pool)

    def save(self, folder: Path) -> None:
        """Write reliability, and the state to go on from."""
        ny, nx = self.estimate.gain.shape
        header = new_header((1, ny, nx), 2, self.pixel_size, "cryofs gain reliability: agreeing values less mismatches")
        write_file(folder / RELIABILITY_NAME, header + self.estimate.reliability.astype("<f4").tobytes())
        state = {
            "thresh": self.thresh,
            "reliable": self.reliable,
            "changes": self.changes,
            "frames_done": self.frames_done,
            "pixel_size": self.pixel_size,
            "tolerance": self.tolerance,
        }
        with naming(folder / STATE_NAME), draft(folder / STATE_NAME) as made:
            arrays: dict[str, Any] = vars(self.estimate)
            np.savez(made.file, allow_pickle=False, state=np.array(json.dumps(state)), **arrays)
            made.sync()
            made.publish()

    def save_reference(self, folder: Path, reference: GainReference) -> None:
        """Write the gain reference."""
        write_file(folder / GAIN_REFERENCE, reference_file(reference, self.pixel_size))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """State that `save` left in a folder.

        Raises
        ------
        GainError
            It is not readable.
        """
        path = folder / STATE_NAME
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                arrays = {name: saved[name] for name in ("gain", "low", "high", "reliability")}
                return cls(GainEstimate(**arrays), **json.loads(str(saved["state"])))
        except Exception as error:
            # a damaged archive of arrays raises errors of zipfile, zlib, NumPy and others
            raise GainError(f"{path}: not readable ({error}); remove it to start anew") from error


def continue_estimation(
    paths: Iterable[Path],
    folder: Path,
    thresh: int,
    limits: Limits,
    pool: Executor,
    on_error: Callable[[Exception], None],
) -> Iterator[FrameRow]:
    """Estimate the gain of movies, from where a run into the same folder ended; a row a frame.

    The state is saved between movies every minute or so, and at the end, however it comes.

    Raises
    ------
    GainError
        No movie could be used, or the state in the folder is not readable.
    """
    make_folders(folder)
    remove_stale_drafts(folder)
    estimation = Estimation.load(folder) if (folder / STATE_NAME).exists() else None
    saved = time.monotonic()
    try:
        for path in paths:
            try:
                with MrcMovie(path.absolute()) as movie:
                    estimation = estimation or Estimation.for_movie(movie, thresh)
                    estimation.set_thresh(thresh)
                    yield from estimation.add_movie(movie, pool, limits)
            except CryofsError as error:
                on_error(error)
            except OSError as error:
                on_error(ArchiveError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk"))
            if estimation is not None and time.monotonic() - saved > _SAVE_SECONDS:
                estimation.save(folder)
                estimation.save_reference(folder, GainReference(estimation.estimate.reference()))
                saved = time.monotonic()
            if limits.stop() or (estimation is not None and estimation.stable):
                return
    finally:
        if estimation is not None and estimation.changes:
            # whatever comes of the reference, the state is kept
            saving = pool.submit(estimation.save, folder)
            estimation.save_reference(folder, estimation.reference(pool))
            saving.result()
    if estimation is None or not estimation.changes:
        raise GainError(f"{folder}: no gain-normalised movie among the sources; float32 MRC movies are needed")
