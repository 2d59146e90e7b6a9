"""RELION's programs write beside their movies on a mount that archives at once what they write on a plain folder."""

import shutil
from pathlib import Path

from benchmarks.simulate import Detector
from tests.interop.relion import JOB, NEEDS_RELION, relion
from tests.mounted.storing import storing, wait_for
from tests.support import movies_star, simulated, written_movie

pytestmark = NEEDS_RELION
DETECTOR = Detector.make((96, 80), defects=6)


def test_relion_writes_beside_its_movies(tmp_path: Path) -> None:
    movie = simulated(tmp_path / "x.mrc", 30, detector=DETECTOR)
    counts = written_movie(tmp_path / "counts.mrc", shape=(4, 96, 80))
    with storing(tmp_path) as place:

        def run(folder: Path) -> None:
            (folder / "Movies").mkdir()
            for path in (movie, counts):
                shutil.copy2(path, folder / "Movies")
            for name in ("x", "counts"):
                (folder / f"{name}.star").write_text(movies_star(f"Movies/{name}.mrc", 1.06))
            relion(folder, "convert_to_tiff", "--i", "x.star", "--o", "./", "--estimate_gain", "--thresh", 10)
            relion(
                folder, "convert_to_tiff", "--i", "x.star", "--o", "./", "--gain", "gain_estimate.bin", "--thresh", 10
            )
            options = "--use_own --j 1 --patch_x 1 --patch_y 1 --dose_per_frame 1.0 --skip_logfile"
            for name in ("x", "counts"):
                relion(folder, "run_motioncorr", "--i", f"{name}.star", "--o", f"{JOB}/", *options.split())

        place.both(run)
        shown, plain = (written(folder) for folder in (place.mount, place.plain))
        # a mount shows the gain reference of TIFF movies beside them too
        assert shown.pop("Movies/gain-reference.mrc") == shown["gain-reference.mrc"]
        assert shown.keys() == plain.keys()
        assert not [name for name in shown if shown[name] != plain[name]]
        wait_for((place.archive / "Movies" / "counts.mrc.tif").exists)
        assert {name: data for name, data in written(place.mount).items() if name in plain} == plain


def written(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files, without the labels of images, which hold the time."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    images = (".mrc", ".bin")
    data = {name: path.read_bytes() for name, path in found.items()}
    return {name: one[:224] + one[1024:] if name.endswith(images) else one for name, one in data.items()}
