"""Gain references of EER movies in the file system, without FUSE."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cryofs.config.settings import Settings, Size
from cryofs.errors import GainError
from cryofs.kernels.orientation import ORIENTATIONS, Orientation
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.page_cache_policy import Pages
from tests.vfs.serving import GAIN, SHAPE, content, names, rendered, serving, write_movie


def test_the_gain_reference_appears_beside_the_fractions(eer_archive: Path) -> None:
    (eer_archive / "empty").mkdir()
    with serving(eer_archive, eer_gain=str(eer_archive / "falcon.gain")) as files:
        for place, factor in (("/", 1), ("/Movies/", 1), ("/@up2_gr8/", 2), ("/@up4_gr3/Movies/", 4)):
            assert "gain-reference.mrc" in names(files, place)
            data = content(files, place + "gain-reference.mrc")
            header = np.frombuffer(data[:16], np.int32).tolist()
            assert header == [SHAPE[1] * factor, SHAPE[0] * factor, 1, 2]
            gain = np.frombuffer(data[1024:], np.float32).reshape(SHAPE[0] * factor, SHAPE[1] * factor)
            np.testing.assert_array_equal(gain, GAIN.repeat(factor, 0).repeat(factor, 1))
        assert names(files, "/empty") == []
        with pytest.raises(FileNotFoundError):
            files.attributes("/empty/gain-reference.mrc")


def test_fractions_multiplied_with_the_gain_need_no_reference(eer_archive: Path) -> None:
    with serving(eer_archive, eer_gain=str(eer_archive / "falcon.gain"), eer_apply_gain=True) as files:
        assert "gain-reference.mrc" not in names(files, "/")
        choices = {"grouping": 4, "gain": eer_archive / "falcon.gain", "apply_gain": True}
        assert content(files, "/c.mrc") == rendered(eer_archive / "c.eer", **choices)


def test_values_that_cannot_be_a_gain_are_logged_with_the_name_of_the_file(
    eer_archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gain = GAIN.copy()
    gain[2, 3] = np.nan
    tifffile.imwrite(eer_archive / "falcon.gain", gain)
    with serving(eer_archive, eer_gain=str(eer_archive / "falcon.gain")) as files:
        for view in ("/", "/Movies/", "/@up2_gr8/"):
            shown = np.frombuffer(content(files, f"{view}gain-reference.mrc")[1024:], np.float32)
            assert np.isfinite(shown).all()
    (line,) = [message for message in caplog.messages if "without a valid gain" in message]
    assert line.startswith(f"{eer_archive}/falcon.gain: 1 pixel without")
    assert line.endswith(": row 2 column 3")


def test_a_gain_that_is_replaced_counts_for_what_is_opened_from_then_on(eer_archive: Path, tmp_path: Path) -> None:
    gain, other = eer_archive / "falcon.gain", tmp_path / "other.gain"
    tifffile.imwrite(other, 2 * GAIN)
    choices = {"grouping": 4, "gain": gain, "apply_gain": True}
    movie, half = rendered(eer_archive / "c.eer", **choices), 1024 + GAIN.nbytes // 2
    for path, old, apply in (("/c.mrc", movie, True), ("/gain-reference.mrc", GAIN.tobytes(), False)):
        tifffile.imwrite(gain, GAIN)
        with serving(eer_archive, eer_gain=str(gain), eer_apply_gain=apply, cache_size=Size(1)) as files:
            before = files.open(path)
            first = bytes(files.read(before, half, 0))
            Path(shutil.copy(other, tmp_path / "copy.gain")).replace(gain)
            after = files.open(path)
            assert (first + bytes(files.read(before, len(movie), half))).endswith(old)
            assert files.pages(after) is Pages.BYPASS
            files.release(before)
            files.release(after)
            assert files.pages(files.open(path)) is Pages.DROP
            new = rendered(eer_archive / "c.eer", **choices) if apply else (2 * GAIN).tobytes()
            assert content(files, path).endswith(new)


def test_a_missing_eer_gain_reference_is_an_error(eer_archive: Path) -> None:
    with pytest.raises(GainError, match=r"nowhere\.gain: gain reference does not exist; correct --eer-gain"):
        FileSystem(eer_archive, Settings(eer_gain="/nowhere.gain"))


def test_a_gain_reference_that_went_away_costs_no_listing(eer_archive: Path) -> None:
    with serving(eer_archive, eer_gain=str(eer_archive / "falcon.gain")) as files:
        assert "gain-reference.mrc" in names(files, "/")
        (eer_archive / "falcon.gain").unlink()
        assert "gain-reference.mrc" not in names(files, "/")
        assert content(files, "/c.mrc") == rendered(eer_archive / "c.eer", grouping=4)


def test_names_that_are_not_valid_utf8(eer_archive: Path) -> None:
    odd = eer_archive / os.fsdecode(b"d\xff")
    write_movie(odd / "x.eer", seed=5)
    with serving(eer_archive, eer_gain=str(eer_archive / "falcon.gain")) as files:
        assert names(files, f"/{odd.name}") == ["x.mrc", "x.eer", "gain-reference.mrc"]
        assert content(files, f"/{odd.name}/x.mrc") == rendered(odd / "x.eer", grouping=4)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_gain_that_is_turned(eer_archive: Path, orientation: Orientation) -> None:
    image = np.arange(6).reshape(2, 3)
    back = next(one for one in ORIENTATIONS if np.array_equal(one.turned(orientation.turned(image)), image))
    tifffile.imwrite(eer_archive / "falcon.gain", np.ascontiguousarray(orientation.turned(GAIN)))
    with serving(eer_archive, eer_gain=str(eer_archive / "falcon.gain"), gain_orientation=back.name) as files:
        for place, factor in (("/", 1), ("/@up2_gr8/", 2)):
            shown = np.frombuffer(content(files, place + "gain-reference.mrc")[1024:], np.float32)
            np.testing.assert_array_equal(
                shown.reshape(GAIN.shape[0] * factor, -1), GAIN.repeat(factor, 0).repeat(factor, 1)
            )
