"""RELION and other decoders on the same EER files."""

import shutil
import subprocess
from pathlib import Path

import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from benchmarks.simulate_eer import FALCON_SHAPE, Events, Widths, encode, metadata, random_events, write_eer
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering
from tests.kernels.test_eer_events import render
from tests.privileges import CAN_USE_FUSE
from tests.support import mounted, movies_star

needs_relion = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_convert_to_tiff") is None, reason="needs relion"),
]
needs_fuse = pytest.mark.skipif(not CAN_USE_FUSE, reason="needs fuse3, /dev/fuse and the right to mount")
FRAMES = 7


def fractions(path: Path, grouping: int, upsampling: int) -> list[NDArray[np.int16]]:
    with EerMovie(path, Rendering(grouping=grouping, upsampling=upsampling), EerGains()) as movie:
        return list(movie.frames())


def test_imagecodecs_decodes_to_the_same() -> None:
    widths, shape = Widths(), (128, 96)
    rng = np.random.default_rng(0)
    streams = [encode(random_events(rng, shape, 0.05, widths), shape[0] * shape[1], widths) for _ in range(5)]
    for upsampling, superres in ((1, 0), (2, 1), (4, 2)):
        size = (shape[0] * upsampling, shape[1] * upsampling)
        theirs = sum(imagecodecs.eer_decode(stream, size, 7, 2, 2, superres=superres) for stream in streams)
        np.testing.assert_array_equal(render(streams, shape, widths, upsampling).image, theirs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full-size movies of few frames, one of them damaged, in either coding."""
    folder = tmp_path_factory.mktemp("relion")
    rng = np.random.default_rng(5)
    total = FALCON_SHAPE[0] * FALCON_SHAPE[1]
    for widths in (Widths(7, 2, 2, 65001), Widths(8, 2, 2, 65000)):
        frames = [encode(random_events(rng, FALCON_SHAPE, 0.01, widths), total, widths) for _ in range(FRAMES)]
        # events at the corners, so that nothing is turned or shifted unseen
        places = np.array([0, 4095, 4096 * 4095, total - 1])
        frames[0] = encode(Events(places, np.array([0, 1, 2, 3]), np.array([3, 2, 1, 0])), total, widths)
        middle = len(frames[4]) // 2
        frames[4] = frames[4][:middle] + bytes(20) + frames[4][middle + 20 :]
        xml = metadata(FRAMES, 0.1, 0.8)
        write_eer(folder / f"{widths.compression}.eer", frames, FALCON_SHAPE, widths, xml=xml)
    # where frames do not matter
    write_eer(folder / "few.eer", frames[:2], FALCON_SHAPE, widths, xml=metadata(2, 0.1, 0.8))
    return folder


def _ending_with_an_electron(events: Events, widths: Widths) -> tuple[bytes, Events]:
    """Return a frame that ends with the code of an electron on its last pixel, and its events.

    RELION reads two codes of 12 bits at a time. The number of codes is odd, so that it reads beyond the frame.
    """
    total = FALCON_SHAPE[0] * FALCON_SHAPE[1]
    longest = (1 << widths.run) - 1
    # without the first events one by one, until the number of codes is odd
    for first in range(1, 100):
        pixels = np.append(events.pixels[first:], total - 1)
        gaps = np.diff(pixels, prepend=-1) - 1
        long_codes = int((gaps // longest).sum())
        if (long_codes + len(pixels)) % 2:
            break
    last = np.zeros(1, np.int64)
    changed = Events(pixels, np.append(events.x[first:], last), np.append(events.y[first:], last))
    bits = long_codes * widths.long_bits + len(pixels) * (widths.run + widths.x + widths.y)
    return encode(changed, total, widths)[: -(-bits // 8)], changed


def _image(events: list[Events]) -> NDArray[np.int64]:
    """Return the electrons of some frames on the grid of the detector."""
    total = FALCON_SHAPE[0] * FALCON_SHAPE[1]
    every = np.concatenate([one.pixels for one in events])
    return np.bincount(every, minlength=total).reshape(FALCON_SHAPE)


class TestRelion:
    """relion_convert_to_tiff and relion_run_motioncorr."""

    pytestmark = needs_relion

    # at a grouping of 1 RELION drops the last frame, which is a mistake
    @pytest.mark.parametrize("name", ["65000", "65001"])
    @pytest.mark.parametrize(("grouping", "upsampling"), [(3, 1), (2, 2)])
    def test_every_pixel_is_the_same(
        self, folder: Path, tmp_path: Path, name: str, grouping: int, upsampling: int
    ) -> None:
        movie = folder / f"{name}.eer"
        command = ["relion_convert_to_tiff", "--i", movie.name, "--o", f"{tmp_path}/"]
        command += ["--eer_grouping", str(grouping), "--eer_upsampling", str(upsampling)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        ours = fractions(movie, grouping, upsampling)
        with tifffile.TiffFile(tmp_path / f"{name}.tif") as tiff:
            assert len(tiff.pages) == len(ours) == FRAMES // grouping
            for page, frame in zip(tiff.pages, ours, strict=True):
                assert np.array_equal(page.asarray()[::-1], frame)

    @pytest.mark.parametrize("kind", ["gain", "mrc"])
    @pytest.mark.parametrize(("side", "upsampling"), [(4096, 2), (8192, 1)])
    def test_gain_references_are_the_same(
        self, folder: Path, tmp_path: Path, kind: str, side: int, upsampling: int
    ) -> None:
        gain = np.random.default_rng(1).uniform(0.5, 2, (side, side)).astype(np.float32)
        gain[10:12, 20:22] = 0
        path = tmp_path / f"falcon.{kind}"
        if kind == "gain":
            tifffile.imwrite(path, gain)
        else:
            mrcfile.write(path, gain)
        command = ["relion_convert_to_tiff", "--i", "few.eer", "--o", f"{tmp_path}/", "--gain", str(path)]
        command += ["--eer_grouping", "2", "--eer_upsampling", str(upsampling)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        theirs = mrcfile.read(tmp_path / "gain-reference.mrc")
        ours = EerGains().get(path, (4096 * upsampling, 4096 * upsampling)).values
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)

    @pytest.mark.parametrize("widths", [Widths(7, 2, 2, 65001), Widths(8, 2, 2, 65000)], ids=["65001", "65000"])
    def test_frames_that_end_with_an_electron_on_the_last_pixel_are_kept(self, tmp_path: Path, widths: Widths) -> None:
        total = FALCON_SHAPE[0] * FALCON_SHAPE[1]
        rng = np.random.default_rng(1)
        events = [random_events(rng, FALCON_SHAPE, 0.001, widths) for _ in range(3)]
        frames = [encode(one, total, widths) for one in events]
        frames[1], events[1] = _ending_with_an_electron(events[1], widths)
        write_eer(tmp_path / "x.eer", frames, FALCON_SHAPE, widths)
        command = ["relion_convert_to_tiff", "--i", "x.eer", "--o", "out/", "--eer_grouping", "3"]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        skipped = [line for line in done.stderr.splitlines() if "number of pixels is not right" in line]
        assert ["frame 2" in line for line in skipped] == [True]
        theirs = tifffile.imread(tmp_path / "out" / "x.tif")[::-1]
        np.testing.assert_array_equal(theirs, _image([events[0], events[2]]))
        with EerMovie(tmp_path / "x.eer", Rendering(grouping=3), EerGains()) as movie:
            np.testing.assert_array_equal(movie.frame(0), _image(events))
            assert movie.findings.damaged_frames == []

    @needs_fuse
    def test_motion_correction_through_the_mount(self, tmp_path: Path) -> None:
        widths, shape = Widths(), (512, 512)
        rng = np.random.default_rng(2)
        frames = [encode(random_events(rng, shape, 0.2, widths), shape[0] * shape[1], widths) for _ in range(48)]
        (tmp_path / "archive").mkdir()
        write_eer(tmp_path / "archive" / "x.eer", frames, shape, widths, xml=metadata(48, 9.6, 0.8))
        (tmp_path / "project").mkdir()
        (tmp_path / "project" / "movies.star").write_text(movies_star("Movies/x.mrc", 0.8))
        command = "relion_run_motioncorr --use_own --j 1 --patch_x 1 --patch_y 1 --dose_per_frame 1.0 --skip_logfile"
        with mounted(tmp_path / "archive", tmp_path / "mnt", "--eer-grouping", 6) as mount:
            (tmp_path / "project" / "Movies").symlink_to(mount)
            subprocess.run(
                [*command.split(), "--i", "movies.star", "--o", "out/"],
                cwd=tmp_path / "project",
                check=True,
                capture_output=True,
            )
        with mrcfile.open(tmp_path / "project" / "out" / "Movies" / "x.mrc", permissive=True) as corrected:
            assert corrected.data.shape == shape
            # the frames do not move, so the corrected sum is their sum but for filtering
            total = np.sum(fractions(tmp_path / "archive" / "x.eer", 6, 1), axis=0)
            assert corrected.data.mean() == pytest.approx(total.mean(), rel=0.01)
