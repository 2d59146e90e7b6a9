"""EER movies as MRC movies of fractions."""

import errno
import logging
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from benchmarks.simulate_eer import Events, Widths, encode, metadata, random_frames, write_eer
from cryofs.errors import ChangedError, DamagedError, FormatError
from cryofs.movies.eer_rendering import Rendering
from tests import faults
from tests.movies.eer_samples import FALCON, FRAMES, SHAPE, gain_values, opened, plain_sum, write_gain
from tests.support import put_back


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON, xml=metadata(11, 0.55, 0.8))
    return tmp_path / "x.eer"


@pytest.mark.parametrize("upsampling", [1, 2, 4])
@pytest.mark.parametrize("grouping", [1, 3, 4, 11])
def test_fractions(path: Path, grouping: int, upsampling: int) -> None:
    with opened(path, grouping=grouping, upsampling=upsampling) as movie:
        assert movie.shape == (11 // grouping, SHAPE[0] * upsampling, SHAPE[1] * upsampling)
        for index, frame in enumerate(movie.frames()):
            frames = range(index * grouping, (index + 1) * grouping)
            np.testing.assert_array_equal(frame, plain_sum(frames, upsampling))
        assert movie.mrc_header.pixel_size == pytest.approx(0.8 / upsampling)


def test_frames_at_the_limits(tmp_path: Path) -> None:
    total = SHAPE[0] * SHAPE[1]

    def frame(*pixels: int, size: int = total) -> bytes:
        zeros = np.zeros(len(pixels), np.int64)
        return encode(Events(np.array(pixels, np.int64), zeros, zeros), size, FALCON)

    frames = [frame(), frame(3, total - 1), frame(3, total + 2, size=total + 5), frame(3)]
    write_eer(tmp_path / "x.eer", frames, SHAPE, FALCON)
    with opened(tmp_path / "x.eer", grouping=4) as movie:
        counts = movie.frame(0).reshape(-1)
        assert (int(counts[3]), int(counts[-1]), int(counts.sum())) == (2, 1, 3)
        assert movie.findings.damaged_frames == [2]


def test_leftover_frames_make_a_shorter_fraction_if_wanted(path: Path) -> None:
    with opened(path, grouping=4, leftover="keep") as movie:
        assert movie.shape[0] == 3
        np.testing.assert_array_equal(movie.frame(2), plain_sum(range(8, 11)))
    with opened(path, grouping=40, leftover="keep") as movie:
        np.testing.assert_array_equal(movie.frame(0), plain_sum(range(11)))


@pytest.mark.parametrize(
    "choices",
    [{"grouping": 40}, {"grouping": 12}, {"dose_per_fraction": 100.0}, {"grouping": 12, "leftover": "keep"}],
)
def test_a_file_of_fewer_frames_than_the_grouping_is_one_fraction(path: Path, choices: dict[str, object]) -> None:
    with opened(path, **choices) as movie:
        assert (movie.grouping, movie.shape[0], movie.fractions) == (11, 1, [range(11)])
        np.testing.assert_array_equal(movie.frame(0), plain_sum(range(11)))
        assert b"11 frames a fraction" in movie.header


@pytest.mark.parametrize(("dtype", "mode"), [("int8", 0), ("int16", 1), ("uint16", 6), ("float32", 2)])
def test_pixel_types(path: Path, dtype: str, mode: int) -> None:
    with opened(path, grouping=5, dtype=dtype) as movie:
        assert (movie.dtype, movie.mrc_header.mode) == (np.dtype(dtype), mode)
        assert movie.frame(1).dtype == dtype
        np.testing.assert_array_equal(movie.frame(1), plain_sum(range(5, 10)))
        assert movie.layout.total_bytes == 1024 + 2 * SHAPE[0] * SHAPE[1] * np.dtype(dtype).itemsize


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32"])
@pytest.mark.parametrize("upsampling", [1, 2])
def test_mrcfile_validates_the_fractions(path: Path, tmp_path: Path, dtype: str, upsampling: int) -> None:
    with opened(path, grouping=5, dtype=dtype, upsampling=upsampling) as movie:
        written = tmp_path / "x.mrc"
        written.write_bytes(movie.header + b"".join(movie.mrc_frame(index).tobytes() for index in range(2)))
    assert mrcfile.validate(written)
    with mrcfile.open(written) as read:
        assert read.data.shape == (2, SHAPE[0] * upsampling, SHAPE[1] * upsampling)
        assert read.is_image_stack()
        assert float(read.voxel_size.x) == pytest.approx(0.8 / upsampling)


def test_pieces_at_any_place(path: Path) -> None:
    rng = np.random.default_rng(0)
    for dtype in ("int8", "int16", "float32"):
        with opened(path, grouping=5, dtype=dtype) as movie:
            decoded = movie.read_frame(0).decode()
            assert decoded.nbytes == movie.decoded_bytes() == SHAPE[0] * SHAPE[1]
            raw = movie.mrc_frame(0).tobytes()
            for _ in range(200):
                start = int(rng.integers(0, len(raw)))
                size = int(rng.integers(1, len(raw) - start + 1))
                assert movie.mrc_bytes(decoded, start, size).tobytes() == raw[start : start + size]


def test_fractions_have_no_row_blocks(path: Path) -> None:
    with opened(path, grouping=5) as movie:
        assert movie.row_block(0) is None
        with pytest.raises(ValueError, match="row blocks of fractions"):
            movie.read_frame(0, range(5))


def test_the_grouping_may_follow_from_the_dose(path: Path) -> None:
    # 0.55 e/px in 11 frames, pixels of 0.8 A: 0.078 e/A^2 a frame
    with opened(path, dose_per_fraction=0.24) as movie:
        assert movie.grouping == 3
    with opened(path, dose_per_fraction=0.001) as movie:
        assert movie.grouping == 1


def test_upsampling_beyond_the_sub_pixels_of_events(tmp_path: Path) -> None:
    widths = Widths(7, 1, 1, 65002)
    write_eer(tmp_path / "x.eer", random_frames(4, SHAPE, 0.05, widths), SHAPE, widths)
    with opened(tmp_path / "x.eer", grouping=2, upsampling=2) as movie:
        assert movie.frame(0).sum() > 0
    with pytest.raises(FormatError, match="too few sub-pixel bits for upsampling 4"):
        opened(tmp_path / "x.eer", grouping=2, upsampling=4)


def test_counts_too_large_for_the_type_are_clipped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = encode(Events(np.array([5]), np.array([0]), np.array([0])), 12, FALCON)
    write_eer(tmp_path / "x.eer", [frame] * 300, (3, 4), FALCON)
    for dtype, highest, cut in (("int8", 127, 1), ("int16", 300, 0), ("uint16", 300, 0)):
        with opened(tmp_path / "x.eer", grouping=300, dtype=dtype) as movie:
            assert movie.frame(0).reshape(-1).tolist() == [0] * 5 + [highest] + [0] * 6
            assert movie.frame(0).max() == highest
            assert movie.findings.saturated_values == cut
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/x.eer: clipped 1 values to the range of int8; choose a wider type with --eer-dtype"
    ]


def damaged(path: Path, frame: int) -> None:
    """Damage a frame in the middle of its stream, so that it ends at another pixel."""
    data = bytearray(path.read_bytes())
    place = data.index(FRAMES[frame]) + len(FRAMES[frame]) // 2
    data[place : place + 4] = b"\x00" * 4
    path.write_bytes(data)


def test_damaged_frames_are_skipped_whole(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged(path, 4)
    damaged(path, 7)
    with opened(path, grouping=4) as movie:
        for _ in range(2):
            np.testing.assert_array_equal(movie.frame(0), plain_sum(range(4)))
            np.testing.assert_array_equal(movie.frame(1), plain_sum([5, 6]))
        assert movie.findings.damaged_frames == [4, 7]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"{path}, frame 4, 7: damaged and skipped in its fraction; copy the file again")
    ]


def test_missing_frames_are_skipped(path: Path) -> None:
    data = path.read_bytes()
    # the offset of the strip of frame 2 is far behind the end
    start = data.index(FRAMES[2])
    path.write_bytes(data.replace(start.to_bytes(8, "little"), (1 << 50).to_bytes(8, "little")))
    with opened(path, grouping=4) as movie:
        np.testing.assert_array_equal(movie.frame(0), plain_sum([0, 1, 3]))
        assert movie.findings.damaged_frames == [2]


def without_strips(path: Path, frames: tuple[int, ...]) -> None:
    """Move the strips of some frames far behind the end of the file."""
    data = path.read_bytes()
    for frame in frames:
        start = data.index(FRAMES[frame])
        data = data.replace(start.to_bytes(8, "little"), (1 << 50).to_bytes(8, "little"))
    path.write_bytes(data)


@pytest.mark.parametrize("way", ["strips missing", "streams damaged", "one of each"])
def test_a_fraction_without_an_intact_frame_is_an_error(path: Path, caplog: pytest.LogCaptureFixture, way: str) -> None:
    if way != "streams damaged":
        without_strips(path, (2, 3) if way == "strips missing" else (2,))
    if way != "strips missing":
        for frame in (2, 3) if way == "streams damaged" else (3,):
            damaged(path, frame)
    expected = r"x\.eer, frame 1: damaged \(none of the EER frames 2 to 3 is intact\); copy the file again"
    with opened(path, grouping=2) as movie:
        for _ in range(2):
            with pytest.raises(DamagedError, match=expected) as found:
                movie.frame(1)
            assert found.value.facts["frame"] == 1
        np.testing.assert_array_equal(movie.frame(0), plain_sum([0, 1]))
        np.testing.assert_array_equal(movie.frame(2), plain_sum([4, 5]))
        assert movie.findings.damaged_frames == [2, 3]
    # a larger grouping has intact frames in the same fraction
    with opened(path, grouping=4) as movie:
        np.testing.assert_array_equal(movie.frame(0), plain_sum([0, 1]))
    assert "damaged and skipped in its fraction" in caplog.text


def test_a_file_written_to_while_open_gives_no_more_fractions(path: Path) -> None:
    with opened(path, grouping=4) as movie:
        movie.frame(0)
        with path.open("r+b") as file:
            file.seek(0, 2)
            file.write(b"x")
        with pytest.raises(ChangedError, match=r"x\.eer: changed while it was read"):
            movie.frame(1)


def test_a_file_put_back_in_place_while_open_gives_no_more_fractions(path: Path) -> None:
    other = path.read_bytes()[:-1] + b"x"
    with opened(path, grouping=4) as movie:
        movie.frame(0)
        put_back(path, other)
        with pytest.raises(ChangedError, match=r"x\.eer: changed while it was read"):
            movie.frame(1)


def test_an_error_of_the_storage_names_file_frame_and_remedy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path, grouping=4) as movie:
        with monkeypatch.context() as patch:
            faults.inject(patch, faults.error_at(0, errno.ENXIO))
            with pytest.raises(DamagedError, match=r"x\.eer, frame 1: .*copy the file again") as found:
                movie.mrc_frame(1)
        assert found.value.facts["frame"] == 1
        np.testing.assert_array_equal(movie.frame(1), plain_sum(range(4, 8)))


def test_fractions_multiplied_with_the_gain(path: Path, tmp_path: Path) -> None:
    gain = gain_values(SHAPE)
    gain_path = write_gain(tmp_path, "gain", gain)
    with opened(path, grouping=5, gain=gain_path, apply_gain=True) as movie:
        assert movie.mrc_header.mode == 2
        np.testing.assert_array_equal(movie.frame(1), plain_sum(range(5, 10)).astype(np.float32) * gain)
        assert movie.mrc_bytes(movie.read_frame(1).decode(), 9, 1000).tobytes() == movie.mrc_frame(1).tobytes()[9:1009]


def test_renderings_compare_by_their_values() -> None:
    one = Rendering()
    assert replace(one, grouping=41) != one
    assert hash(replace(one, grouping=40)) == hash(one)
