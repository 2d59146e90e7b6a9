"""A session with several gains: each gain gets its own estimate, and movies without a gain are reported."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import Detector, header
from cryofs.archive.info import describe
from cryofs.errors import GainError
from cryofs.gain import estimation_run
from cryofs.gain.estimation import Goal, Limits
from cryofs.gain.estimation_run import Estimated, EstimationRun
from cryofs.gain.estimation_state import load, load_all
from cryofs.movies.gain_library import load_reference, reference_sha256
from tests.support import names, run_in_process, simulated

DETECTORS = [Detector.make((64, 60), defects=4, seed=seed) for seed in range(3)]
FRAMES = 24


def movie(folder: Path, name: str, gain: int, frames: int = FRAMES) -> Path:
    return simulated(folder / name, frames, seed=len(name) + ord(name[0]), detector=DETECTORS[gain])


def run(
    movies: list[Path], folder: Path, goal: Goal = Goal.SETTLED, errors: list[str] | None = None
) -> tuple[int, list[Estimated]]:
    """Return the number of rows and the results of a run."""

    def on_error(error: Exception) -> None:
        assert errors is not None, error
        errors.append(str(error))

    with ThreadPoolExecutor(1) as pool:
        running = EstimationRun(folder, 3, Limits(goal=goal), pool, on_error)
        return len(list(running.rows(movies))), running.results


def assert_is(reference: Path, gain: int) -> None:
    """Assert that a reference equals the gain of a detector at all pixels except defects."""
    found, expected = (
        np.delete(one, DETECTORS[gain].defects) for one in (load_reference(reference).gain, DETECTORS[gain].gain)
    )
    assert np.array_equal(found, expected)


def test_each_gain_of_a_session_gets_a_reference(tmp_path: Path) -> None:
    gains = {"a.mrc": 0, "b.mrc": 1, "c.mrc": 0, "d.mrc": 2}
    movies = [movie(tmp_path / "session", name, gain) for name, gain in gains.items()]
    done = run_in_process("estimate-gain", tmp_path / "session", "-o", tmp_path / "gain", "--thresh", 3)
    references = sorted((tmp_path / "gain").glob("gain-reference*.mrc"), key=lambda path: (len(path.name), path.name))
    references = [path for path in references if "reliablity" not in path.name]
    assert len(references) == 3
    assert_is(references[0], 0)
    for path in references[1:]:
        assert path.name == f"gain-reference-{reference_sha256(path)[:8]}.mrc"
    by_movie = {name: path for path in references for name in path.with_suffix(".lst").read_text().splitlines()}
    assert {Path(name).name for name in by_movie} == set(gains)
    for path, gain in zip(movies, gains.values(), strict=True):
        assert_is(by_movie[str(path)], gain)
    lines = done.stderr.splitlines()
    for path in (movies[1], movies[3]):
        assert f"  {path}" in lines
    assert f"  {movies[0]}" not in lines
    assert lines[-1].endswith(f"--gain {tmp_path / 'gain'}")
    # the command in the last line
    run_in_process("compress", tmp_path / "session", "-o", tmp_path / "archive", "--gain", tmp_path / "gain")
    for path in movies:
        gain = describe(tmp_path / "archive" / f"{path.name}.tif")["gain"]
        assert (gain["sha256"], gain["name"]) == (reference_sha256(by_movie[str(path)]), by_movie[str(path)].name)


def test_folder_without_references_is_refused(tmp_path: Path) -> None:
    movie(tmp_path / "session", "a.mrc", 0, 3)
    done = run_in_process("compress", tmp_path / "session", "-o", tmp_path / "archive", "--gain", tmp_path, check=False)
    assert done.returncode == 1
    assert f"{tmp_path}: no gain reference in this folder" in done.stderr


def test_movies_of_another_gain_do_not_change_a_state(tmp_path: Path) -> None:
    run([movie(tmp_path, "a.mrc", 0)], tmp_path / "gain")
    before = {name: (tmp_path / "gain" / name).read_bytes() for name in names(tmp_path / "gain")}
    _, (first, second) = run([movie(tmp_path, "b.mrc", 1)], tmp_path / "gain")
    assert {name: (tmp_path / "gain" / name).read_bytes() for name in before} == before
    assert (first.new_frames, second.new_frames) == (0, FRAMES)
    assert_is(first.reference, 0)
    assert_is(second.reference, 1)
    # each estimate continues with matching movies, under a name for its new content
    third = movie(tmp_path, "cc.mrc", 1)
    _, (first, later) = run([third], tmp_path / "gain", Goal.ALL)
    assert (first.frames, later.frames) == (FRAMES, 2 * FRAMES)
    assert later.movies == [str(tmp_path / "b.mrc"), str(third)]
    assert len(load_all(tmp_path / "gain")) == 2


def test_files_with_earlier_names_are_deleted(tmp_path: Path) -> None:
    run([movie(tmp_path, "a.mrc", 0), movie(tmp_path, "b.mrc", 1, frames=3)], tmp_path / "gain")
    early = load(tmp_path / "gain", 2).names
    _, (_, second) = run([movie(tmp_path, "cc.mrc", 1)], tmp_path / "gain")
    assert second.reference.name not in early
    assert {name for name in names(tmp_path / "gain") if "-reference-" in name or "-reliability-" in name} == {
        path.name for path in second.files[:-1]
    }


def test_movies_after_the_estimate_settled_are_sampled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    movies = [movie(tmp_path, name, 0, frames=60) for name in ("a.mrc", "b.mrc", "c.mrc")]
    taken, (result,) = run(movies, tmp_path / "gain")
    assert taken < 60
    assert (result.movies_used, result.movies) == (1, [str(path) for path in movies])

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(estimation_run, "take_samples", fail)
    assert run(movies, tmp_path / "gain")[0] == 0
    assert run(movies, tmp_path / "gain", Goal.ALL)[0] == 180 - taken


def test_replaced_movie_is_sampled_again(tmp_path: Path) -> None:
    path = movie(tmp_path, "a.mrc", 0)
    run([path], tmp_path / "gain")
    movie(tmp_path, "a.mrc", 1, frames=FRAMES + 1)
    _, (first, second) = run([path], tmp_path / "gain")
    assert_is(first.reference, 0)
    assert_is(second.reference, 1)
    assert (first.movies, second.movies) == ([], [str(path)])


def test_single_images_are_skipped_and_reported(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(1, 0.1, DETECTORS[0].shape).astype("<f4")
    average = tmp_path / "0-average.mrc"
    average.write_bytes(header((1, *image.shape), 2) + image.tobytes())
    errors: list[str] = []
    single = movie(tmp_path, "single.mrc", 0, frames=1)
    _, (result,) = run([average, movie(tmp_path, "a.mrc", 0), single], tmp_path / "gain", Goal.ALL, errors)
    reason = "too few frames for an estimate of another gain (expected 3, got 1)"
    assert errors == [f"{average}: {reason}; remove the movie from the sources"]
    assert result.movies == [str(tmp_path / "a.mrc"), str(single)]
    assert_is(result.reference, 0)


def test_single_frames_share_one_estimate(tmp_path: Path) -> None:
    movies = [simulated(tmp_path / f"{number}.mrc", 1, seed=number, detector=DETECTORS[0]) for number in range(30)]
    rows, (result,) = run(movies, tmp_path / "gain", Goal.ALL)
    assert rows == 30
    assert_is(result.reference, 0)


def test_values_without_a_common_gain_are_skipped_and_reported(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(1, 0.1, (12, *DETECTORS[0].shape)).astype("<f4")
    smooth = tmp_path / "0-smooth.mrc"
    smooth.write_bytes(header(values.shape, 2) + values.tobytes())
    errors: list[str] = []
    _, (result,) = run([smooth, movie(tmp_path, "a.mrc", 0)], tmp_path / "gain", errors=errors)
    assert [str(smooth) in error and "without a common gain" in error for error in errors] == [True]
    assert_is(result.reference, 0)
    errors.clear()
    _, (result,) = run([tmp_path / "a.mrc", smooth], tmp_path / "after", errors=errors)
    assert ["without a common gain" in error for error in errors] == [True]
    errors.clear()
    with pytest.raises(GainError, match="no gain-normalised movie"):
        run([smooth], tmp_path / "other", errors=errors)


def test_movies_rounded_twice_have_one_gain(tmp_path: Path) -> None:
    twice = Detector.make((64, 60), defects=4, arithmetic="twice")
    movies = [simulated(tmp_path / f"{number}.mrc", 12, seed=number, detector=twice) for number in range(4)]
    _, results = run(movies, tmp_path / "gain", Goal.ALL)
    assert [result.frames for result in results] == [48]
