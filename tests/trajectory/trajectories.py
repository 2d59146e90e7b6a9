"""Trajectory STAR files for tests, as RELION 3.1 writes them."""

import numpy as np
from numpy.typing import NDArray


def linear_shifts(count: int) -> NDArray[np.float64]:
    """Return shifts of (1, -2) pixels a fraction."""
    return np.outer(np.arange(count, dtype=np.float64), [1.0, -2.0])


def trajectory(shifts: NDArray[np.float64], extra: str = "", **general: object) -> str:
    """Return a trajectory; `extra` is added at the end, `general` to the first block."""
    pairs = {
        "rlnImageSizeX": 1000,
        "rlnImageSizeY": 600,
        "rlnImageSizeZ": len(shifts),
        "rlnMicrographMovieName": "Movies/x.eer",
        "rlnMicrographBinning": "1.000000",
        "rlnMicrographOriginalPixelSize": "0.800000",
        "rlnMicrographDoseRate": "1.200000",
        "rlnMicrographPreExposure": "0.000000",
        "rlnVoltage": "300.000000",
        "rlnMicrographStartFrame": 1,
        "rlnEERUpsampling": 1,
        "rlnEERGrouping": 24,
        "rlnMotionModelVersion": 1,
    } | general
    blocks = [
        "\n".join(["data_general", "", *(f"_{tag}    {value}" for tag, value in pairs.items() if value is not None)]),
        table("global_shift", "rlnMicrographFrameNumber rlnMicrographShiftX rlnMicrographShiftY", numbered(shifts, 1)),
        table("local_motion_model", "rlnMotionModelCoeffsIdx rlnMotionModelCoeff", numbered(MODEL[:, None], 0)),
        table("local_shift", "rlnMicrographFrameNumber rlnMicrographShiftX", numbered(shifts[:, :1], 1)),
    ]
    return "".join(f"\n# version 30001\n\n{block}\n\n" for block in [*blocks, extra] if block)


def table(name: str, columns: str, rows: list[list[str]]) -> str:
    """Return a table as text."""
    head = [f"_{column} #{number}" for number, column in enumerate(columns.split(), 1)]
    return "\n".join([f"data_{name}", "", "loop_", *head, *("  ".join(row) for row in rows)])


def numbered(values: NDArray[np.float64], first: int) -> list[list[str]]:
    """Return rows that begin with their number."""
    return [[str(number), *(f"{value:.6f}" for value in row)] for number, row in enumerate(values, first)]


MODEL = np.random.default_rng(0).normal(size=36).round(6)
HOT_PIXELS = table("hot_pixels", "rlnCoordinateX rlnCoordinateY rlnNote", [["10.0", "20.0", "'a b'"]])
MICROGRAPHS = table(
    "micrographs",
    "rlnMicrographName rlnMicrographMetadata rlnOpticsGroup",
    [["Job/x.mrc", "Job/x.star", "1"], ["Job/y.mrc", "Job/y.star", "1"]],
)
