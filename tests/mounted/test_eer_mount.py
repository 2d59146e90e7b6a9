"""EER movies and views in a real mount."""

import json
import os
import struct
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from benchmarks.simulate_eer import Widths, metadata, random_frames, write_eer
from cryofs.fuse.control import FACTS_ATTRIBUTE
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering
from tests.mounted.support import NEEDS_MOUNTS
from tests.support import mounted, run_in_process

pytestmark = NEEDS_MOUNTS
SHAPE = (512, 480)
FALCON = Widths()
FRAMES = list(random_frames(50, SHAPE, 0.02, FALCON))
GAIN = np.random.default_rng(3).uniform(0.8, 1.2, SHAPE).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an archive with one intact and several damaged EER files."""
    place = tmp_path / "archive"
    place.mkdir()
    write_eer(place / "good.eer", FRAMES, SHAPE, FALCON, xml=metadata(50, 1.0, 0.8))
    tifffile.imwrite(place / "falcon.gain", GAIN)
    return place


def rendered(path: Path, **choices: object) -> bytes:
    with EerMovie(path, Rendering(**choices), EerGains()) as movie:  # type: ignore[arg-type]
        return movie.header + b"".join(movie.mrc_frame(index).tobytes() for index in range(movie.shape[0]))


def facts_of(path: Path) -> dict[str, object]:
    facts: dict[str, object] = json.loads(os.getxattr(path, FACTS_ATTRIBUTE))
    return facts


def test_fractions_and_views(folder: Path, tmp_path: Path) -> None:
    good = folder / "good.eer"
    with mounted(folder, tmp_path / "mnt") as mount:
        assert sorted(os.listdir(mount)) == ["falcon.gain", "good.eer", "good.mrc"]
        assert (mount / "good.eer").read_bytes() == good.read_bytes()
        # the default grouping is 40 frames
        assert (mount / "good.mrc").read_bytes() == rendered(good)
        for view, choices in (
            ("@up2_gr8", {"upsampling": 2, "grouping": 8}),
            ("@up4_gr25", {"upsampling": 4, "grouping": 25}),
            ("@up2crop1_gr8", {"upsampling": 2, "crop": 1, "grouping": 8}),
        ):
            assert (mount / view / "good.mrc").read_bytes() == rendered(good, **choices)
            assert mrcfile.validate(mount / view / "good.mrc")
        assert (mount / "@archive" / "good.eer").stat().st_size == good.stat().st_size
        with mrcfile.mmap(mount / "@up2_gr8" / "good.mrc") as shown:
            assert shown.data.shape == (6, 2 * SHAPE[0], 2 * SHAPE[1])
            assert float(shown.voxel_size.x) == pytest.approx(0.4)
        assert not (mount / "@up3_gr8").exists()


def test_every_option_reaches_the_mount(folder: Path, tmp_path: Path) -> None:
    options = ["--eer-upsampling", 2, "--eer-dtype", "uint16", "--eer-leftover", "keep"]
    dose = ["--eer-dose-per-fraction", 0.375]
    gain = ["--eer-gain", folder / "falcon.gain"]
    with mounted(folder, tmp_path / "mnt", *options, *dose, *gain) as mount:
        # 1 e/px in 50 frames of 0.8 A pixels: 12 frames have 0.375 e/A^2
        choices = {"grouping": 12, "upsampling": 2, "dtype": "uint16", "leftover": "keep"}
        assert (mount / "good.mrc").read_bytes() == rendered(folder / "good.eer", **choices)
        with mrcfile.open(mount / "gain-reference.mrc") as shown:
            np.testing.assert_array_equal(shown.data, GAIN.repeat(2, 0).repeat(2, 1))
    with mounted(folder, tmp_path / "mnt", "--eer-grouping", 10, *gain, "--eer-apply-gain") as mount:
        choices = {"grouping": 10, "gain": folder / "falcon.gain", "apply_gain": True}
        assert (mount / "good.mrc").read_bytes() == rendered(folder / "good.eer", **choices)


def test_fractions_cropped_in_fourier_space(folder: Path, tmp_path: Path) -> None:
    choices = {"upsampling": 4, "crop": 2, "dtype": "int16"}
    with mounted(folder, tmp_path / "mnt", "--eer-upsampling", 4, "-o", "eer_crop=2,eer_dtype=int16") as mount:
        assert (mount / "good.mrc").read_bytes() == rendered(folder / "good.eer", **choices)
        # 2 x 40 frames x 256 fit into 32767
        assert (facts_of(mount / "good.mrc")["crop"], facts_of(mount / "good.mrc")["scale"]) == (2, 256)
    (folder / "cryofs.toml").write_text("eer_crop = 1\neer_upsampling = 2\n")
    gain = folder / "falcon.gain"
    with mounted(folder, tmp_path / "mnt", "--eer-gain", gain) as mount:
        assert (mount / "good.mrc").read_bytes() == rendered(folder / "good.eer", upsampling=2, crop=1, gain=gain)
        assert not (mount / "gain-reference.mrc").exists()


def test_settings_of_the_archive(folder: Path, tmp_path: Path) -> None:
    (folder / "cryofs.toml").write_text('eer_grouping = 7\neer_gain = "falcon.gain"\neer_upsampling = 2\n')
    with mounted(folder, tmp_path / "mnt", "--eer-upsampling", 1) as mount:
        assert (mount / "good.mrc").read_bytes() == rendered(folder / "good.eer", grouping=7)
        with mrcfile.open(mount / "gain-reference.mrc") as shown:
            np.testing.assert_array_equal(shown.data, GAIN)


def test_a_gain_reference_below_a_mount_over_the_archive(folder: Path) -> None:
    with (
        mounted(folder, folder, "--eer-gain", folder / "falcon.gain") as mount,
        mrcfile.open(mount / "gain-reference.mrc") as shown,
    ):
        np.testing.assert_array_equal(shown.data, GAIN)


def test_damaged_frames_are_reported(folder: Path, tmp_path: Path) -> None:
    data = bytearray((folder / "good.eer").read_bytes())
    place = data.index(FRAMES[13]) + 500
    data[place : place + 8] = bytes(8)
    (folder / "good.eer").write_bytes(data)
    with mounted(folder, tmp_path / "mnt", "--eer-grouping", 10) as mount:
        for _ in range(2):
            shown = (mount / "good.mrc").read_bytes()
        assert facts_of(mount / "good.mrc")["damaged_frames"] == [13]
        assert facts_of(mount)["eer_damaged_frames"] == 1
        assert os.listxattr(mount / "good.eer") == []
        assert os.listxattr(mount / "good.mrc") == [FACTS_ATTRIBUTE]
    assert shown == rendered(folder / "good.eer", grouping=10)
    log = (tmp_path / "mnt.log").read_text()
    assert log.count("frame 13: damaged and skipped") == 1
    assert json.loads(run_in_process("info", folder / "good.eer", "--json").stdout)["damaged_frames"] == [13]


def test_the_mount_survives_every_kind_of_damage(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "good.eer").read_bytes()
    rng = np.random.default_rng(7)
    (first,) = struct.unpack_from("<Q", whole, 8)
    broken = {
        "empty": b"",
        "garbage": rng.bytes(100_000),
        "head": whole[:16],
        "cut": whole[: len(whole) // 2],
        "end": whole[:-1],
        "loop": whole[:8] + struct.pack("<Q", first) + whole[16:first] + whole[first:],
    }
    for number in range(20):
        flipped = bytearray(whole)
        for place in rng.integers(16, len(whole), 30):
            flipped[place] ^= 1 << int(rng.integers(8))
        broken[f"flipped{number}"] = bytes(flipped)
    count = struct.unpack_from("<Q", whole, first)[0]
    circle = bytearray(whole)
    struct.pack_into("<Q", circle, first + 8 + 20 * count, first)
    broken["circle"] = bytes(circle)
    for name, data in broken.items():
        (folder / f"{name}.eer").write_bytes(data)
    with mounted(folder, tmp_path / "mnt", "--eer-grouping", 10) as mount:
        listed = set(os.listdir(mount))
        assert {"good.eer", "good.mrc", "falcon.gain", *(f"{name}.eer" for name in broken)} <= listed
        assert not {f"{name}.mrc" for name in ("empty", "garbage", "head", "cut", "circle")} & listed
        outcomes: set[object] = set()
        for name in broken:
            assert (mount / f"{name}.eer").read_bytes() == broken[name]
            for shown in (mount / f"{name}.mrc", mount / "@up2_gr7" / f"{name}.mrc"):
                try:
                    outcomes.add(len(shown.read_bytes()) == shown.stat().st_size)
                except FileNotFoundError:
                    assert f"{name}.mrc" not in listed
                except OSError as error:
                    outcomes.add(error.strerror)
        assert True in outcomes
        assert outcomes <= {True, "Input/output error"}
        assert (mount / "good.mrc").read_bytes() == rendered(folder / "good.eer", grouping=10)


def test_a_gain_reference_of_another_detector_is_refused(folder: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "small.gain", GAIN[1:])
    (tmp_path / "mnt").mkdir()
    options = ["--eer-gain", tmp_path / "small.gain", "-o", f"log_file={tmp_path}/log"]
    done = run_in_process("mount", folder, tmp_path / "mnt", *options, check=False)
    assert done.returncode == 1
    assert "small.gain: size mismatch of the gain reference" in done.stderr
    assert not (tmp_path / "mnt").is_mount()


def test_a_dose_per_fraction_without_a_pixel_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "mnt").mkdir()
    write_eer(tmp_path / "archive" / "x.eer", random_frames(6, SHAPE, 0.05, Widths()), SHAPE, Widths())
    options = ["--eer-dose-per-fraction", 1.0, "-o", f"log_file={tmp_path}/log"]
    done = run_in_process("mount", tmp_path / "archive", tmp_path / "mnt", *options, check=False)
    assert done.returncode == 1
    assert "pass --eer-pixel-size or --eer-grouping" in done.stderr
    assert not (tmp_path / "mnt").is_mount()
    with mounted(tmp_path / "archive", tmp_path / "mnt", *options[:2], "--eer-pixel-size", 0.5) as mount:
        # 0.05 electrons in a pixel of 0.25 A^2 are 0.2 e/A^2 a frame
        assert (mount / "x.mrc").read_bytes() == rendered(tmp_path / "archive" / "x.eer", grouping=5, pixel_size=0.5)
