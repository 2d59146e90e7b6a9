"""Define the options of a run of compress, and the result for each movie."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryofs.compress.plan import Coding
from cryofs.config.choices import LinkChoice
from cryofs.execution.parts import WHOLE, Part
from cryofs.kernels.orientation import UPRIGHT, Orientation
from cryofs.movies.eer_rendering import Rendering
from cryofs.system.notices import Notice


@dataclass(frozen=True)
class CompressOptions:
    """Options of `cryofs compress`.

    Attributes
    ----------
    gain : Path or str
        A gain reference, a folder of references, "auto" or "none".
    gain_orientation : Orientation
        Orientation to apply to the given gain reference, and to that of EER files.
    rendering : Rendering or None
        Options for rendering EER files to TIFF; None to copy them.
    unpack : bool
        Whether to store the movies in packed files, instead of copying these.
    links : str
        Treatment of links that lead out of the sources: ``"report"``, ``"follow"`` or ``"keep"``.
    strict : bool
        Whether a file with the name of a movie counts as failed instead of being copied if it cannot be archived.
    least_saving : float
        Minimum saving as a fraction of the original size. A movie that saves less is stored as a plain copy.
    break_lock : bool
        Whether commands on other machines that hold the lock of the archive do not count.
    part : Part
        The part of the sources that this run archives.
    gain_wait : float
        How long another part than the first waits for gain references, in seconds.
    """

    gain: Path | Literal["auto", "none"] = "auto"
    gain_orientation: Orientation = UPRIGHT
    coding: Coding = field(default_factory=Coding)
    rendering: Rendering | None = None
    unpack: bool = False
    only_do_unfinished: bool = False
    jobs: int = 1
    links: LinkChoice = "report"
    strict: bool = False
    least_saving: float = 0.05
    part: Part = WHOLE
    gain_wait: float = 3600
    break_lock: bool = False


@dataclass(frozen=True)
class Stored:
    """Result of storing a movie.

    Attributes
    ----------
    source_bytes, stored_bytes : int
        Sizes of the source file and of the archived movie in bytes.
    note : str or None
        Message that a given gain reference was not used.
    replaced : str or None
        Message that the movie replaced another original with the same name.
    is_done : bool
        True if another run has stored the movie since this run began.
    notices : list
        Notices of the process that stored the movie.
    """

    source_bytes: int
    stored_bytes: int
    note: str | None = None
    replaced: str | None = None
    is_done: bool = False
    notices: list[Notice] = field(default_factory=list)
