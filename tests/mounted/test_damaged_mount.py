"""Damaged files in a real mount: EIO, one line in the log, and all other files unaffected."""

import contextlib
import errno
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from tests.corpus.eer_specimens import EER_GROUPING
from tests.corpus.specimen import Specimen
from tests.corpus.specimens import make_specimens
from tests.mounted.support import NEEDS_MOUNTS
from tests.support import mounted

pytestmark = NEEDS_MOUNTS
DAMAGED_FRAME = 2


@pytest.fixture(scope="module")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Specimen]:
    made = make_specimens(tmp_path_factory.mktemp("specimens"))
    return {specimen.name: specimen for specimen in made}


def flip_in_frame(path: Path) -> None:
    """Flip one bit in the strips of a frame."""
    with ArchivedMovie(path, GainLibrary()) as movie:
        frame = movie.record.frames[DAMAGED_FRAME]
    content = bytearray(path.read_bytes())
    content[frame.offsets[0] + frame.byte_counts[0] // 2] ^= 4
    path.write_bytes(content)


def flip_in_record(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-60] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def errno_of(action: Callable[[], object]) -> int:
    """Return the errno of a failing action."""
    with pytest.raises(OSError, match=r".") as caught:
        action()
    assert caught.value.errno is not None
    return caught.value.errno


def read_at(path: Path, size: int, offset: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)


def errors_logged(mountpoint: Path) -> list[str]:
    lines = mountpoint.with_suffix(".log").read_text().splitlines()
    assert not any("Traceback" in line for line in lines)
    errors = [line.partition("ERROR: ")[2] for line in lines if "ERROR" in line]
    # errors that occurred often are logged again, with a number and another duration
    return sorted({re.sub(r" \((after|occurred) [^)]*\)", "", line) for line in errors})


@pytest.mark.parametrize("name", ["huffman", "lzw", "none", "float", "big", "lines"])
def test_a_flipped_bit_in_a_strip(specimens: dict[str, Specimen], tmp_path: Path, name: str) -> None:
    specimen = specimens[name]
    target = Path(shutil.copytree(specimen.folder, tmp_path / "archive"))
    flip_in_frame(target / specimen.file)
    right = specimen.shown["/movie.mrc"]
    start = specimen.header_bytes + DAMAGED_FRAME * specimen.frame_bytes
    page = 4096
    with mounted(target, tmp_path / "mnt") as place:
        movie = place / "movie.mrc"
        assert movie.stat().st_size == len(right)
        for offset in range(start, start + specimen.frame_bytes, page):
            assert errno_of(lambda offset=offset: read_at(movie, page, offset)) == errno.EIO  # type: ignore[misc]
        for offset in (
            *range(0, start - 2 * page, page),
            *range(start + specimen.frame_bytes + page, len(right), page),
        ):
            assert read_at(movie, page, offset) == right[offset : offset + page]
        for other in ("/other.mrc", "/notes.txt"):
            assert (place / other[1:]).read_bytes() == specimen.shown[other]
        (line,) = errors_logged(place)
    assert re.search(rf"movie\.mrc\.tif, frame {DAMAGED_FRAME}: damaged .*restore the file from a backup", line)


@pytest.mark.parametrize("damage", [flip_in_record, cut])
def test_a_damaged_record(specimens: dict[str, Specimen], tmp_path: Path, damage: Callable[[Path], None]) -> None:
    specimen = specimens["lzw"]
    target = Path(shutil.copytree(specimen.folder, tmp_path / "archive"))
    damage(target / specimen.file)
    with mounted(target, tmp_path / "mnt") as place:
        assert sorted(path.name for path in place.iterdir()) == ["movie.mrc", "notes.txt", "other.mrc"]
        assert (place / "movie.mrc").stat().st_size == 1
        assert errno_of((place / "movie.mrc").read_bytes) == errno.EIO
        assert (place / "other.mrc").read_bytes() == specimen.shown["/other.mrc"]
        (line,) = errors_logged(place)
    assert re.search(r"movie\.mrc\.tif: .*restore the file from a backup", line)


def rot(path: Path) -> None:
    """Change bytes in the middle of a file as a failing disk does, keeping size and times."""
    found = path.stat()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(byte ^ 0x55 for byte in content[middle : middle + 200])
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize(
    ("name", "file", "shown"),
    [
        ("double", "gain-reference.mrc", "movie.mrc"),
        ("lzw", "notes.txt", "notes.txt"),
        ("eer", "movie.eer", "movie.mrc"),
        ("foreign", "movie.mrc.tif", "movie.mrc.tif"),
    ],
)
def test_a_file_restored_in_place_with_its_times_is_readable_again(
    specimens: dict[str, Specimen], tmp_path: Path, name: str, file: str, shown: str
) -> None:
    specimen = specimens[name]
    target = Path(shutil.copytree(specimen.folder, tmp_path / "archive"))
    rot(target / file)
    with mounted(target, tmp_path / "mnt", "--eer-grouping", EER_GROUPING) as place:
        with contextlib.suppress(OSError):
            assert (place / shown).read_bytes() != specimen.shown["/" + shown]
        subprocess.run(["cp", "-p", specimen.folder / file, target / file], check=True)
        # attributes are cached for up to a second
        time.sleep(1.1)
        assert (place / shown).read_bytes() == specimen.shown["/" + shown]


def test_a_gain_reference_with_wrong_values(specimens: dict[str, Specimen], tmp_path: Path) -> None:
    specimen = specimens["double"]
    target = Path(shutil.copytree(specimen.folder, tmp_path / "archive"))
    content = bytearray((target / "gain-reference.mrc").read_bytes())
    content[-1] ^= 1
    (target / "gain-reference.mrc").write_bytes(content)
    with mounted(target, tmp_path / "mnt") as place:
        assert errno_of((place / "movie.mrc").read_bytes) == errno.EIO
        assert (place / "other.mrc").read_bytes() == specimen.shown["/other.mrc"]
        (line,) = errors_logged(place)
    assert re.search(r"movie\.mrc\.tif: its gain reference .* is missing or changed; restore the right", line)
