"""Gain estimates are handed over to RELION's converter and taken from it."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from benchmarks.simulate import Arithmetic, Detector
from cryofs.archive.info import describe
from cryofs.compress.movie_task import CompressOptions
from cryofs.movies.gain_library import load_reference
from tests.support import archive, movies_star, restored, run_in_process, same_tree, simulated

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_convert_to_tiff") is None, reason="needs relion"),
]
SHAPE = (96, 80)
THRESH = 20
FRAMES = 50


def session(folder: Path, arithmetic: Arithmetic = "single") -> tuple[Path, Detector]:
    """A folder with Movies/x.mrc and its list."""
    detector = Detector.make(SHAPE, defects=6, arithmetic=arithmetic)
    movie = simulated(folder / "Movies" / "x.mrc", FRAMES, detector=detector)
    (folder / "movies.star").write_text(movies_star("Movies/x.mrc", 1.06))
    return movie, detector


def relion(folder: Path, target: str, *options: object) -> str:
    command = ["relion_convert_to_tiff", "--i", "movies.star", "--o", f"{target}/", "--thresh", str(THRESH)]
    run = [*command, *map(str, options)]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def values_of(movie: Path) -> NDArray[np.float32]:
    return np.fromfile(movie, "<f4", offset=1024).reshape(FRAMES, *SHAPE)


@pytest.mark.parametrize("arithmetic", ["single", "double", "reciprocal"])
def test_relion_takes_the_gain_that_cryofs_estimated(tmp_path: Path, arithmetic: Arithmetic) -> None:
    movie, detector = session(tmp_path, arithmetic)
    run_in_process("estimate-gain", movie, "-o", tmp_path / "gain", "--thresh", THRESH)
    reference = tmp_path / "gain" / "gain-reference.mrc"
    relion(tmp_path, "Tiff", "--gain", reference)
    gain = load_reference(tmp_path / "Tiff" / "gain-reference.mrc").gain
    good = np.ones(gain.size, bool)
    good[detector.defects] = False
    assert np.array_equal(gain.reshape(-1)[good], load_reference(reference).gain.reshape(-1)[good])
    assert np.all(gain.reshape(-1)[~good] == 1)
    pages = tifffile.imread(tmp_path / "Tiff" / "Movies" / "x.tif")[:, ::-1]
    # RELION stores counts at all good pixels, and the values of defects
    counts = pages.reshape(FRAMES, -1)[:, good]
    assert np.array_equal(counts, np.rint(counts))
    difference = np.abs(pages * gain - values_of(movie)).max()
    assert difference == 0 if arithmetic == "single" else difference < 1e-5


def test_cryofs_takes_the_gain_that_relion_estimated(tmp_path: Path) -> None:
    movie, detector = session(tmp_path)
    relion(tmp_path, "Gain", "--estimate_gain")
    given = tmp_path / "Gain" / "gain_estimate.bin"
    target = tmp_path / "archive"
    _, reported = archive(movie.parent, target, CompressOptions(gain=given, jobs=1))
    assert not reported.notes
    assert not reported.rows
    expected = detector.gain.copy()
    expected.reshape(-1)[detector.defects] = 1
    assert np.array_equal(load_reference(target / "gain-reference.mrc").gain, expected)
    assert describe(target / "x.mrc.tif")["exceptions"] <= FRAMES * len(detector.defects)
    same_tree(movie.parent, restored(target, tmp_path / "restored"))


def test_the_last_rows_of_both_programs_are_equal(tmp_path: Path) -> None:
    """Frames are counted from 1 there and from 0 here; RELION counts negative values apart."""
    movie, _ = session(tmp_path)
    last = relion(tmp_path, "Gain", "--estimate_gain").split(f"Frame {FRAMES:03d}")[1].splitlines()[0].split()
    rows = run_in_process("estimate-gain", movie, "-o", tmp_path / "gain", "--thresh", THRESH).stdout.splitlines()
    ours = rows[-1].split(f"Frame {FRAMES - 1:03d}")[1].split()
    assert [word.strip(",") for word in ours[-4:]] == last[-4:]
    assert ours[-3] == "6"
