"""The state of an estimate: saved after each movie; earlier versions are read, later ones are refused."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cryofs.errors import GainError
from cryofs.gain.estimation import Goal, Limits
from cryofs.gain.estimation_run import EstimationRun
from cryofs.gain.estimation_state import load, load_all, save, state_path
from cryofs.movies.gain_library import load_reference
from tests.support import names, simulated

FRAMES = 10


@pytest.fixture
def movies(tmp_path: Path) -> list[Path]:
    return [simulated(tmp_path / f"{number}.mrc", FRAMES, seed=number) for number in range(3)]


def run(movies: list[Path], folder: Path, copies: Path | None = None) -> None:
    """Estimate from all frames, and copy the folder after each row."""
    errors: list[Exception] = []
    with ThreadPoolExecutor(1) as pool:
        running = EstimationRun(folder, 5, Limits(goal=Goal.ALL), pool, errors.append)
        for number, _ in enumerate(running.rows(movies)):
            if copies is not None:
                shutil.copytree(folder, copies / str(number))
    assert not errors


def rewrite_as(folder: Path, version: int | None) -> None:
    """Change the version of a state; None writes the format without a version number."""
    with np.load(state_path(folder, 1)) as saved:
        parts = dict(saved)
    facts = json.loads(str(parts["state"]))
    facts.pop("version")
    if version is None:
        for name in ("unreliable", "stamps", "names"):
            facts.pop(name)
        parts.pop("mismatched")
    else:
        facts["version"] = version
    np.savez(state_path(folder, 1), **{**parts, "state": np.array(json.dumps(facts))})


def test_killed_run_keeps_all_finished_movies(movies: list[Path], tmp_path: Path) -> None:
    run(movies, tmp_path / "gain", tmp_path / "copies")
    whole = load_reference(tmp_path / "gain" / "gain-reference.mrc").gain
    for row in range(3 * FRAMES):
        copy = tmp_path / "copies" / str(row)
        finished = row // FRAMES
        assert [one.frames_used for one in load_all(copy)] == [FRAMES * finished][:finished]
        if row % FRAMES == 0:
            run(movies, copy)
            assert np.array_equal(load_reference(copy / "gain-reference.mrc").gain, whole)


def test_saved_state_round_trips(movies: list[Path], tmp_path: Path) -> None:
    run(movies, tmp_path / "gain")
    first = load(tmp_path / "gain")
    first.number = 7
    save(first, tmp_path / "gain")
    assert [one.number for one in load_all(tmp_path / "gain")] == [1, 7]
    again = load(tmp_path / "gain", 7)
    facts, others = ({**vars(one), "estimate": None} for one in (first, again))
    assert facts == others
    for name, array in vars(first.estimate).items():
        assert np.array_equal(array, vars(again.estimate)[name], equal_nan=array.dtype == np.float32)


def test_state_of_version_1_is_continued(movies: list[Path], tmp_path: Path) -> None:
    run(movies, tmp_path / "whole")
    run(movies[:2], tmp_path / "gain")
    rewrite_as(tmp_path / "gain", None)
    run(movies, tmp_path / "gain")
    assert load(tmp_path / "gain").frames_used == 3 * FRAMES
    assert names(tmp_path / "gain") == names(tmp_path / "whole")
    for name in ("gain-reference.mrc", "gain-reliability.mrc", "gain-reference_reliablity.mrc"):
        assert (tmp_path / "gain" / name).read_bytes()[1024:] == (tmp_path / "whole" / name).read_bytes()[1024:]


def test_state_of_a_later_version_is_refused(movies: list[Path], tmp_path: Path) -> None:
    run(movies[:1], tmp_path / "gain")
    rewrite_as(tmp_path / "gain", 3)
    with pytest.raises(GainError, match=r"gain-estimate.npz: written by a newer version of cryofs; update cryofs"):
        run(movies, tmp_path / "gain")
