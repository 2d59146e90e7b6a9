"""RELION's motion correction reads fractions that are cropped in Fourier space."""

from pathlib import Path

import numpy as np
import pytest

from cryofs.formats.star import StarFile
from tests.interop.drifting_eer import FRAMES, drift, write_drifting
from tests.interop.relion import JOB, NEEDS_RELION, relion, shifts_of
from tests.privileges import CAN_USE_FUSE
from tests.support import mounted, movies_star, run_in_process

pytestmark = [*NEEDS_RELION, pytest.mark.skipif(not CAN_USE_FUSE, reason="needs the right to mount")]
GROUPING = 24


def test_motion_correction_and_trajectories_of_a_cropped_view(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    write_drifting(tmp_path / "archive" / "x.eer")
    view = f"@up2crop1_gr{GROUPING}"
    (tmp_path / "movies.star").write_text(movies_star(f"Movies/{view}/x.mrc", 1.0))
    options = ["--use_own", "--bin_factor", 1, "--bfactor", 300, "--patch_x", 1, "--patch_y", 1, "--j", 2]
    with mounted(tmp_path / "archive", tmp_path / "Movies"):
        relion(tmp_path, "run_motioncorr", "--i", "movies.star", "--o", f"{JOB}/", *options, "--dose_per_frame", 0.72)
        corrected = tmp_path / JOB / "Movies" / view
        change = ["--suffix", "fine", "--upsampling", "2", "--grouping", "8", "--movies", "Movies"]
        run_in_process("trajectory", f"{JOB}/corrected_micrographs.star", *change, cwd=tmp_path)
    middles = (np.arange(FRAMES // GROUPING) + 0.5) * GROUPING
    truth = -drift(middles)
    found = shifts_of(corrected / "x.star")
    np.testing.assert_allclose(found - found.mean(axis=0), truth - truth.mean(axis=0), atol=0.3)
    # the shifts are in pixels of the cropped grid, so those of the 8K grid are twice as large
    fine = StarFile.read(corrected / "x_fine.star")
    assert fine.value("general", "rlnMicrographMovieName") == "Movies/@up2_gr8/x.mrc"
    third = shifts_of(corrected / "x_fine.star")[1::3]
    np.testing.assert_allclose(third - third[0], 2 * (found - found[0]), atol=0.05)
