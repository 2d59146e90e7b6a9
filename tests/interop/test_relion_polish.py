"""RELION's Polish takes converted trajectories, with movies that are read through a view of a mount."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofs.formats.star import StarFile
from tests.interop.drifting_eer import FRAMES, drift, write_drifting, write_particles
from tests.interop.relion import JOB, NEEDS_RELION, relion, shifts_of
from tests.privileges import CAN_USE_FUSE
from tests.support import mounted, movies_star, run_in_process

pytestmark = [*NEEDS_RELION, pytest.mark.skipif(not CAN_USE_FUSE, reason="needs the right to mount")]
HALF = "run_half{}_class001_unfil.mrc"


def polish(project: Path, micrographs: str, target: str) -> StarFile:
    inputs = ["--i", "particles.star", "--f", "PostProcess/postprocess.star", "--corr_mic", micrographs]
    motion = ["--s_vel", 0.2, "--s_div", 5000, "--s_acc", 2, "--min_p", 5, "--combine_frames"]
    # with its default of 20 A, RELION 3.1 fits B-factors to too few shells of so small a reference, and aborts
    motion += ["--bfac_minfreq", 30]
    relion(project, "motion_refine", *inputs, *motion, "--first_frame", 1, "--last_frame", -1, "--o", target)
    return StarFile.read(project / target / "shiny.star")


def test_polish_reads_the_view_of_the_new_fractions(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    particles = write_drifting(tmp_path / "archive" / "x.eer")
    (tmp_path / "movies.star").write_text(movies_star("Movies/x.mrc", 1.0))
    options = ["--use_own", "--bin_factor", 1, "--bfactor", 300, "--patch_x", 3, "--patch_y", 3, "--j", 2]
    with mounted(tmp_path / "archive", tmp_path / "Movies", "--eer-grouping", "24"):
        relion(tmp_path, "run_motioncorr", "--i", "movies.star", "--o", f"{JOB}/", *options, "--dose_per_frame", 0.72)
        micrographs = f"{JOB}/corrected_micrographs.star"
        change = ["--upsampling", "2", "--grouping", "8", "--movies", "Movies"]
        run_in_process("trajectory", micrographs, "--suffix", "up2_gr8", *change, cwd=tmp_path)
        write_particles(tmp_path, particles, f"{JOB}/Movies/x.mrc")
        for half in (1, 2):
            half_map = HALF.format(half)
            relion(tmp_path, "reconstruct", "--i", "particles.star", "--o", half_map, "--subset", half, "--ctf")
        (tmp_path / "PostProcess").mkdir()
        post = ["--i", HALF.format(1), "--o", "PostProcess/postprocess", "--mask", "mask.mrc", "--angpix", 1]
        relion(tmp_path, "postprocess", *post)
        shiny = polish(tmp_path, f"{JOB}/corrected_micrographs_up2_gr8.star", "Polish/")
    assert len(shiny.column("particles", "rlnImageName")) == len(particles.centres)
    tracks = StarFile.read(tmp_path / "Polish" / "Movies" / "x_tracks.star")
    # a track a particle, with the shift of each new fraction
    assert len(tracks.every("rlnOriginXAngst")) == len(particles.centres) * FRAMES // 8

    old = shifts_of(tmp_path / JOB / "Movies" / "x.star")
    new = shifts_of(tmp_path / JOB / "Movies" / "x_up2_gr8.star") / 2
    truth = -drift((np.arange(FRAMES // 8) + 0.5) * 8)
    starts = np.arange(FRAMES // 8) / 3
    relion_rule = np.stack([np.interp(starts, np.arange(len(old)), axis) for axis in old.T], axis=1)

    def error(shifts: NDArray[np.float64]) -> float:
        # a constant moves the whole micrograph
        return float(np.std(shifts - truth, axis=0).max())

    assert error(new) < error(relion_rule)
