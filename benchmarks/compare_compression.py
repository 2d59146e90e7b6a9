"""Measure the four examples of RELION's documentation on movie compression: size, time and memory."""

import shutil
from pathlib import Path

from benchmarks.competitors import OURS, RELION, RELION_PROGRAM, converters, packers, with_settings
from benchmarks.contest import Contest
from benchmarks.figures import Figure, GainFigure
from benchmarks.measure import CORES, CRYOFS, Run, run, warm

GROUPINGS = (24, 16, 12, 8)
GRIDS = {1: "4K", 2: "8K"}
# settings that might be faster where LZW is the smallest codec, and takes half of the time
_SETTINGS = ("--compression deflate", f"--jobs {2 * CORES}")
_LZW = {("4K", 16), ("4K", 12)}
# output folders of the gain estimations
_GAINS = {OURS: "gain", RELION: "relion-gain"}


def compress_counts(contest: Contest) -> list[Figure]:
    """Compress movies of counts."""
    return contest.hold([*converters(), *packers()])


def compress_scaled(contest: Contest) -> list[Figure]:
    """Compress scaled integers: cryofs estimates the gain and stores counts, RELION stores the values."""
    return contest.hold([*converters(), *packers()], same_pixels=False)


def compress_normalised(contest: Contest) -> list[Figure]:
    """Compress gain-normalised movies; each program uses the gain reference that it estimated from all of them."""
    for program in _estimators():
        _estimate(program, "all.star", contest.folder)
    ours = ("--gain", f"{_GAINS[OURS]}/gain-reference.mrc")
    theirs = ("--gain", f"{_GAINS[RELION]}/gain_estimate.bin")
    return contest.hold([*converters(ours, theirs), *packers()])


def compress_eer(contest: Contest) -> list[Figure]:
    """Compress EER movies as TIFF files, on both grids and with several groupings, and unchanged."""
    figures = []
    for upsampling, grid in GRIDS.items():
        for grouping in GROUPINGS:
            ours = ("--eer", "tiff", "--eer-grouping", str(grouping), "--eer-upsampling", str(upsampling))
            theirs = ("--eer_grouping", str(grouping), "--eer_upsampling", str(upsampling))
            others = with_settings(_SETTINGS, ours) if (grid, grouping) in _LZW else []
            figures += contest.hold([*converters(ours, theirs), *others], f", {grid}", grouping)
    return figures + contest.hold(packers(), ", as it is")


def estimate_gain(contest: Contest) -> list[GainFigure]:
    """Estimate gains from one movie and from three; cryofs reads as many frames as it needs."""
    folder = contest.folder
    figures = []
    for movies, count in (("one.star", 1), ("three.star", 3)):
        done: dict[str, list[Run]] = {program: [] for program in _estimators()}
        for _ in range(contest.runs):
            for program, its_runs in done.items():
                warm(folder / name for name in contest.movies[:count])
                its_runs.append(_estimate(program, movies, folder))
        figures += [
            GainFigure(
                program,
                movies=count,
                # both print one row per frame
                frames=its_runs[0].output.count(" #Changed "),
                seconds=[run.seconds for run in its_runs],
                peak_bytes=max(run.peak_bytes for run in its_runs),
            )
            for program, its_runs in done.items()
        ]
    return figures


def _estimators() -> list[str]:
    return [OURS, RELION] if shutil.which(RELION_PROGRAM) else [OURS]


def _estimate(program: str, movies: str, folder: Path) -> Run:
    target = _GAINS[program]
    shutil.rmtree(folder / target, ignore_errors=True)
    (folder / target).mkdir()
    if program == OURS:
        return run([*CRYOFS, "estimate-gain", movies, "-o", target], folder)
    return run([RELION_PROGRAM, "--i", movies, "--o", f"{target}/", "--estimate_gain", "--j", str(CORES)], folder)
