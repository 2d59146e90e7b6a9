"""Packed movies as sources of compress: unpacked once, into a file without a name in the archive, and read from there.

A movie is read several times, for its samples, for a gain estimate and to be stored. Reading an unpacked copy is faster
than unpacking several times, and nothing is stored before the packed file was checked to its end.
"""

from concurrent.futures import Executor
from pathlib import Path

from cryofs.error_hints import reason_of
from cryofs.errors import DamagedError, FormatError
from cryofs.formats.mrc import MrcHeader
from cryofs.formats.record import Packed
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.packed import first_header, packing_of_file
from cryofs.storage import atomic_file
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksums import file_sha256
from cryofs.text import as_unicode


class _UnpackedCopy(LocalFile):
    """The unpacked copy of a packed file, with the state of the packed file.

    Parameters
    ----------
    packed : LocalFile
        The packed file; closed with this source.
    folder : Path
        Folder of the copy.

    Raises
    ------
    FormatError
        The packed file is damaged.
    """

    def __init__(self, packed: LocalFile, folder: Path, pool: Executor):
        self._packed = packed
        copy = atomic_file.unnamed_file(folder)
        try:
            packing = packing_of_file(packed)
            for piece in packing.unpack(packed, pool):
                copy.write(piece)
            copy.flush()
            self.sha256 = file_sha256(packed)
            super().__init__(copy.fileno(), packed.name, is_owned=False)
        except DamagedError as error:
            copy.close()
            raise FormatError(str(error)) from error
        except BaseException:
            copy.close()
            raise
        self._copy = copy
        self.stat = packed.stat
        self.identity = packed.identity

    def is_unchanged(self) -> bool:
        """Return True if the packed file has not changed since it was opened."""
        return self._packed.is_unchanged()

    def close(self) -> None:
        """Close the packed file and remove the copy."""
        self._copy.close()
        self._packed.close()


class UnpackedMovie(MrcMovie):
    """A packed movie that was unpacked into a folder.

    Raises
    ------
    FormatError
        The packed file is damaged, or does not hold a movie.
    OSError
        The disk of the folder is full, or a file cannot be read or written.
    """

    def __init__(self, path: Path, folder: Path, pool: Executor):
        packed = LocalFile.open(path)
        try:
            self._copy = _UnpackedCopy(packed, folder, pool)
        except BaseException:
            packed.close()
            raise
        super().__init__(path, source=self._copy)

    @property
    def packed(self) -> Packed:
        """Facts for the record about the packed file."""
        return Packed(as_unicode(self.path.name), self.stat.st_size, self._copy.sha256)

    @property
    def scratch_bytes(self) -> int:
        """Size of the unpacked copy."""
        return self.source.size


def header_in(source: LocalFile) -> MrcHeader:
    """Return the header of the movie in a packed file, of which only the start is unpacked.

    Raises
    ------
    FormatError
        The start of the file is damaged, or not a movie. The size of the movie is not checked.
    """
    try:
        return first_header(packing_of_file(source), source)
    except DamagedError as error:
        raise FormatError(f"{source.name}: {reason_of(error, Path(source.name))}") from error
