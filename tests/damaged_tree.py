"""An archive with one file of each kind of damage that a mount may meet, and intact files beside them."""

import bz2
import gzip
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.simulate_eer import Widths, random_frames, write_eer
from tests.foreign import counts, relion, serialem
from tests.support import archive, simulated

SHAPE = (48, 64)
WIDTHS = Widths()
COARSE = Widths(7, 1, 1, 65002)
APPLE = b"\0\5\x16\7\0\2\0\0Mac OS X        \0\2".ljust(4096, b"\0")


@dataclass(frozen=True)
class DamagedTree:
    """An archive and what a mount of it shows.

    Attributes
    ----------
    readable : dict
        Names whose bytes have to be those of the value, by path in the mount.
    listed : set
        Names that are listed too and can be read, whatever their bytes are.
    unreadable : set
        Names that are listed, and whose reading is an error.
    """

    folder: Path
    readable: dict[str, bytes]
    listed: set[str]
    unreadable: set[str]

    @property
    def names(self) -> set[str]:
        """Paths of all files in the mount."""
        return {*self.readable, *self.listed, *self.unreadable}


def make_damaged_tree(folder: Path) -> DamagedTree:
    """Make an archive with damage of every kind."""
    session, target = folder / "session", folder / "archive"
    good = simulated(session / "Movies" / "good.mrc", frames=20)
    for name in ("cut", "record", "emptied"):
        simulated(session / "Movies" / f"{name}.mrc", frames=8, seed=3)
    (session / "notes.txt").write_text("300 kV")
    archive(session, target)
    movies = target / "Movies"
    _damage_archived(movies)
    _write_eers(movies)
    _write_tiffs(movies)
    _write_packed(movies)
    _write_names(target)
    packed = {f"Movies/packed_{name}.mrc" for name in ("cut", "junk", "empty")}
    tiff = {"Movies/broken.mrc", "Movies/renamed.mrc"}
    return DamagedTree(
        target,
        readable={"Movies/good.mrc": good.read_bytes(), "notes.txt": b"300 kV"} | _plain(target),
        listed={"Movies/short.mrc", "Movies/good_tiff.mrc", "Movies/packed_text.mrc"},
        unreadable={"Movies/cut.mrc", "Movies/record.mrc", "Movies/hollow.mrc", "Movies/coarse.mrc", *tiff, *packed},
    )


def _damage_archived(movies: Path) -> None:
    cut = movies / "cut.mrc.tif"
    (movies / "renamed.tif").write_bytes(cut.read_bytes()[:-700])
    cut.write_bytes(cut.read_bytes()[:-1000])
    record = bytearray((movies / "record.mrc.tif").read_bytes())
    record[-60] ^= 1
    (movies / "record.mrc.tif").write_bytes(record)
    (movies / "emptied.mrc.tif").write_bytes(b"")


def _write_eers(movies: Path) -> None:
    frames = list(random_frames(6, SHAPE, 0.05, WIDTHS))
    write_eer(movies / "short.eer", frames, SHAPE, WIDTHS)
    whole = (movies / "short.eer").read_bytes()
    (movies / "truncated.eer").write_bytes(whole[: len(whole) // 2])
    (movies / "junk.eer").write_bytes(os.urandom(5000))
    (movies / "empty.eer").write_bytes(b"")
    (movies / "zeros.eer").write_bytes(bytes(len(whole)))
    # all frames end at another pixel
    hollow = bytearray(whole)
    for frame in frames:
        place = hollow.index(frame) + len(frame) // 2
        hollow[place : place + 4] = bytes(4)
    (movies / "hollow.eer").write_bytes(hollow)
    # events are not located finely enough for the upsampling of the mount
    write_eer(movies / "coarse.eer", list(random_frames(6, SHAPE, 0.05, COARSE)), SHAPE, COARSE)


def _write_tiffs(movies: Path) -> None:
    relion(movies / "good_tiff.tif", counts())
    whole = serialem(movies / "broken.tif", counts(seed=1)).read_bytes()
    (movies / "broken.tif").write_bytes(whole[:-700])
    (movies / "headless.tif").write_bytes(whole[:4] + b"\xff" * 4 + whole[8:])
    (movies / "junk.tif").write_bytes(os.urandom(5000))


def _write_packed(movies: Path) -> None:
    whole = (movies / "short.eer").read_bytes()
    (movies / "packed_text.mrc.gz").write_bytes(gzip.compress(b"text, not a movie"))
    (movies / "packed_cut.mrc.bz2").write_bytes(bz2.compress(whole)[:-30])
    (movies / "packed_junk.mrc.zst").write_bytes(whole)
    (movies / "packed_empty.mrc.xz").write_bytes(b"")


def _write_names(target: Path) -> None:
    for name in ("._good.mrc", "._short.eer", "._good.mrc.tif", "._good_tiff.tif", ".DS_Store", "Thumbs.db"):
        (target / "Movies" / name).write_bytes(APPLE)
    (target / ".cryofs-sha256").write_text("hidden")
    (target / ".cryofs-parts").mkdir()
    (target / ".cryofs-parts" / "hidden.eer").write_bytes((target / "Movies" / "short.eer").read_bytes())
    (target / "Movies" / "nowhere.eer").symlink_to("missing.eer")
    (target / "Movies" / "loop.tif").symlink_to("loop.tif")


def _plain(target: Path) -> dict[str, bytes]:
    """Files that are shown as they are."""
    shown_as_movies = {"good.mrc.tif", "cut.mrc.tif", "record.mrc.tif"}
    files = [path for path in (target / "Movies").iterdir() if path.is_file() and path.name not in shown_as_movies]
    return {f"Movies/{path.name}": path.read_bytes() for path in files}
