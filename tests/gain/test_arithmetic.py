"""Each kind of rounding by camera software: movies become exact counts, and the reference records the arithmetic."""

from pathlib import Path
from typing import get_args

import mrcfile
import numpy as np
import pytest

import cryofs
from benchmarks.simulate import Arithmetic as Simulated
from benchmarks.simulate import Detector, write_movie
from cryofs.archive.info import describe
from cryofs.compress.movie_task import CompressOptions
from cryofs.kernels.from_counts import Arithmetic
from cryofs.movies.gain_library import load_reference
from tests.support import archive
from tests.support import cryofs as command

SHAPE = (210, 257)
DEFECTS = 10
FRAMES = 40
MADE_BY = {
    "single": Arithmetic.SINGLE,
    "double": Arithmetic.DOUBLE,
    "reciprocal": Arithmetic.RECIPROCAL,
    # no kind matches two roundings; the mean in double precision is the closest
    "twice": Arithmetic.DOUBLE,
}


def detector(kind: Simulated, seed: int = 1) -> Detector:
    return Detector.make(SHAPE, DEFECTS, seed, kind)


def movie(folder: Path, kind: Simulated, seed: int = 0, frames: int = FRAMES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{seed}.mrc"
    write_movie(path, detector(kind), frames, seed=seed)
    return path


def archived_frames(path: Path) -> list[bytes]:
    with cryofs.open(path) as stored:
        return [frame.tobytes() for frame in stored.frames()]


def test_all_kinds_are_covered() -> None:
    assert set(MADE_BY) == set(get_args(Simulated))


@pytest.mark.parametrize("kind", MADE_BY)
def test_values_of_each_arithmetic_become_counts(tmp_path: Path, kind: Simulated) -> None:
    source = movie(tmp_path / "session", kind)
    archive(tmp_path / "session", tmp_path / "archive")
    target = tmp_path / "archive" / "0.mrc.tif"
    facts = describe(target)
    assert facts["gain"]["arithmetic"] == MADE_BY[kind]
    assert load_reference(tmp_path / "archive" / "gain-reference.mrc").arithmetic == MADE_BY[kind]
    assert b"".join(archived_frames(target)) == source.read_bytes()[1024:]
    # the record and the headers of strips take a larger share of small frames
    assert facts["ratio"] < (0.08 if kind == "twice" else 0.075)
    share = facts["exceptions"] / (FRAMES * SHAPE[0] * SHAPE[1])
    assert share < (0.02 if kind == "twice" else 2 * DEFECTS / (SHAPE[0] * SHAPE[1]))


@pytest.mark.parametrize("kind", ["double", "reciprocal"])
def test_other_readers_read_the_gain_of_each_arithmetic(tmp_path: Path, kind: Simulated) -> None:
    movie(tmp_path / "session", kind)
    archive(tmp_path / "session", tmp_path / "archive")
    with mrcfile.open(tmp_path / "archive" / "gain-reference.mrc") as file:
        found = file.data.copy()
    made = detector(kind)
    good = np.ones(found.size, bool)
    good[made.defects] = False
    assert found.dtype == np.float32
    assert np.allclose(found.reshape(-1)[good], made.gain.reshape(-1)[good], rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["double", "reciprocal"])
def test_later_run_uses_the_existing_reference(tmp_path: Path, kind: Simulated) -> None:
    movie(tmp_path / "session", kind)
    archive(tmp_path / "session", tmp_path / "archive")
    later = movie(tmp_path / "later", kind, seed=5, frames=3)
    _, reported = archive(later, tmp_path / "archive")
    assert reported.rows == []
    facts = describe(tmp_path / "archive" / "5.mrc.tif")
    assert facts["gain"] == describe(tmp_path / "archive" / "0.mrc.tif")["gain"]
    assert b"".join(archived_frames(tmp_path / "archive" / "5.mrc.tif")) == later.read_bytes()[1024:]


def test_separately_estimated_reference_records_the_arithmetic(tmp_path: Path) -> None:
    source = movie(tmp_path / "session", "reciprocal")
    command("estimate-gain", source, "-o", tmp_path / "gain")
    reference = tmp_path / "gain" / "gain-reference.mrc"
    assert load_reference(reference).arithmetic == Arithmetic.RECIPROCAL
    archive(source, tmp_path / "archive", CompressOptions(gain=reference, jobs=2))
    assert describe(tmp_path / "archive" / "0.mrc.tif")["ratio"] < 0.075


def test_plain_float32_reference_leaves_exceptions(tmp_path: Path) -> None:
    source = movie(tmp_path / "session", "double")
    archive(tmp_path / "session", tmp_path / "found")
    plain = tmp_path / "plain.mrc"
    with mrcfile.open(tmp_path / "found" / "gain-reference.mrc") as file, mrcfile.new(plain) as made:
        made.set_data(file.data.copy())
    archive(source, tmp_path / "archive", CompressOptions(gain=plain, jobs=2))
    facts = describe(tmp_path / "archive" / "0.mrc.tif")
    assert facts["gain"]["arithmetic"] == Arithmetic.SINGLE
    assert facts["exceptions"] > 0.01 * FRAMES * SHAPE[0] * SHAPE[1]
    assert facts["ratio"] < 0.1
    assert b"".join(archived_frames(tmp_path / "archive" / "0.mrc.tif")) == source.read_bytes()[1024:]
