"""`cryofs trajectory`: convert RELION's motion trajectories to another grouping or upsampling of EER movies."""

from pathlib import Path

import click

from cryofs.cli.output import Reporter
from cryofs.cli.parameters import PATH, UPSAMPLING
from cryofs.config.choices import EerUpsampling


@click.command("trajectory")
@click.argument("star", type=PATH, help="corrected_micrographs.star of RELION.")
@click.option("--suffix", required=True, help="Suffix of the output files, as in x_SUFFIX.star.")
@click.option("--upsampling", type=UPSAMPLING, help="New upsampling: 1 (4K), 2 (8K) or 4 (16K).")
@click.option("--grouping", type=click.IntRange(1), help="New number of EER frames per fraction.")
@click.option(
    "--from-grouping",
    type=click.IntRange(1),
    help="EER frames per fraction of the input, if the STAR files do not record it.",
)
@click.option("--from-upsampling", type=UPSAMPLING, help="Upsampling of the input, if the STAR files do not record it.")
@click.option(
    "--movies",
    type=PATH,
    metavar="MOUNTPOINT",
    help="Mount from which RELION read the movies; the output names them in the matching view.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing output files.")
def command(
    star: Path,
    suffix: str,
    upsampling: EerUpsampling | None,
    grouping: int | None,
    from_grouping: int | None,
    from_upsampling: EerUpsampling | None,
    movies: Path | None,
    overwrite: bool,
) -> None:
    """Convert motion trajectories to another grouping or upsampling of EER movies, for Polish.

    Writes a new trajectory STAR file beside each old one, then a new micrographs STAR file, which is the input of a
    Polish job. Run this command in the folder of the RELION project. Nothing is written unless all trajectories are
    valid.

    Example: cryofs trajectory MotionCorr/job002/corrected_micrographs.star --suffix up2_gr8 --upsampling 2 --grouping 8
    """
    from cryofs.trajectory.run import TrajectoryOptions, convert_all

    if grouping is None and upsampling is None:
        raise click.UsageError("neither --grouping nor --upsampling given; pass one or both")
    if not suffix or "/" in suffix:
        raise click.UsageError(
            f"--suffix {suffix!r}: invalid suffix (empty, or contains a slash); pass a part of a file name"
        )
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
