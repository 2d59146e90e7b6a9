"""Archives that RELION made mount as they are: its TIFF movies as MRC, with the gain reference that it wrote."""

import json
import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

import cryofs
from benchmarks.simulate import Arithmetic, Detector, write_counts
from cryofs.movies.tiff import ForeignMovie
from tests.foreign import counts, serialem
from tests.privileges import CAN_USE_FUSE
from tests.support import cryofs as command
from tests.support import mounted, movies_star, simulated

needs_relion = pytest.mark.skipif(shutil.which("relion_convert_to_tiff") is None, reason="needs relion")
DETECTOR = Detector.make((200, 240), defects=10)


def converted(folder: Path, target: str, *options: str) -> Path:
    """What relion_convert_to_tiff makes of Movies/x.mrc."""
    (folder / "movies.star").write_text(movies_star("Movies/x.mrc", 1.06))
    run = ["relion_convert_to_tiff", "--i", "movies.star", "--o", f"{target}/", *options]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / target


@pytest.mark.relion
@needs_relion
def test_counts_that_relion_converted(tmp_path: Path) -> None:
    (tmp_path / "Movies").mkdir()
    write_counts(tmp_path / "Movies" / "x.mrc", 6, (90, 70))
    made = converted(tmp_path, "Tiff")
    with (
        mrcfile.open(tmp_path / "Movies" / "x.mrc", permissive=True) as original,
        cryofs.open(made / "Movies" / "x.tif") as movie,
    ):
        assert isinstance(movie, ForeignMovie)
        for index, frame in enumerate(movie.frames()):
            assert np.array_equal(frame, original.data[index])


@pytest.mark.relion
@needs_relion
@pytest.mark.skipif(not CAN_USE_FUSE, reason="needs fuse3, /dev/fuse and the right to mount")
def test_an_archive_of_relion_mounts_as_it_is(tmp_path: Path) -> None:
    simulated(tmp_path / "Movies" / "x.mrc", frames=60, detector=DETECTOR)
    converted(tmp_path, "Gain", "--estimate_gain", "--thresh", "20")
    made = converted(tmp_path, "Tiff", "--gain", "Gain/gain_estimate.bin", "--thresh", "20")
    command("adopt", made)
    assert "1 movies good, 0 failed" in command("verify", made).stdout
    with mounted(made, tmp_path / "mnt") as mount:
        with mrcfile.open(mount / "gain-reference.mrc", permissive=True) as reference:
            gain = np.array(reference.data).reshape(DETECTOR.shape)
        with (
            mrcfile.open(mount / "Movies" / "x.mrc", permissive=True) as shown,
            mrcfile.open(tmp_path / "Movies" / "x.mrc", permissive=True) as original,
        ):
            assert shown.data.shape == original.data.shape
            # what RELION accepts, and writes
            assert np.abs(shown.data * gain - original.data).max() <= 1e-4
            pages = tifffile.imread(mount / "Movies" / "x.tif")
            assert np.array_equal(pages[:, ::-1], shown.data)
        # with gain 1 at unreliable pixels, whose values RELION keeps, all values come out
        values = (tmp_path / "Movies" / "x.mrc").read_bytes()[1024:]
        assert (mount / "@normalised" / "Movies" / "x.mrc").read_bytes()[1024:] == values


@pytest.mark.relion
@needs_relion
@pytest.mark.parametrize("arithmetic", ["double", "reciprocal"])
def test_values_are_as_exact_as_what_relion_wrote(tmp_path: Path, arithmetic: Arithmetic) -> None:
    """RELION knows only products in float32, so values of other arithmetic differ in their last bit."""
    detector = Detector.make((96, 80), defects=6, arithmetic=arithmetic)
    simulated(tmp_path / "Movies" / "x.mrc", frames=60, detector=detector)
    converted(tmp_path, "Gain", "--estimate_gain", "--thresh", "20")
    made = converted(tmp_path, "Tiff", "--gain", "Gain/gain_estimate.bin", "--thresh", "20")
    with cryofs.open(made / "Movies" / "x.tif", normalised=True) as movie:
        values = np.stack(list(movie.frames()))
    original = np.fromfile(tmp_path / "Movies" / "x.mrc", "<f4", offset=1024).reshape(values.shape)
    steps = np.abs(values.view(np.int32).astype(np.int64) - original.view(np.int32))
    assert steps.max() == 1


def test_facts_of_a_foreign_movie(tmp_path: Path) -> None:
    path = serialem(tmp_path / "x.tif", counts())
    facts = json.loads(command("info", path, "--json").stdout)
    assert (facts["format"], facts["shape"], facts["dtype"], facts["mode"]) == ("tiff", [5, 48, 35], "int16", 1)
    assert (facts["compression"], facts["stored_dtype"], facts["ratio"]) == ("lzw", "uint8", 1.0)
    assert facts["stored_bytes"] == facts["original"]["bytes"] == path.stat().st_size
    assert facts["original"]["sha256"] is None
    (tmp_path / "photo.tif").write_bytes(b"no TIFF")
    done = command("info", tmp_path / "photo.tif", check=False)
    assert "photo.tif: not a TIFF file; pass a TIFF movie" in done.stderr
