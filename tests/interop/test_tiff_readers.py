"""Other programs read the archived TIFFs, and the mounted MRCs, as they read the originals."""

import re
import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from benchmarks.simulate import Detector, header
from tests.privileges import CAN_USE_FUSE
from tests.support import archive, mounted, movies_star, simulated

needs_relion = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_image_handler") is None, reason="needs relion"),
]
needs_fuse = pytest.mark.skipif(not CAN_USE_FUSE, reason="needs fuse3, /dev/fuse and the right to mount")
DETECTOR = Detector.make((512, 560), defects=40)
FRAMES = 16
# with more than one thread RELION fills hot pixels in an order, and so with values, that differ from run to run
MOTION_CORRECTION = """relion_run_motioncorr --use_own --j 1 --patch_x 1 --patch_y 1 --dose_per_frame 1.0
    --skip_logfile --i movies.star --o out/"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session folder of one gain-normalised and one counting movie, and its archive beside it."""
    folder = tmp_path_factory.mktemp("interop") / "session"
    simulated(folder / "k2.mrc", frames=FRAMES, detector=DETECTOR)
    counts = np.random.default_rng(0).poisson(0.9, (FRAMES, *DETECTOR.shape)).astype(np.int8)
    (folder / "counts.mrc").write_bytes(header((FRAMES, *DETECTOR.shape), 0) + counts.tobytes())
    archive(folder, folder.with_name("archive"))
    return folder


def test_tifffile_sees_rounded_counts_with_rows_from_the_top(session: Path) -> None:
    with mrcfile.mmap(session / "k2.mrc", permissive=True) as original:
        values = np.asarray(original.data)
    with mrcfile.open(session.with_name("archive") / "gain-reference.mrc") as reference:
        gain = np.asarray(reference.data)
    stored = tifffile.imread(session.with_name("archive") / "k2.mrc.tif", key=range(FRAMES))
    assert stored.dtype == np.uint8
    assert np.array_equal(stored[:, ::-1], np.rint(values / gain))
    good = np.ones(DETECTOR.gain.size, bool)
    good[DETECTOR.defects] = False
    product = stored[:, ::-1].astype(np.float32) * gain
    assert np.array_equal(product.reshape(FRAMES, -1)[:, good], values.reshape(FRAMES, -1)[:, good])


def test_pixel_size_is_in_the_tiff(session: Path) -> None:
    with tifffile.TiffFile(session.with_name("archive") / "k2.mrc.tif") as tiff:
        for page in tiff.pages:
            numerator, denominator = page.aspage().tags["XResolution"].value
            assert page.aspage().tags["ResolutionUnit"].value == 3
            assert 1e8 / (numerator / denominator) == pytest.approx(1.06, rel=1e-6)


@pytest.mark.skipif(shutil.which("tiffinfo") is None, reason="needs libtiff-tools")
@pytest.mark.parametrize("name", ["k2", "counts"])
def test_libtiff_has_no_complaint(session: Path, name: str) -> None:
    done = subprocess.run(
        ["tiffinfo", "-D", session.with_name("archive") / f"{name}.mrc.tif"], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    assert done.stdout.count("TIFF Directory at offset") == FRAMES


def test_the_gain_reference_is_a_valid_mrc(session: Path) -> None:
    assert mrcfile.validate(session.with_name("archive") / "gain-reference.mrc")


@needs_fuse
def test_mrcfile_reads_mounted_movies(session: Path, tmp_path: Path) -> None:
    with mounted(session.with_name("archive"), tmp_path / "mnt") as mount:
        for name in ("k2.mrc", "counts.mrc"):
            with (
                mrcfile.mmap(mount / name, permissive=True) as shown,
                mrcfile.mmap(session / name, permissive=True) as original,
            ):
                assert np.array_equal(shown.data, original.data)
                assert shown.header.tobytes() == original.header.tobytes()


class TestRelion:
    """RELION on archived TIFFs and mounted MRCs."""

    pytestmark = needs_relion

    @pytest.mark.parametrize("name", ["k2", "counts"])
    def test_relion_agrees_on_the_counts(self, session: Path, name: str) -> None:
        path = session.with_name("archive") / f"{name}.mrc.tif"
        done = subprocess.run(
            ["relion_image_handler", "--i", path, "--stats"], capture_output=True, text=True, check=True
        )
        pixels = tifffile.imread(path, key=0).astype(float)
        first = done.stdout.splitlines()[0]
        found = {key: float(value) for key, value in re.findall(r"(avg|minval|maxval)= ([\d.]+)", first)}
        assert found["avg"] == pytest.approx(pixels.mean(), rel=1e-4)
        assert (found["minval"], found["maxval"]) == (pixels.min(), pixels.max())
        assert "(x,y,z,n)= 560 x 512 x 1 x" in first
        assert "angpix = 1.06" in first
        assert len(done.stdout.strip().splitlines()) == FRAMES

    @needs_fuse
    def test_motion_correction_cannot_tell_the_mount_from_the_original(self, session: Path, tmp_path: Path) -> None:
        with mounted(session.with_name("archive"), tmp_path / "mnt") as mount:
            results = [
                self._correct(tmp_path / f"run-{number}", source) for number, source in enumerate((session, mount))
            ]
        assert results[0] == results[1]

    def _correct(self, project: Path, movies: Path) -> bytes:
        project.mkdir()
        (project / "Movies").symlink_to(movies)
        (project / "movies.star").write_text(movies_star("Movies/k2.mrc", 1.06))
        subprocess.run(MOTION_CORRECTION.split(), cwd=project, check=True, capture_output=True)
        micrograph = (project / "out" / "Movies" / "k2.mrc").read_bytes()
        # the first label of the header has the time of day
        return micrograph[:224] + micrograph[304:]
