"""Table of the frames and doses of the EER files of a folder, which marks unusual files; decodes no frame."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from os import walk
from pathlib import Path
from typing import Any

from cryofs.errors import CryofsError, FormatError
from cryofs.formats import eer
from cryofs.movies import registry
from cryofs.movies.eer_acquisition import acquisition_of
from cryofs.movies.eer_rendering import Rendering, facts_of
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
    differs: tuple[str, ...] = ()
    error: str | None = None


def eer_rows(folder: Path, rendering: Rendering) -> list[EerRow]:
    """Return a row for each EER file in a folder and below, sorted by path.

    Raises
    ------
    FormatError
        There is no EER file.
    """
    rows = [_row(path, folder, rendering) for path in sorted(_eer_files(folder))]
    if not rows:
        raise FormatError(f"{folder}: no EER files in this folder or below; pass a movie or a folder with EER files")
    return _marked(rows)


def _eer_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in walk(folder):
        folders.sort()
        for name in names:
            if registry.rendered_name(name) is not None and (path := Path(place, name)).is_file():
                yield path


def _row(path: Path, folder: Path, rendering: Rendering) -> EerRow:
    name = str(path.relative_to(folder))
    try:
        with LocalFile.open(path) as source:
            index = eer.read_index(source)
    except (CryofsError, OSError) as error:
        return EerRow(name, error=str(error).removeprefix(f"{path}: "))
    facts = facts_of(index)
    dose, _ = facts.frame_dose(rendering) or (None, None)
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
    )


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
