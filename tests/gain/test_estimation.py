"""Gain estimation over movies: rows, stopping, and continuing after an interruption."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from benchmarks.simulate import Detector
from cryofs.errors import GainError
from cryofs.gain.estimation import FrameRow, Goal, Limits
from cryofs.gain.estimation_run import EstimationRun
from cryofs.gain.estimation_state import STATE_NAME, load
from cryofs.gain.gain_files import RELIABILITY_NAME
from tests.support import DETECTOR, run_in_process, simulated

NO_LIMITS = Limits()


@pytest.fixture
def movies(tmp_path: Path) -> list[Path]:
    return [simulated(tmp_path / "session" / f"{number}.mrc", frames=20, seed=number) for number in range(4)]


def run(
    movies: list[Path],
    folder: Path,
    limits: Limits = NO_LIMITS,
    thresh: int = 50,
    errors: list[Exception] | None = None,
) -> list[FrameRow]:
    report = (errors if errors is not None else []).append
    with ThreadPoolExecutor(2) as pool:
        return list(EstimationRun(folder, thresh, limits, pool, report).rows(movies))


def reference(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with mrcfile.open(folder / "gain-reference.mrc") as file:
        return np.asarray(file.data)


def good_pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    good = np.ones(DETECTOR.gain.size, bool)
    good[DETECTOR.defects] = False
    return good.reshape(DETECTOR.shape)


def test_estimate_is_exact_and_stops_when_settled(movies: list[Path], tmp_path: Path) -> None:
    rows = run(movies, tmp_path / "gain", thresh=10)
    assert 16 <= len(rows) < 80
    assert sum(row.changed for row in rows[-16:]) == 0
    assert {row.unreliable for row in rows[-11:]} == {20}
    found = reference(tmp_path / "gain")
    good = good_pixels()
    assert np.array_equal(found[good], DETECTOR.gain[good])
    assert np.count_nonzero(found[~good] == 1) >= 18
    with mrcfile.open(tmp_path / "gain" / RELIABILITY_NAME) as reliability:
        assert reliability.data[good].min() > 0


def test_rows_have_the_format_of_relion(movies: list[Path], tmp_path: Path) -> None:
    done = run_in_process("estimate-gain", tmp_path / "session", "-o", tmp_path / "gain", "--max-frames", 3)
    lines = done.stdout.splitlines()
    pixels = DETECTOR.gain.size
    assert len(lines) == 3
    assert lines[0].startswith(f"{movies[0]} Frame 000 #Changed ")
    assert lines[2].endswith(f", #Negative 0, #Unreliable {pixels} / {pixels}")
    assert "#Mismatch" in lines[1]


def test_continued_run_equals_a_single_run(movies: list[Path], tmp_path: Path) -> None:
    whole = run(movies, tmp_path / "whole")
    first = run(movies, tmp_path / "parts", Limits(11))
    second = run(movies, tmp_path / "parts")
    assert len(first) == 11
    assert first + second == whole
    assert np.array_equal(reference(tmp_path / "parts"), reference(tmp_path / "whole"))
    assert run(movies, tmp_path / "parts") == []


def test_unreliable_pixels_are_below_the_threshold(movies: list[Path], tmp_path: Path) -> None:
    rows = run(movies, tmp_path / "gain", thresh=5)
    with mrcfile.open(tmp_path / "gain" / RELIABILITY_NAME) as reliability:
        assert rows[-1].unreliable == np.count_nonzero(reliability.data < 5)
    assert rows[-1].unreliable < 100


def test_estimate_continues_while_the_number_of_unreliable_pixels_changes(movies: list[Path], tmp_path: Path) -> None:
    rows = run(movies, tmp_path / "gain", thresh=40)
    # the gain is stable, but some pixels have fewer than 40 counts
    assert sum(row.changed for row in rows[30:46]) == 0
    assert len(rows) == 80
    assert rows[-1].unreliable != rows[-9].unreliable


@pytest.mark.parametrize(
    ("limits", "frames"),
    [
        (Limits(goal=Goal.ALL), {80}),
        # frames are added in batches of up to eight
        (Limits(min_frames=70), set(range(70, 78))),
        (Limits(50, min_frames=50), {50}),
    ],
)
def test_settled_estimate_continues_on_request(
    movies: list[Path], tmp_path: Path, limits: Limits, frames: set[int]
) -> None:
    assert len(run(movies, tmp_path / "gain", thresh=10)) < 50
    run(movies, tmp_path / "gain", limits, thresh=10)
    assert load(tmp_path / "gain").frames_used in frames


def test_final_lines_name_the_files_and_the_next_command(movies: list[Path], tmp_path: Path) -> None:
    command = ["estimate-gain", tmp_path / "session", "-o", tmp_path / "gain", "--thresh", 10]
    first, again = run_in_process(*command), run_in_process(*command)
    reference_path = tmp_path / "gain" / "gain-reference.mrc"
    assert first.stdout
    assert again.stdout == ""
    for done, state in ((first, "stopped"), (again, "nothing to do")):
        ending, files, following = done.stderr.splitlines()[-3:]
        assert ending.startswith(
            f"{state}: #Unreliable has not changed for 10 frames; continue with --all or --min-frames N"
        )
        assert "#Unreliable 20 / 77100" in ending
        assert files.startswith(f"{reference_path}: 20 of 77100 pixels have no gain")
        for name in ("gain-reliability.mrc", "gain-reference_reliablity.mrc", "gain-estimate.npz"):
            assert name in files
            assert (tmp_path / "gain" / name).is_file()
        assert following == f"next: cryofs compress {tmp_path}/session -o ARCHIVE --gain {reference_path}"
    (tmp_path / "gain" / "gain-reliability.mrc").unlink()
    assert run(movies, tmp_path / "gain", thresh=10) == []
    assert (tmp_path / "gain" / "gain-reliability.mrc").is_file()


def test_contradictory_limits_are_refused(tmp_path: Path) -> None:
    done = run_in_process(
        "estimate-gain", tmp_path, "-o", tmp_path / "gain", "--min-frames", 9, "--max-frames", 8, check=False
    )
    assert done.returncode == 2
    assert "--min-frames must not exceed --max-frames" in done.stderr.replace("\n", " ")


def test_ctrl_c_saves_the_estimate(tmp_path: Path) -> None:
    detector = Detector.make((1500, 1500), defects=100)
    movie = simulated(tmp_path / "session" / "0.mrc", frames=20, detector=detector)
    # its content does not matter, only its length
    for number in (1, 2):
        movie.with_name(f"{number}.mrc").hardlink_to(movie)
    base = [sys.executable, "-m", "cryofs", "estimate-gain"]
    command = [*base, str(tmp_path / "session"), "-o", str(tmp_path / "gain"), "--all"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        done = len((first + process.stdout.read()).splitlines())
        assert "run the same command again to continue" in process.stderr.read()
    assert process.returncode == 0
    assert (tmp_path / "gain" / STATE_NAME).is_file()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as again:
        assert again.stdout is not None
        assert f"Frame {done:03d}" in again.stdout.readline()
        again.send_signal(signal.SIGINT)
        # drain the pipe until the process ends
        again.stdout.read()


def test_movies_of_another_size_are_skipped_and_reported(movies: list[Path], tmp_path: Path) -> None:
    odd = simulated(tmp_path / "odd.mrc", detector=Detector.make((30, 31), defects=2))
    errors: list[Exception] = []
    run([movies[0], odd, movies[1]], tmp_path / "gain", errors=errors)
    assert any("odd.mrc" in str(error) for error in errors)


def test_no_usable_movie_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GainError, match="no gain-normalised movie"):
        run([], tmp_path / "gain")


def test_damaged_state_is_an_error_with_a_remedy(movies: list[Path], tmp_path: Path) -> None:
    run(movies, tmp_path / "gain", Limits(3))
    state = tmp_path / "gain" / STATE_NAME
    whole = state.read_bytes()
    for content in (b"nonsense", b"", whole[:-1], whole[: len(whole) // 2], whole[:200] + bytes(99) + whole[299:]):
        state.write_bytes(content)
        with pytest.raises(GainError, match="delete the file to restart the estimate"):
            run(movies, tmp_path / "gain")
