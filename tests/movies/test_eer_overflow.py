"""Runs of all ones with and without sub-pixel bits: the frames of a file show its rule."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.formats import eer
from cryofs.movies.eer_info import describe_eer
from cryofs.movies.eer_overflow import find_code
from cryofs.movies.eer_rendering import Rendering
from cryofs.storage.byte_source import LocalFile
from tests import plain_eer
from tests.movies.eer_samples import opened

SHAPE = (64, 96)
TOTAL = SHAPE[0] * SHAPE[1]
KINDS = {
    "65000, 12 bits": Widths(8, 2, 2, 65000, overflow=12),
    "65000, 8 bits": Widths(8, 2, 2, 65000, overflow=8),
    "65001, 7 bits": Widths(7, 2, 2, 65001),
    "65002, 7 bits": Widths(7, 1, 1, 65002, overflow=7),
    "65002, 9 bits": Widths(7, 1, 1, 65002, overflow=9),
    "65002, 11 bits": Widths(7, 2, 2, 65002, overflow=11),
}


def plain_sum(frames: list[bytes], widths: Widths) -> NDArray[np.int64]:
    found = [plain_eer.decode(frame, TOTAL, widths) for frame in frames]
    total: NDArray[np.int64] = np.sum(
        [plain_eer.image(one, SHAPE, 1, widths) for one in found if one is not None], axis=0
    )
    return total


def rule(path: Path) -> int:
    with LocalFile.open(path) as source:
        return find_code(source, eer.read_index(source)).long_bits


@pytest.mark.parametrize("mean", [0.0, 0.001, 0.004, 0.02, 0.5])
@pytest.mark.parametrize("widths", KINDS.values(), ids=KINDS.keys())
def test_frames_show_the_rule(tmp_path: Path, widths: Widths, mean: float) -> None:
    frames = list(random_frames(12, SHAPE, mean or 1e-9, widths))
    write_eer(tmp_path / "x.eer", frames, SHAPE, widths)
    if mean < 0.1:
        assert rule(tmp_path / "x.eer") == widths.long_bits
    with opened(tmp_path / "x.eer", grouping=4) as movie:
        # the last fraction first: the result does not depend on the order
        for index in (2, 0, 1):
            group = frames[4 * index : 4 * index + 4]
            np.testing.assert_array_equal(movie.frame(index), plain_sum(group, widths))
        assert movie.findings.damaged_frames == []


@pytest.mark.parametrize(("usual", "other"), [("65000, 12 bits", "65000, 8 bits"), ("65002, 9 bits", "65002, 7 bits")])
def test_a_frame_by_the_other_rule_is_used(tmp_path: Path, usual: str, other: str) -> None:
    frames = list(random_frames(12, SHAPE, 0.01, KINDS[usual]))
    odd = list(random_frames(1, SHAPE, 0.01, KINDS[other], seed=3))
    broken = frames[9][: len(frames[9]) // 2]
    write_eer(tmp_path / "x.eer", [*frames[:5], *odd, *frames[6:9], broken, *frames[10:]], SHAPE, KINDS[usual])
    with opened(tmp_path / "x.eer", grouping=6) as movie:
        expected = plain_sum(frames[:5], KINDS[usual]) + plain_sum(odd, KINDS[other])
        np.testing.assert_array_equal(movie.frame(0), expected)
        np.testing.assert_array_equal(movie.frame(1), plain_sum([*frames[6:9], *frames[10:]], KINDS[usual]))
        assert movie.findings.damaged_frames == [9]


@pytest.mark.parametrize("widths", KINDS.values(), ids=KINDS.keys())
def test_info_reports_the_rule(tmp_path: Path, widths: Widths) -> None:
    write_eer(tmp_path / "x.eer", list(random_frames(3, SHAPE, 0.01, widths)), SHAPE, widths)
    facts = describe_eer(tmp_path / "x.eer", 1, Rendering())
    assert (facts["overflow_bits"], facts["damaged_frames"]) == (widths.long_bits, [])
    assert facts["electrons_per_pixel_per_frame"] == pytest.approx(0.01, rel=0.2)
