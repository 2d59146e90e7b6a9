"""Files that the documentation assumes: a session, its archive, and TIFF movies of other programs."""

from pathlib import Path

import numpy as np
import tifffile

from benchmarks.simulate import Detector, header, write_counts, write_movie
from benchmarks.simulate_eer import FALCON_MEAN, Widths, metadata, random_frames, write_eer
from tests.docs.world import HOME
from tests.foreign import counts, serialem
from tests.support import archive

SHAPE = (256, 256)
FRAMES = 20
EER_FRAMES = 240


def make_session(root: Path) -> Path:
    """Create `/data/session`: gain-normalised movies, a movie of counts, an EER movie, and other files."""
    folder = root / "data" / "session"
    movies = folder / "Movies"
    movies.mkdir(parents=True)
    detector = Detector.make(SHAPE, defects=20)
    for number, name in enumerate(("a.mrc", "b.mrcs")):
        write_movie(movies / name, detector, FRAMES, seed=number)
    write_counts(folder / "k3.mrc", FRAMES, SHAPE)
    widths = Widths()
    frames = random_frames(EER_FRAMES, SHAPE, FALCON_MEAN, widths, seed=5)
    write_eer(folder / "a.eer", frames, SHAPE, widths, xml=metadata(EER_FRAMES, FALCON_MEAN * EER_FRAMES, 0.727))
    tifffile.imwrite(folder / "falcon.gain", np.random.default_rng(3).uniform(0.8, 1.2, SHAPE).astype(np.float32))
    (folder / "movies.star").write_text("data_\n\nloop_\n_rlnMicrographMovieName #1\nMovies/a.mrc\nMovies/b.mrcs\n")
    (folder / "notes.txt").write_text("K2, 300 kV, 1.06 A/px\n")
    return root


def make_archive(root: Path, session: Path) -> Path:
    """`/archive/session`."""
    archive(session / "data" / "session", root / "archive" / "session")
    return root


def make_others(root: Path) -> Path:
    """Create `/data/Tiff` with a SerialEM movie and its gain reference, and the home folder with a list."""
    pixels = counts((8, *SHAPE))
    serialem(root / "data" / "Tiff" / "x.tif", pixels)
    gain = np.random.default_rng(4).uniform(0.9, 1.1, SHAPE).astype("<f4")
    (root / "data" / "Tiff" / "gain-reference.mrc").write_bytes(header((1, *SHAPE), 2) + gain.tobytes())
    home = root / str(HOME).lstrip("/")
    home.mkdir(parents=True)
    names = "".join(f"/data/session/Movies/{name}\n" for name in ("a.mrc", "b.mrcs"))
    (home / "movies.star").write_text(f"data_\n\nloop_\n_rlnMicrographMovieName #1\n{names}")
    (home / "movies.lst").write_text(names)
    return root
