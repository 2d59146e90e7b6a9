"""The reader that the documentation gives, as it stands there, finds the original values."""

import re
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from benchmarks.simulate import Arithmetic, Detector, header, write_movie
from benchmarks.simulate_scaled import Rounding, ScaledDetector
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from tests.support import archive

PAGE = Path(__file__).parents[2] / "docs" / "without-cryofs.md"


@pytest.fixture(name="reader", scope="module")
def documented_reader() -> dict[str, Any]:
    (code,) = re.findall(r"```python title=\"restore.py\"\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def values_of(path: Path) -> list[bytes]:
    with mrcfile.open(path, permissive=True) as file:
        return [np.asarray(frame).tobytes() for frame in file.data]


@pytest.mark.parametrize("kind", ["single", "double", "reciprocal", "twice"])
def test_gain_normalised_movies(tmp_path: Path, reader: dict[str, Any], kind: Arithmetic) -> None:
    (tmp_path / "session").mkdir()
    write_movie(tmp_path / "session" / "movie.mrc", Detector.make((120, 131), 9, arithmetic=kind), 40)
    archive(tmp_path / "session", tmp_path / "archive")
    reference = reader["read_gain"](tmp_path / "archive" / "gain-reference.mrc")
    frames = reader["read_movie"](tmp_path / "archive" / "movie.mrc.tif", reference)
    assert list(frames) == values_of(tmp_path / "session" / "movie.mrc")


@pytest.mark.parametrize("rounding", ["even", "up", "down"])
def test_scaled_integers(tmp_path: Path, reader: dict[str, Any], rounding: Rounding) -> None:
    gain = (np.random.default_rng(1).integers(240, 272, (120, 131)) / 256).astype(np.float32)
    camera = ScaledDetector(Detector(gain, np.array([7, 77])), 32, "u2", rounding)
    camera.write(tmp_path / "movie.mrc", mean=2)
    archive(tmp_path / "movie.mrc", tmp_path / "archive")
    reference = reader["read_gain"](tmp_path / "archive" / "gain-reference.mrc")
    frames = reader["read_movie"](tmp_path / "archive" / "movie.mrc.tif", reference)
    assert list(frames) == values_of(tmp_path / "movie.mrc")


@pytest.mark.parametrize("narrow", ["auto", "exact", "never"])
def test_movies_of_integers(tmp_path: Path, reader: dict[str, Any], narrow: Any) -> None:
    values = np.random.default_rng(0).poisson(0.4, (5, 60, 71)).astype("<i2")
    values[2, 3, 4], values[4, 59, 70] = 900, -3
    (tmp_path / "movie.mrc").write_bytes(header(values.shape, 1) + values.tobytes())
    archive(tmp_path / "movie.mrc", tmp_path / "archive", CompressOptions(coding=Coding(narrow=narrow), jobs=2))
    frames = reader["read_movie"](tmp_path / "archive" / "movie.mrc.tif")
    assert list(frames) == [frame.tobytes() for frame in values]
