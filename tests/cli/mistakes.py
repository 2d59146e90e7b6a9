"""Common mistakes of users: the command, the parts of its error line, and the files that lead to it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryofs.movies.gain_library import reference_sha256
from cryofs.storage.checksum_lists import update


def nothing() -> None:
    """Do not change any files."""


def without_reference() -> None:
    Path("archive/gain-reference.mrc").unlink()
    # the checksum list would also report the missing file
    Path("archive/.cryofs-sha256").unlink()


def other_reference() -> None:
    shutil.copy("zeros.gain.mrc", "archive/gain-reference.mrc")
    # otherwise the checksum list would also report the file
    update(Path("archive"), {"gain-reference.mrc": reference_sha256(Path("zeros.gain.mrc"))})


def only(name: str) -> None:
    """Delete all movies of the archive except one."""
    for path in Path("archive").glob("*.tif"):
        if path.name != name:
            path.unlink()


def damaged() -> None:
    path = Path("archive/0.mrc.tif")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def long_name() -> None:
    Path("long").mkdir()
    shutil.copy("session/0.mrc", "long/" + 248 * "a" + ".mrc")


def folder_in_the_way() -> None:
    Path("out/0.mrc").mkdir(parents=True)
    only("0.mrc.tif")


def settings(line: str) -> Callable[[], object]:
    """Return a function that writes a line to the settings of the archive."""
    return lambda: Path("archive/cryofs.toml").write_text(line)


@dataclass(frozen=True)
class Mistake:
    """A command, the parts of its error line, and the preparation of the files."""

    command: str
    message: tuple[str, ...]
    prepare: Callable[[], object] = nothing
    code: int = 1


def single(prepare: Callable[[], None]) -> Callable[[], None]:
    """Prepare an archive of a single movie."""

    def prepare_single() -> None:
        only("0.mrc.tif")
        prepare()

    return prepare_single


GAIN = ("0.mrc.tif: its gain reference", "missing or changed", "restore the right gain-reference.mrc")
DAMAGE = ("0.mrc.tif, frame ", "checksum mismatch in strip 0", "restore the file from a backup")
MISTAKES = {
    "a missing source": Mistake("compress nowhere -o new", ("nowhere: no such file", "check the path")),
    "an archive that is a file": Mistake(
        "compress session -o notes.txt", ("notes.txt: expected a folder, got a file", "rename or remove it")
    ),
    "an archive onto itself": Mistake("compress session -o session", ("session: source and archive", "with -o")),
    "an archived movie archived again": Mistake(
        "compress archive/1.mrc.tif -o new",
        ("archive/1.mrc.tif: is an archived movie that needs", "cp -a", "from a mount"),
    ),
    "a file that is not a movie": Mistake(
        "info notes.txt", ("notes.txt: not an MRC file, and its suffix is not a supported movie type", ".mrc", ".eer")
    ),
    "a movie cut short": Mistake(
        "compress cut.mrc -o new --strict", ("cut.mrc: truncated, 1000 bytes", "copy the file again")
    ),
    "an empty movie": Mistake(
        "compress empty.mrc -o new --strict",
        ("empty.mrc: file too short for an MRC header (0 bytes)", "copy the file again"),
    ),
    "an unknown mode": Mistake(
        "compress mode.mrc -o new --strict", ("mode.mrc: unsupported MRC mode", "keep this file outside")
    ),
    "a long name": Mistake(
        "compress long -o new --gain none", ("a.mrc.tif: File name too long", "251 bytes"), long_name
    ),
    "a list of missing movies": Mistake(
        "compress gone.star -o new", ("session/9.mrc: missing, but listed in gone.star", "run cryofs in the folder")
    ),
    "a list of something else": Mistake(
        "compress images.star -o new", ("images.star: contains no movie names", "_rlnMicrographMovieName")
    ),
    "an invalid list": Mistake("compress text.star -o new", ("text.star: not a valid STAR file", ".lst")),
    "a missing gain": Mistake("compress session -o new --gain no.mrc", ("no.mrc: ", "pass another file")),
    "a gain of zeros": Mistake(
        "compress session -o new --gain zeros.gain.mrc",
        ("zeros.gain.mrc: the gain reference has no positive value", "pass another file, or auto"),
    ),
    "a gain of NaN": Mistake(
        "compress session -o new --gain nan.gain.mrc",
        ("nan.gain.mrc: the gain reference has no positive value", "pass another file, or auto"),
    ),
    "a gain that is a movie": Mistake(
        "compress session -o new --gain session/0.mrc",
        ("session/0.mrc: not a gain reference", "one frame of mode 2"),
    ),
    "a gain that is not an MRC file": Mistake(
        "compress session -o new --gain notes.txt",
        ("notes.txt: not a valid gain reference (", "6 bytes", "pass another file"),
    ),
    "a missing EER gain": Mistake(
        "compress eer -o new --eer tiff --eer-grouping 5 --eer-gain no.gain", ("no.gain: ", "pass another file")
    ),
    "an EER gain of another detector": Mistake(
        "compress eer -o new --eer tiff --eer-grouping 5 --eer-gain small.gain.mrc",
        ("small.gain.mrc: size mismatch of the gain reference", "of this detector"),
    ),
    "an EER movie without a pixel size": Mistake(
        "compress eer -o new --eer tiff --eer-dose-per-fraction 1",
        ("x.eer: ", "pass --eer-pixel-size or --eer-grouping"),
    ),
    "verifying an original": Mistake(
        "verify session/0.mrc", ("session/0.mrc: not an archived movie", "no recorded checksum", "cryofs adopt")
    ),
    "verifying without the gain": Mistake("verify archive", GAIN, single(without_reference)),
    "verifying with another gain": Mistake("verify archive", GAIN, single(other_reference)),
    "extracting without the gain": Mistake("extract archive -o out", GAIN, single(without_reference)),
    "verifying a damaged movie": Mistake("verify archive", DAMAGE, single(damaged)),
    "extracting a damaged movie": Mistake("extract archive -o out", DAMAGE, single(damaged)),
    "a preview of a damaged movie": Mistake("preview archive/0.mrc.tif -o x.png", DAMAGE, damaged),
    "extracting onto a folder": Mistake(
        "extract archive -o out", ("out/0.mrc: Is a directory", "move the existing folder away"), folder_in_the_way
    ),
    "a page in a missing folder": Mistake(
        "report archive -o no/x.html", ("no/x.html: folder does not exist", "mkdir -p no")
    ),
    "a picture in a missing folder": Mistake(
        "preview archive/0.mrc.tif -o no/x.png", ("no/x.png: folder does not exist", "mkdir -p no")
    ),
    "info about a folder": Mistake("info archive", ("archive: no EER files in this folder", "pass a movie")),
    "a missing archive": Mistake("mount nowhere mnt", ("nowhere: No such file", "check the path")),
    "settings of a missing archive": Mistake("config nowhere", ("nowhere: No such file", "check the path")),
    "a report of a missing archive": Mistake("report nowhere -o x.html", ("nowhere: No such file", "check the path")),
    "settings of a file": Mistake("config notes.txt", ("notes.txt: Not a directory", "pass a folder")),
    "a movie as archive": Mistake("mount session/0.mrc mnt", ("0.mrc: Not a directory", "pass a folder")),
    "a missing mountpoint": Mistake(
        "mount archive nowhere", ("nowhere: mountpoint does not exist", "create the folder first")
    ),
    "a file as mountpoint": Mistake("mount archive notes.txt", ("notes.txt: not a folder", "as mountpoint")),
    "a mountpoint in the archive": Mistake(
        "mount archive archive/mnt",
        ("archive/mnt: inside the archive", "mount elsewhere"),
        Path("archive/mnt").mkdir,
    ),
    "an archive in the mountpoint": Mistake("mount archive .", (": contains the archive", "mount elsewhere")),
    "archive and mountpoint swapped": Mistake(
        "mount mnt archive", ("mnt: archive is empty", "cryofs mount ", "/archive ")
    ),
    "an invalid size": Mistake(
        "mount archive mnt --cache-size 4GX", ("cache_size", "invalid size '4GX'", "4GiB"), code=2
    ),
    "an invalid address": Mistake(
        "mount archive mnt --metrics 99999", ("metrics: invalid address '99999'", "HOST:PORT"), code=2
    ),
    "an unknown setting": Mistake(
        "mount archive mnt",
        ("cryofs.toml: unknown setting 'cache_sise'", "did you mean cache_size?"),
        settings("cache_sise = 4"),
    ),
    "an invalid setting": Mistake("mount archive mnt", ("cryofs.toml: ", "jobs"), settings("jobs = 0")),
    "unmounting what is not mounted": Mistake("umount mnt", ("mnt: not a cryofs mount", "findmnt")),
}
