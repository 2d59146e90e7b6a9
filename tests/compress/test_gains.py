"""Gain references of a run of compress: estimated, given, reused, and what a wrong one costs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.simulate import Detector, header, write_movie
from cryofs.archive.info import describe
from cryofs.compress.movie_task import CompressOptions
from cryofs.gain import references
from cryofs.kernels.from_counts import GainReference
from tests.support import DETECTOR, SHAPE, archive, assert_verified, movie_values, names, simulated


def test_movies_are_stored_as_counts_in_a_tenth_of_the_space(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "movie.mrc", frames=20)
    summary, _ = archive(tmp_path / "session", tmp_path / "archive")
    facts = describe(tmp_path / "archive" / "movie.mrc.tif")
    assert summary.ratio is not None
    assert summary.ratio < 0.075
    assert facts["stored_dtype"] == "uint8"
    assert facts["gain"]["name"] == "gain-reference.mrc"
    # all defects that are not 0 by chance, and little else
    assert 0 < facts["exceptions"] <= 20 * (len(DETECTOR.defects) + 5)


def test_a_later_run_uses_the_reference_that_is_there(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    archive(simulated(tmp_path / "one.mrc", frames=20), target)
    _, reported = archive(simulated(tmp_path / "two.mrc", seed=1), target)
    assert not reported.rows
    assert [path.name for path in target.glob("gain*")] == ["gain-reference.mrc"]


def test_two_gains_get_two_references(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    other = Detector.make(SHAPE, defects=20, seed=77)
    for number in range(2):
        simulated(session / f"a{number}.mrc", frames=20, seed=number)
        simulated(session / f"b{number}.mrc", frames=20, seed=number, detector=other)
    summary, _ = archive(session, target)
    assert len(list(target.glob("gain-reference*.mrc"))) == 2
    assert summary.ratio is not None
    assert summary.ratio < 0.08
    assert_verified(target, 4)


def test_a_gain_applied_in_double_precision_still_saves(tmp_path: Path) -> None:
    gain = DETECTOR.gain * (1 + np.random.default_rng(1).uniform(-1, 1, SHAPE) * 2.0**-26)
    counts = np.random.default_rng(0).poisson(1.45, (30, *SHAPE))
    values = (counts * gain.astype(np.float64)).astype(np.float32)
    (tmp_path / "movie.mrc").write_bytes(header((30, *SHAPE), 2) + values.tobytes())
    summary, _ = archive(tmp_path / "movie.mrc", tmp_path / "archive")
    assert summary.ratio is not None
    assert summary.ratio < 0.15
    assert_verified(tmp_path / "archive", 1)


def test_few_electrons_need_many_movies_for_one_reference(tmp_path: Path) -> None:
    for number in range(6):
        write_movie(tmp_path / f"{number}.mrc", DETECTOR, 20, mean=0.02, seed=number)
    (tmp_path / "movies.lst").write_text("".join(f"{number}.mrc\n" for number in range(6)))
    _, reported = archive(tmp_path / "movies.lst", tmp_path / "archive")
    assert len({row.movie for row in reported.rows}) == 6
    assert len(list((tmp_path / "archive").glob("gain*"))) == 1
    assert_verified(tmp_path / "archive", 6)


def test_values_without_a_common_gain_make_no_reference(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 40, 50)).astype(np.float32)
    (tmp_path / "movie.mrc").write_bytes(header((20, 40, 50), 2) + values.tobytes())
    archive(tmp_path / "movie.mrc", tmp_path / "archive")
    assert names(tmp_path / "archive") == ["movie.mrc.tif"]
    assert describe(tmp_path / "archive" / "movie.mrc.tif")["stored_dtype"] == "float32"


def test_no_gain_on_request(tmp_path: Path) -> None:
    archive(simulated(tmp_path / "movie.mrc"), tmp_path / "archive", CompressOptions(gain="none"))
    assert names(tmp_path / "archive") == ["movie.mrc.tif"]
    assert_verified(tmp_path / "archive", 1)


def test_a_given_reference_is_taken_into_the_archive(tmp_path: Path) -> None:
    reference = tmp_path / "mine.mrc"
    reference.write_bytes(header((1, *SHAPE), 2) + DETECTOR.gain.tobytes())
    options = CompressOptions(gain=reference)
    _, reported = archive(simulated(tmp_path / "movie.mrc"), tmp_path / "archive", options)
    assert not reported.rows
    assert (tmp_path / "archive" / "gain-reference.mrc").read_bytes() == reference.read_bytes()
    assert describe(tmp_path / "archive" / "movie.mrc.tif")["gain"]["name"] == "gain-reference.mrc"


def test_a_given_reference_of_another_size_is_reported(tmp_path: Path) -> None:
    reference = tmp_path / "mine.mrc"
    reference.write_bytes(header((1, 5, 6), 2) + np.ones((5, 6), np.float32).tobytes())
    _, reported = archive(simulated(tmp_path / "movie.mrc"), tmp_path / "archive", CompressOptions(gain=reference))
    assert any("movie.mrc" in note and "size mismatch" in note for note in reported.notes)
    assert_verified(tmp_path / "archive", 1)


def test_a_reference_of_another_run_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = b"written by another run a moment ago"
    original = references.estimate_from

    def meanwhile(*arguments: Any) -> Any:
        (tmp_path / "archive" / "gain-reference.mrc").write_bytes(theirs)
        return original(*arguments)

    monkeypatch.setattr("cryofs.compress.session_gains.estimate_from", meanwhile)
    archive(simulated(tmp_path / "movie.mrc"), tmp_path / "archive")
    assert (tmp_path / "archive" / "gain-reference.mrc").read_bytes() == theirs
    assert_verified(tmp_path / "archive", 1)


def test_a_wrong_reference_costs_size_and_no_pixel(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.mrc"
    wrong.write_bytes(header((1, *SHAPE), 2) + (DETECTOR.gain * np.float32(1.01)).tobytes())
    movie = simulated(tmp_path / "session" / "movie.mrc")
    summary, reported = archive(movie, tmp_path / "archive", CompressOptions(gain=wrong))
    assert not reported.errors
    assert summary.ratio is not None
    assert summary.ratio < 0.6
    assert_verified(tmp_path / "archive", 1)


def test_exceptions_that_cost_more_than_they_save_make_a_plain_movie(tmp_path: Path) -> None:
    # the gain holds in the frames that are sampled, and in no other
    values = movie_values(13)
    other = [index for index in range(13) if index not in (0, 6, 12)]
    values[other] *= np.random.default_rng(0).uniform(0.5, 2, (10, *SHAPE)).astype(np.float32)
    movie = tmp_path / "movie.mrc"
    movie.write_bytes(header((13, *SHAPE), 2) + values.tobytes())
    reference = tmp_path / "mine.mrc"
    reference.write_bytes(header((1, *SHAPE), 2) + DETECTOR.gain.tobytes())
    _, reported = archive(movie, tmp_path / "archive", CompressOptions(gain=reference))
    facts = describe(tmp_path / "archive" / "movie.mrc.tif")
    assert (facts["stored_dtype"], facts["exceptions"]) == ("float32", 0)
    assert reported.counted_frames == reported.expected_frames
    assert_verified(tmp_path / "archive", 1)


def test_a_reference_that_another_run_made_meanwhile_is_used(tmp_path: Path) -> None:
    reference = GainReference(DETECTOR.gain)
    runs = [references.References(tmp_path) for _ in range(2)]
    first, second = (run.add(reference, None) for run in runs)
    assert first.record == second.record
    assert names(tmp_path) == ["gain-reference.mrc"]
    other = runs[0].add(GainReference(DETECTOR.gain * np.float32(2)), None)
    assert names(tmp_path) == sorted(["gain-reference.mrc", other.record.name])
    assert other.record.name == f"gain-reference-{other.record.sha256[:8]}.mrc"
