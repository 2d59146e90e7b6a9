"""Write the draft of an archived movie for a plain movie of an archive; worker processes execute this module.

A draft is complete when this is done: compared with the plain file frame by frame, with its owner, mode and extended
attributes, and synced, as is the plain file. The process that knows the writers gives it its name
(`cryofs.ingest.publish`).
"""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from cryofs.compress.full_disk import is_full
from cryofs.compress.plan import Coding, make_plan
from cryofs.compress.row_blocks import Workers
from cryofs.compress.writer import OnFrame, write_movie
from cryofs.error_hints import explain
from cryofs.errors import ArchiveError, ChangedError, FullDiskError, NoReferenceError
from cryofs.formats.archive_names import archived_path
from cryofs.formats.mrc import MODE_FLOAT32
from cryofs.gain.references import Reference, References, best_scaled_match
from cryofs.gain.samples import take_samples
from cryofs.gain.scaled import step_of
from cryofs.movies.mrc import MrcMovie
from cryofs.storage import changes
from cryofs.storage.atomic_file import Draft, forget
from cryofs.storage.extended_attributes import OWN, is_users
from cryofs.storage.file_copy import copy_owner
from cryofs.storage.file_state import FileState, state_of


@dataclass(frozen=True)
class DraftOptions:
    """Options for drafts.

    Attributes
    ----------
    gain : str
        "auto" for the references of the archive, or "none" to store floating-point values as they are.
    least_saving : float
        Smallest saving as a fraction of the original size.
    threads : int
        Threads that share the work on a movie.
    """

    gain: Literal["auto", "none"] = "auto"
    coding: Coding = field(default_factory=Coding)
    least_saving: float = 0.05
    threads: int = 1


@dataclass(frozen=True)
class Ready:
    """A complete draft.

    Attributes
    ----------
    plain : Path
        The plain movie; the draft is in the same folder.
    state : FileState
        State of the plain movie before its first byte was read.
    stored_bytes : int
        Size of the draft.
    """

    plain: Path
    draft: Path
    state: FileState
    stored_bytes: int

    @property
    def target(self) -> Path:
        """Path of the archived movie."""
        return archived_path(self.plain)

    def discard(self) -> None:
        """Remove the draft unless it was given its name."""
        changes.disk.remove(self.draft, missing_ok=True)


@dataclass
class MakeDrafts:
    """Task function that makes drafts in a worker process; it is pickled, and opens files only in the worker.

    Attributes
    ----------
    without_gain : frozenset of Path
        Movies of floating-point values that need not wait for a gain reference.
    """

    archive: Path
    options: DraftOptions
    without_gain: frozenset[Path] = frozenset()

    def __call__(self, plain: Path, on_frame: OnFrame) -> Ready:
        """Return a complete draft for a plain movie.

        Raises
        ------
        NotSmallerError
            The archived movie would hardly be smaller.
        NoReferenceError
            The movie has to wait for a gain reference.
        FormatError
            The file is not a movie.
        ChangedError
            The file changed while it was read, or was removed.
        FullDiskError
            No space is left.
        CryofsError
            The draft cannot be made. No file is left behind after any error.
        """
        try:
            return self._make(plain, on_frame)
        except OSError as error:
            if is_full(error):
                raise FullDiskError(error.strerror) from error
            if isinstance(error, FileNotFoundError) and error.filename == str(plain):
                # another file may have the name by now
                raise ChangedError(f"{plain}: removed or renamed; retry later") from error
            raise ArchiveError(f"{plain}: not archived ({explain(error)})") from error
        except MemoryError as error:
            raise ArchiveError(f"{plain}: out of memory ({error}); reduce --jobs") from error

    def _make(self, plain: Path, on_frame: OnFrame) -> Ready:
        with MrcMovie(plain) as movie:
            reference = self._reference(movie)
            plan = make_plan(movie, take_samples(movie), reference, self.options.coding, self._workers.pool)
            if plan.reference is not None:
                self.references.make_own(plan.reference)
            limit = (1 - self.options.least_saving) * movie.stat.st_size
            made = Draft(archived_path(plain))
            try:
                with made.file:
                    stored = write_movie(movie, made, plan, self._workers, on_frame, limit, ingested=True)
                    _copy_attributes(movie, made)
                    made.sync()
                    changes.disk.sync(movie.source.descriptor)
                    movie.check_in_place()
                return Ready(plain, made.path, state_of(movie.stat), stored)
            except BaseException:
                changes.disk.remove(made.path, missing_ok=True)
                raise
            finally:
                # from here on it belongs to the process that publishes it
                forget(made.path)

    def _reference(self, movie: MrcMovie) -> Reference | None:
        is_float = movie.mrc_header.mode == MODE_FLOAT32
        is_waived = self.options.gain == "none" or movie.path in self.without_gain
        if is_waived or not (is_float or step_of(movie) is not None):
            return None
        self.references.look_in(movie.path.parent)
        if not is_float:
            # without a reference, integers need not wait: they are stored as they are
            return best_scaled_match(movie, self.references.of_size(movie.shape[1:]))
        reference = self.references.best_match(movie.shape[1:], take_samples(movie))
        if reference is None:
            raise NoReferenceError(f"{movie.name}: no gain reference of the archive fits")
        return reference

    @cached_property
    def references(self) -> References:
        """Gain references of the archive."""
        return References(self.archive)

    @cached_property
    def _workers(self) -> Workers:
        return Workers(ThreadPoolExecutor(self.options.threads), self.options.threads)


def _copy_attributes(movie: MrcMovie, made: Draft) -> None:
    """Give a draft the owner, mode and extended attributes of a movie; its record holds the times.

    Raises
    ------
    ArchiveError
        This user may not give the file away, so the owner would be lost.
    """
    source, target, found = movie.source.descriptor, made.file.fileno(), movie.stat
    try:
        copy_owner(found, target)
    except PermissionError as error:
        text = f"{movie.name}: its owner or group cannot be kept by this user"
        raise ArchiveError(f"{text}; run as the owner of the file, or as root") from error
    for name in os.listxattr(source):
        if name.startswith(OWN):
            continue
        try:
            changes.disk.set_attribute(target, name, os.getxattr(source, name))
        except OSError as error:
            # the system itself sets others, as security labels, and files of the archive had these too
            if is_users(name):
                raise ArchiveError(
                    f"{movie.name}: its extended attribute {name} cannot be kept ({explain(error)})"
                ) from error
    # last, because a change of owner clears bits
    changes.disk.set_mode(target, stat.S_IMODE(found.st_mode))
