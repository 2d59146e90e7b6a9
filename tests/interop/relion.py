"""What tests of RELION's motion correction share: the mark of what they need, a run of a program, its shifts."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofs.formats.star import StarFile
from tests.mounted.support import NEEDS_MOUNTS

NEEDS_RELION = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_run_motioncorr") is None, reason="needs relion"),
    *NEEDS_MOUNTS,
]
JOB = Path("MotionCorr/job002")


def relion(folder: Path, program: str, *arguments: object) -> str:
    """Run a program of RELION in a folder, and return its output."""
    command = [f"relion_{program}", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shifts_of(star: Path) -> NDArray[np.float64]:
    """Return the global shifts of a trajectory, shape (fractions, 2)."""
    trajectory = StarFile.read(star)
    return np.array([trajectory.column("global_shift", f"rlnMicrographShift{axis}") for axis in "XY"], np.float64).T
