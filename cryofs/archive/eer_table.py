"""Table of the frames and doses of the EER files of a folder, which marks unusual files.

Frames are decoded only to count the dose of files whose metadata lack it.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryofs.errors import CryofsError, FormatError
from cryofs.formats import eer
from cryofs.formats.eer import EerIndex
from cryofs.movies.eer_acquisition import acquisition_of
from cryofs.movies.eer_dose import counted_electrons
from cryofs.movies.eer_files import eer_files
from cryofs.movies.eer_rendering import EerFacts, Rendering, facts_of
from cryofs.storage.byte_source import LocalFile

# Relative difference from the most common dose beyond which a file is marked.
_DOSE_TOLERANCE = 0.05


@dataclass(frozen=True)
class EerRow:
    """A row of the table; an item is None if the file is unreadable or its metadata lack the item.

    Attributes
    ----------
    dose_per_frame, total_dose : float or None
        Electrons per square angstrom.
    dose_source : str or None
        The source of the doses: given, metadata or counted.
    differs : tuple of str
        Names of the columns in which the file differs from most other files.
    error : str or None
        Reason why the file cannot be read.
    """

    path: str
    frames: int | None = None
    frames_in_metadata: int | None = None
    damaged_frames: int | None = None
    ny: int | None = None
    nx: int | None = None
    pixel_size: float | None = None
    dose_per_frame: float | None = None
    total_dose: float | None = None
    dose_source: str | None = None
    differs: tuple[str, ...] = ()
    error: str | None = None


def eer_rows(folder: Path, rendering: Rendering) -> list[EerRow]:
    """Return a row for each EER file in a folder and below, sorted by path.

    Raises
    ------
    FormatError
        There is no EER file.
    """
    rows = [_row(path, folder, rendering) for path in sorted(eer_files(folder))]
    if not rows:
        raise FormatError(f"{folder}: no EER files in this folder or below; pass a movie or a folder with EER files")
    return _marked(rows)


def _row(path: Path, folder: Path, rendering: Rendering) -> EerRow:
    name = str(path.relative_to(folder))
    try:
        with LocalFile.open(path) as source:
            index = eer.read_index(source)
            facts = _with_dose(source, index, rendering)
    except (CryofsError, OSError) as error:
        return EerRow(name, error=str(error).removeprefix(f"{path}: "))
    dose, dose_source = facts.frame_dose(rendering) or (None, None)
    return EerRow(
        name,
        index.frames,
        acquisition_of(index)["frames_in_metadata"],
        index.frames - int(index.intact.sum()),
        index.ny,
        index.nx,
        rendering.pixel_size or facts.pixel_size,
        dose,
        dose * index.frames if dose else None,
        dose_source,
    )


def _with_dose(source: LocalFile, index: EerIndex, rendering: Rendering) -> EerFacts:
    """Return the metadata of a file; the dose is counted if the metadata lack nothing but the dose."""
    facts = facts_of(index)
    is_known = facts.frame_dose(rendering) is not None or (rendering.pixel_size or facts.pixel_size) is None
    return facts if is_known else replace(facts, counted=counted_electrons(source, index))


def _marked(rows: list[EerRow]) -> list[EerRow]:
    """Return the rows with `differs` set."""
    readable = [row for row in rows if row.error is None]
    usual: dict[str, Any] = {}
    for name in ("frames", "ny", "nx", "pixel_size"):
        found = Counter(getattr(row, name) for row in readable)
        usual[name] = found.most_common(1)[0][0] if found else None
    doses = sorted(row.total_dose for row in readable if row.total_dose is not None)
    dose = doses[len(doses) // 2] if doses else None

    def differences(row: EerRow) -> tuple[str, ...]:
        columns = [name for name, value in usual.items() if getattr(row, name) != value]
        if dose is not None and (row.total_dose is None or abs(row.total_dose - dose) > _DOSE_TOLERANCE * dose):
            columns.append("total_dose")
        return tuple(columns)

    return [row if row.error else replace(row, differs=differences(row)) for row in rows]
