"""Acquisition metadata of EER files; any item may be missing."""

import re
from typing import Any

from cryofs.formats.eer import EerIndex
from cryofs.movies.eer_rendering import metadata_number


def acquisition_of(index: EerIndex) -> dict[str, Any]:
    """Return acquisition metadata by name, with None for each missing item.

    The number of frames is the one that EPU recorded, which is often wrong. The frame rate is computed from the number
    of frames in the file.
    """
    noted = index.metadata.get("numberOfFrames", "")
    seconds = metadata_number(index, "exposureTime")
    return {
        "frames_in_metadata": int(noted) if re.fullmatch("[0-9]{1,12}", noted) else None,
        "camera": _text(index, "commercialName") or _text(index, "cameraName"),
        "serial_number": _text(index, "serialNumber"),
        "acquired": _text(index, "timestamp"),
        "exposure_seconds": seconds,
        "frames_per_second": index.frames / seconds if seconds else None,
        "recorded_dose_per_pixel": metadata_number(index, "totalDose"),
        "recorded_dose_rate": metadata_number(index, "meanDoseRate"),
    }


def _text(index: EerIndex, name: str) -> str | None:
    return index.metadata.get(name) or None
