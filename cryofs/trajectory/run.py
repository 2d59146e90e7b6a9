"""Convert all trajectories of a motion correction job to another grouping or upsampling.

All trajectories are converted in memory before the first file is written, so an invalid one leaves no output.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from cryofs.errors import ArchiveError, FormatError
from cryofs.formats.archive_names import is_eer_name
from cryofs.formats.star import StarFile
from cryofs.storage.atomic_file import write_file
from cryofs.trajectory import convert as one
from cryofs.trajectory.convert import Fractions
from cryofs.trajectory.mounted import Mounted

_TABLE = "micrographs"
_METADATA = "rlnMicrographMetadata"
_MOVIE = "rlnMicrographMovieName"
_GAIN = "rlnMicrographGainName"


@dataclass(frozen=True)
class TrajectoryOptions:
    """Options of a conversion.

    Attributes
    ----------
    suffix : str
        Text to append, after an underscore, to the names of the outputs.
    grouping, upsampling : int or None
        Grouping and upsampling of the outputs; None to use the values of the inputs.
    from_grouping, from_upsampling : int or None
        Grouping and upsampling of the inputs; None to take the values from the STAR files or a mount.
    mountpoint : Path or None
        Mount from which the movies were read. The outputs name the movies in the view with the new fractions.
    overwrite : bool
        Whether to replace existing outputs.
    """

    suffix: str
    grouping: int | None = None
    upsampling: int | None = None
    from_grouping: int | None = None
    from_upsampling: int | None = None
    mountpoint: Path | None = None
    overwrite: bool = False


def convert_all(
    micrographs: Path, options: TrajectoryOptions, advance: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """Convert the trajectories listed in a STAR file of micrographs; return the path of the new STAR file.

    Paths in STAR files are relative to the working directory, as in RELION.

    Parameters
    ----------
    advance : callable
        Called with the number of converted trajectories and the total number.

    Raises
    ------
    FormatError
        A STAR file is invalid, or a grouping or upsampling is unknown.
    ArchiveError
        An output already exists.
    MountError, OSError
        The mount is missing, or a file cannot be read or written.
    """
    star = StarFile.read(micrographs)
    names = star.column(_TABLE, _METADATA)
    if not names:
        raise FormatError(
            f"{micrographs}: no {_METADATA} in data_{_TABLE}; pass corrected_micrographs.star of a MotionCorr job"
        )
    mounted = Mounted(options.mountpoint) if options.mountpoint else None
    outputs: dict[Path, bytes] = {}
    for done, name in enumerate(names, 1):
        output = Path(_suffixed(name, options.suffix))
        _check_new(output, options.overwrite)
        trajectory = StarFile.read(Path(name))
        _convert(trajectory, options, mounted)
        if output in outputs:
            raise FormatError(f"{micrographs}: duplicate row for {name}; remove one of the rows")
        outputs[output] = trajectory.text().encode()
        advance(done, len(names))
    final = Path(_suffixed(str(micrographs), options.suffix))
    _check_new(final, options.overwrite)
    star.set_rows(_TABLE, range(len(names)), {_METADATA: [str(output) for output in outputs]})
    # the file that lists the others is written last
    for output, text in {**outputs, final: star.text().encode()}.items():
        write_file(output, text)
    return final


def _convert(star: StarFile, options: TrajectoryOptions, mounted: Mounted | None) -> None:
    movie = one.movie_name(star)
    old = _old_fractions(star, options, mounted, movie)
    new = replace(old, grouping=options.grouping or old.grouping, upsampling=options.upsampling or old.upsampling)
    one.convert(star, old, new)
    if mounted is not None:
        star.set_value("general", _MOVIE, mounted.name_in_view(movie, new))
        if (gain := star.value("general", _GAIN)) is not None:
            star.set_value("general", _GAIN, mounted.name_in_view(gain, new))
    elif is_eer_name(PurePosixPath(movie).name):
        one.record(star, new)


def _old_fractions(star: StarFile, options: TrajectoryOptions, mounted: Mounted | None, movie: str) -> Fractions:
    """Return the fractions of the movie that motion correction read.

    Raises
    ------
    FormatError
        The fractions are unknown, or differ between the STAR file and the options.
    """
    recorded = one.recorded_grouping(star), one.recorded_upsampling(star)
    if mounted is not None and recorded == (None, None):
        rendered = mounted.fractions(movie)
        recorded = rendered.grouping, rendered.upsampling
    grouping = _known(star, "grouping", recorded[0], options.from_grouping, options.grouping)
    upsampling = _known(star, "upsampling", recorded[1], options.from_upsampling, options.upsampling)
    return Fractions(grouping, upsampling)


def _known(star: StarFile, name: str, recorded: int | None, given: int | None, wanted: int | None) -> int:
    if recorded is not None and given is not None and recorded != given:
        raise FormatError(
            f"{star.name}: {name} mismatch (expected {recorded}, got --from-{name} {given}); omit --from-{name}"
        )
    value = recorded or given
    if value is None and wanted is not None:
        raise FormatError(f"{star.name}: {name} not recorded; pass --from-{name}, or --movies MOUNTPOINT")
    # an option that the user omits does not change the value
    return value or 1


def _suffixed(name: str, suffix: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}_{suffix}{path.suffix}"))


def _check_new(output: Path, overwrite: bool) -> None:
    if not overwrite and (output.exists() or output.is_symlink()):
        raise ArchiveError(f"{output}: already exists; pass another --suffix, or --overwrite to replace it")
