"""Who compresses movies, and with which commands.

All commands run in one folder. It holds `movies/`, the lists `one.star`, `three.star` and `all.star`, and what was
compressed: in `result/` or, from bzip2, beside the movies.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import CORES, CRYOFS

RESULT = "result"
OURS = "cryofs"
RELION = "RELION"
RELION_PROGRAM = "relion_convert_to_tiff"


@dataclass(frozen=True)
class Competitor:
    """A program that compresses.

    Parameters
    ----------
    name : str
        What tables call it.
    program : str
        It is left out where this program is not installed.
    stored : str
        Pattern of the files that it leaves, below the folder.
    commands : dict
        By how many movies it is given (one, or all): the command for their names.
    most : int or None
        It is given no more movies than these: so many that all cores have work, where each takes minutes.
    """

    name: str
    program: str
    stored: str
    commands: dict[str, Callable[[Sequence[str]], list[str]]]
    most: int | None = None

    def installed(self) -> bool:
        """Whether its program is there."""
        return shutil.which(self.program) is not None

    def clear(self, folder: Path) -> None:
        """Remove what it left."""
        for path in folder.glob(self.stored):
            path.unlink()
        shutil.rmtree(folder / RESULT, ignore_errors=True)
        (folder / RESULT).mkdir()


def converters(cryofs: Sequence[str] = (), relion: Sequence[str] = ()) -> list[Competitor]:
    """Programs that know movies, with their options: cryofs, and relion_convert_to_tiff, whose MPI takes several."""

    def archive(movies: Sequence[str]) -> list[str]:
        return [*CRYOFS, "compress", *movies, "-o", RESULT, *cryofs]

    def convert(program: str, movies: str) -> list[str]:
        return [program, "--i", movies, "--o", f"{RESULT}/", *relion]

    def one(_: Sequence[str]) -> list[str]:
        return convert(RELION_PROGRAM, "one.star")

    def every(_: Sequence[str]) -> list[str]:
        ranks = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(CORES)]
        return ranks + convert(f"{RELION_PROGRAM}_mpi", "all.star")

    tiff = f"{RESULT}/**/*.tif"
    return [
        Competitor(OURS, CRYOFS[0], tiff, {"one": archive, "all": archive}),
        Competitor(RELION, RELION_PROGRAM, tiff, {"one": one, "all": every}),
    ]


def packers() -> list[Competitor]:
    """Programs that know nothing of movies: the first two use all cores for one file, bzip2 one core a file."""

    def zstd(movies: Sequence[str]) -> list[str]:
        return ["zstd", "-q", "-3", "-T0", *movies, "-o", f"{RESULT}/movie.zst"]

    def squashfs(movies: Sequence[str]) -> list[str]:
        image = f"{RESULT}/movie.squashfs"
        return ["mksquashfs", *movies, image, "-comp", "zstd", "-b", "1M", "-quiet", "-no-progress"]

    def bzip2(movies: Sequence[str]) -> list[str]:
        # several names of one file are refused but for -f
        return ["sh", "-c", 'printf "%s\\n" "$@" | xargs -n 1 -P ' + f"{CORES} bzip2 -kf", "bzip2", *movies]

    return [
        Competitor("zstd -3", "zstd", f"{RESULT}/*.zst", {"one": zstd}),
        Competitor("squashfs", "mksquashfs", f"{RESULT}/*.squashfs", {"one": squashfs}),
        Competitor("bzip2", "bzip2", "movies/*.bz2", {"all": bzip2}, CORES),
    ]


def write_lists(folder: Path, movies: Sequence[str]) -> None:
    """Write the lists of movies that the commands name."""
    for name, listed in (("one", movies[:1]), ("three", movies[:3]), ("all", movies)):
        lines = ["data_", "", "loop_", "_rlnMicrographMovieName #1", *listed, ""]
        (folder / f"{name}.star").write_text("\n".join(lines))
