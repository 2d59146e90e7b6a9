"""EER frames that do not fill a fraction."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate_eer import metadata, random_frames, write_eer
from cryofs.movies.eer_rendering import EerFacts, Rendering, runs_of
from tests.movies.eer_samples import FALCON, FRAMES, SHAPE, opened, plain_sum


@pytest.mark.parametrize(
    ("frames", "grouping", "sizes"),
    [
        (11, 4, [5, 6]),
        (11, 3, [3, 4, 4]),
        (11, 5, [5, 6]),
        (11, 6, [11]),
        (11, 40, [11]),
        (8, 4, [4, 4]),
        (47, 24, [47]),
        (71, 24, [35, 36]),
        (1113, 24, [24] * 37 + [25] * 9),
    ],
)
def test_leftover_frames_are_spread_over_the_last_fractions(frames: int, grouping: int, sizes: list[int]) -> None:
    facts = EerFacts(frames, 4, 4, None, None, 2)
    rendering = Rendering(grouping=grouping, leftover="spread")
    fractions = facts.fractions(rendering, "")
    assert list(map(len, fractions)) == sizes
    assert [frame for fraction in fractions for frame in fraction] == list(range(frames))
    assert [frames for number, frames in runs_of(fractions) for _ in range(number)] == sizes
    assert facts.fraction_count(rendering, "") == len(sizes)


def test_spread_frames_are_all_in_the_movie(tmp_path: Path) -> None:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON, xml=metadata(11, 0.55, 0.8))
    with opened(tmp_path / "x.eer", grouping=4, leftover="spread", upsampling=2) as movie:
        assert movie.shape[0] == 2
        np.testing.assert_array_equal(movie.frame(0), plain_sum(range(5), 2))
        np.testing.assert_array_equal(movie.frame(1), plain_sum(range(5, 11), 2))


def test_the_size_in_memory_is_that_of_the_longest_fraction(tmp_path: Path) -> None:
    write_eer(tmp_path / "x.eer", random_frames(300, SHAPE, 0.01, FALCON), SHAPE, FALCON)
    # 255 frames fit into one byte, 300 need two
    for grouping, item in ((255, 2), (300, 2), (150, 1)):
        with opened(tmp_path / "x.eer", grouping=grouping, leftover="spread") as movie:
            assert movie.decoded_bytes() == item * SHAPE[0] * SHAPE[1]
            assert movie.read_frame(0).decode().nbytes <= movie.decoded_bytes()
