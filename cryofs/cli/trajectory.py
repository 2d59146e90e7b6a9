"""`cryofs trajectory`: change RELION's motion trajectories to another grouping or upsampling of EER movies."""

from pathlib import Path
from typing import Annotated

from cryofs.cli import declare
from cryofs.cli.output import Reporter
from cryofs.config.choices import EerUpsampling


def command(
    star: Annotated[Path, declare.Argument(metavar="STAR", help="corrected_micrographs.star of RELION.")],
    suffix: Annotated[str, declare.Option(help="Suffix of the output files, as in x_SUFFIX.star.")],
    upsampling: Annotated[
        EerUpsampling | None, declare.Option(help="New upsampling: 1 (4K), 2 (8K) or 4 (16K).")
    ] = None,
    grouping: Annotated[int | None, declare.Option(min=1, help="New number of frames in a fraction.")] = None,
    from_grouping: Annotated[
        int | None, declare.Option(min=1, help="Frames in a fraction of the input, if the STAR files do not record it.")
    ] = None,
    from_upsampling: Annotated[
        EerUpsampling | None, declare.Option(help="Upsampling of the input, if the STAR files do not record it.")
    ] = None,
    movies: Annotated[
        Path | None,
        declare.Option(
            metavar="MOUNTPOINT",
            help="Mount through which the movies were read; they are renamed to those of its view.",
        ),
    ] = None,
    overwrite: Annotated[bool, declare.Option("--overwrite", help="Replace existing output files.")] = False,
) -> None:
    """Change motion trajectories to another grouping or upsampling of EER movies, for Polish.

    Each trajectory STAR file is written again beside the old one, then the micrographs STAR file, which is the input
    of a Polish job. Run it in the folder of the RELION project. Nothing is written unless all trajectories are valid.

    Example: cryofs trajectory MotionCorr/job002/corrected_micrographs.star --suffix up2_gr8 --upsampling 2 --grouping 8
    """
    from cryofs.trajectory.run import TrajectoryOptions, convert_all

    if grouping is None and upsampling is None:
        raise declare.BadParameter("pass --grouping, --upsampling, or both")
    if not suffix or "/" in suffix:
        raise declare.BadParameter(f"--suffix {suffix!r}: expected a part of a file name")
    options = TrajectoryOptions(suffix, grouping, upsampling, from_grouping, from_upsampling, movies, overwrite)
    with Reporter(unit="trajectories") as reporter:
        final = convert_all(star, options, _Progress(reporter))
    print(final)


class _Progress:
    """Progress of a conversion."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter

    def __call__(self, done: int, total: int) -> None:
        if done == 1:
            self._reporter.begin("converting", total)
        self._reporter.advance(1)
