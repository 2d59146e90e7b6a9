"""Programs that compress movies, and their commands.

All commands run in one folder, which contains `movies/` and the lists `one.star`, `three.star` and `all.star`. Output
goes to `result/` or, for bzip2, next to the movies.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import CORES, CRYOFS

RESULT = "result"
OURS = "cryofs"
OURS_IN_PARTS = "cryofs, mpirun"
RELION = "RELION"
RELION_PROGRAM = "relion_convert_to_tiff"
_TIFF = f"{RESULT}/**/*.tif"


@dataclass(frozen=True)
class Competitor:
    """A program that compresses.

    Parameters
    ----------
    name : str
        Name in tables.
    program : str
        Executable; the competitor is skipped if it is not installed.
    stored : str
        Pattern of the output files, relative to the folder.
    commands : dict
        Command for a list of names, by number of movies (one, or all).
    most : int or None
        Maximum number of movies in a run, for programs that take minutes per movie; enough to use all cores.
    """

    name: str
    program: str
    stored: str
    commands: dict[str, Callable[[Sequence[str]], list[str]]]
    most: int | None = None

    def installed(self) -> bool:
        """Whether the program is installed."""
        return shutil.which(self.program) is not None

    def clear(self, folder: Path) -> None:
        """Remove the output files."""
        for path in folder.glob(self.stored):
            path.unlink()
        shutil.rmtree(folder / RESULT, ignore_errors=True)
        (folder / RESULT).mkdir()


def converters(cryofs: Sequence[str] = (), relion: Sequence[str] = ()) -> list[Competitor]:
    """Return the movie converters: cryofs, and relion_convert_to_tiff, which uses MPI for several movies.

    For comparison, cryofs also archives several movies in parts, with one core for each rank of MPI.
    """
    ranks = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(CORES)]

    def archive_in_parts(_: Sequence[str]) -> list[str]:
        return [*ranks, *CRYOFS, "compress", "all.star", "-o", RESULT, "--part", "auto", "--jobs", "1", *cryofs]

    def convert(program: str, movies: str) -> list[str]:
        return [program, "--i", movies, "--o", f"{RESULT}/", *relion]

    def one(_: Sequence[str]) -> list[str]:
        return convert(RELION_PROGRAM, "one.star")

    def every(_: Sequence[str]) -> list[str]:
        return ranks + convert(f"{RELION_PROGRAM}_mpi", "all.star")

    return [
        _archiver(OURS, cryofs),
        Competitor(OURS_IN_PARTS, "mpirun", _TIFF, {"all": archive_in_parts}),
        Competitor(RELION, RELION_PROGRAM, _TIFF, {"one": one, "all": every}),
    ]


def with_settings(settings: Sequence[str], options: Sequence[str]) -> list[Competitor]:
    """Return cryofs with each of some other settings, such as ``--jobs 4``, and the options of `converters`."""
    return [_archiver(f"{OURS}, {setting}", (*options, *setting.split())) for setting in settings]


def _archiver(name: str, options: Sequence[str]) -> Competitor:
    def archive(movies: Sequence[str]) -> list[str]:
        return [*CRYOFS, "compress", *movies, "-o", RESULT, *options]

    return Competitor(name, CRYOFS[0], _TIFF, {"one": archive, "all": archive})


def packers() -> list[Competitor]:
    """Return the general compressors: zstd and squashfs use all cores for one file, bzip2 one core per file."""

    def zstd(movies: Sequence[str]) -> list[str]:
        return ["zstd", "-q", "-3", "-T0", *movies, "-o", f"{RESULT}/movie.zst"]

    def squashfs(movies: Sequence[str]) -> list[str]:
        image = f"{RESULT}/movie.squashfs"
        return ["mksquashfs", *movies, image, "-comp", "zstd", "-b", "1M", "-quiet", "-no-progress"]

    def bzip2(movies: Sequence[str]) -> list[str]:
        # bzip2 rejects files with several names without -f
        return ["sh", "-c", 'printf "%s\\n" "$@" | xargs -n 1 -P ' + f"{CORES} bzip2 -kf", "bzip2", *movies]

    return [
        Competitor("zstd -3", "zstd", f"{RESULT}/*.zst", {"one": zstd}),
        Competitor("squashfs", "mksquashfs", f"{RESULT}/*.squashfs", {"one": squashfs}),
        Competitor("bzip2", "bzip2", "movies/*.bz2", {"all": bzip2}, CORES),
    ]


def write_lists(folder: Path, movies: Sequence[str]) -> None:
    """Write the lists of movies that the commands use."""
    for name, listed in (("one", movies[:1]), ("three", movies[:3]), ("all", movies)):
        lines = ["data_", "", "loop_", "_rlnMicrographMovieName #1", *listed, ""]
        (folder / f"{name}.star").write_text("\n".join(lines))
