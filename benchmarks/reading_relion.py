"""Compare motion correction by RELION with and without a mount, and rendering of EER movies by RELION and cryofs."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks import mounts
from benchmarks.competitors import OURS, RELION, RELION_PROGRAM
from benchmarks.figures import READING_NOTE, Reading
from benchmarks.measure import CORES, forget, run
from benchmarks.reading_peers import RAW, Session
from benchmarks.readings import EER, PROGRAMS, Readings, in_turn

MOTION_PROGRAM = "relion_run_motioncorr"
_STAR = """# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
opticsGroup1 1 1.06 300 2.7 0.1

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
{} 1
"""


def write_star(path: Path, movie: Path) -> None:
    """Write a STAR file for one K2 movie below its folder."""
    path.write_text(_STAR.format(movie.relative_to(path.parent)))


def read_eer(folder: Path, movie: str, runs: int, notes: list[str]) -> list[Reading]:
    """Read all fractions of an EER movie on both grids; compare with RELION writing them as a TIFF file."""
    if why_not := mounts.missing(RELION_PROGRAM):
        notes.append(f"{READING_NOTE}{EER}: {why_not}.")
        return []
    source = folder / movie
    readings = Readings(EER)
    (folder / "relion").mkdir(exist_ok=True)
    for upsampling, grid in ((1, "4K"), (2, "8K")):
        what = f"{grid}, grouping 24"
        command = [RELION_PROGRAM, "--i", movie, "--o", "relion/"]
        command += ["--eer_grouping", "24", "--eer_upsampling", str(upsampling)]
        shown = f"@up{upsampling}_gr24/{source.stem}.mrc"

        def ours(what: str = what, shown: str = shown) -> None:
            with mounts.cryofs_at_rest(source.parent, folder / "mount"):
                forget([source])
                readings.add(what, OURS, "s", run(["cat", shown], folder / "mount", keep_output=False).seconds)
                readings.add(f"{what}, memory of the mount", OURS, "GB", mounts.peak_memory(folder / "mount") / 1e9)

        def theirs(what: str = what, command: Sequence[str] = tuple(command)) -> None:
            forget([source])
            readings.add(what, RELION, "s", run(command, folder, keep_output=False).seconds)

        in_turn(runs, {OURS: ours, RELION: theirs})
    shutil.rmtree(folder / "relion")
    return readings.all()


def correct_motion(session: Session, runs: int, notes: list[str]) -> list[Reading]:
    """Run RELION's motion correction of a K2 movie, from the mount and from the original on disk."""
    if why_not := mounts.missing(MOTION_PROGRAM):
        notes.append(f"{READING_NOTE}motion correction: {why_not}.")
        return []
    folder = session.folder
    session.compress()
    readings = Readings(PROGRAMS)
    result = folder / "motion"

    def correct(way: str, movie: Path, stored: Path) -> None:
        write_star(folder / "motion.star", movie)
        forget([stored])
        command = f"{MOTION_PROGRAM} --use_own --i motion.star --o {result.name}/ --j {CORES} --patch_x 1 --patch_y 1"
        done = run([*command.split(), "--dose_per_frame", "1.45"], folder)
        readings.add(f"{MOTION_PROGRAM} --use_own, one movie", way, "s", done.seconds)
        shutil.rmtree(result)

    def ours() -> None:
        with mounts.cryofs_at_rest(session.archive, folder / "mount"):
            correct(OURS, folder / "mount" / session.originals[0].name, session.archived[0])

    def theirs() -> None:
        correct(RAW, session.originals[0], session.originals[0])

    in_turn(runs, {OURS: ours, RAW: theirs})
    (folder / "motion.star").unlink()
    return readings.all()
