"""Find the fractions of movies that motion correction read from a mount, and the names of movies in other views."""

import os
from pathlib import Path, PurePosixPath

from cryofs.errors import FormatError, MountError
from cryofs.formats.archive_names import fractions_name, is_eer_name
from cryofs.fuse.control import file_facts, is_mounted
from cryofs.trajectory.convert import Fractions


class Mounted:
    """The mount from which motion correction read the movies.

    Raises
    ------
    MountError
        The path is not a cryofs mount.
    """

    def __init__(self, mountpoint: Path):
        self.mountpoint = mountpoint
        if not is_mounted(mountpoint.absolute()):
            raise MountError(f"{mountpoint}: not a cryofs mount; pass the mountpoint of the movies")
        self._root = _inode(mountpoint)

    def fractions(self, name: str) -> Fractions:
        """Return the grouping and upsampling with which the mount renders a movie.

        Raises
        ------
        FormatError
            The movie is not in the mount, or was not rendered from an EER file.
        """
        if is_eer_name(PurePosixPath(name).name):
            raise FormatError(f"{name}: is an EER file, not a movie of fractions in the mount; pass --from-grouping")
        try:
            facts = file_facts(Path(name)) or {}
        except OSError as error:
            raise FormatError(
                f"{name}: {error.strerror}; run cryofs trajectory in the folder of the RELION project"
            ) from error
        if "grouping" not in facts:
            reason = facts.get("error", "movie not rendered from an EER file")
            raise FormatError(f"{name}: {reason}; check --movies {self.mountpoint}")
        return Fractions(int(facts["grouping"]), int(facts.get("crop") or facts["upsampling"]))

    def name_in_view(self, name: str, fractions: Fractions) -> str:
        """Return the name of a movie in the view with other fractions.

        Raises
        ------
        FormatError
            The movie is not below the mountpoint, or does not exist in the view.
        """
        path = PurePosixPath(name)
        root = self._root_of(path)
        inside = path.relative_to(root).parts
        if len(inside) > 1 and inside[0].startswith("@"):
            inside = inside[1:]
        last = fractions_name(inside[-1]) or inside[-1]
        moved = root.joinpath(view_name(fractions), *inside[:-1], last)
        try:
            Path(moved).stat()
        except OSError as error:
            raise FormatError(f"{moved}: {error.strerror}; check the movie with cryofs info") from error
        return str(moved)

    def _root_of(self, path: PurePosixPath) -> PurePosixPath:
        """Return the leading part of a path that leads to the mountpoint, directly or through symbolic links."""
        for folder in reversed(path.parents):
            if _inode(Path(folder)) == self._root:
                return folder
        where = "run in the folder of the RELION project" if not path.is_absolute() else "pass its mountpoint"
        raise FormatError(f"{path}: not below {self.mountpoint}; {where}")


def view_name(fractions: Fractions) -> str:
    """Return the name of the folder of the view with these fractions."""
    return f"@up{fractions.upsampling}_gr{fractions.grouping}"


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - follows links, as open does
    except OSError:
        return None
    return found.st_dev, found.st_ino
