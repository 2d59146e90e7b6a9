"""Read a damaged file with the library, the commands and a mount, and check the guarantees of cryofs.

Each violated guarantee is reported as a line of text. `tests.corpus.run` calls this module in a separate process,
because a decoder may crash.
"""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from cryofs.config.settings import load_settings
from cryofs.formats.archive_names import original_name
from cryofs.formats.record import HEAD_BYTES, MARK
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.vfs.file_system import FileSystem
from tests.corpus.changes import has_footer
from tests.corpus.finding import (
    Finding,
    checked_logs,
    command,
    mounted,
    one_command,
    others_are_intact,
    peak_memory,
    read_whole,
    reset_peak,
    small_settings,
)
from tests.corpus.mutants import Mutant
from tests.corpus.reading_eer import read_eer, read_eer_gain
from tests.corpus.reading_unpacked import read_normalised, read_packed
from tests.corpus.specimen import Specimen
from tests.support import listed_in


def examine(mutant: Mutant, work: Path) -> Finding:
    """Put a damaged file next to the intact files of its specimen, and read it in all ways that a user would."""
    finding = Finding()
    specimen = mutant.specimen
    folder = work / specimen.name
    if not folder.exists():
        shutil.copytree(specimen.folder, folder, copy_function=_copy)
    place = folder / specimen.file
    place.unlink(missing_ok=True)
    if mutant.data is not None:
        place.write_bytes(mutant.data)
    reset_peak()
    started = time.monotonic()
    with checked_logs(finding):
        _WAYS[specimen.kind](mutant, folder, work / "out", finding)
    finding.seconds = time.monotonic() - started
    finding.peak_bytes = peak_memory()
    shutil.rmtree(work / "out", ignore_errors=True)
    return finding


def _copy(source: str, target: str) -> None:
    shutil.copy2(source, target)


def _is_ours(data: bytes | None) -> bool:
    """Return True if a file is still recognisable as written by cryofs."""
    return data is not None and (has_footer(data) or MARK.encode() in data[:HEAD_BYTES])


def _read_victim(files: FileSystem, specimen: Specimen, finding: Finding, named: str) -> bool:
    """Read an archived movie in pieces; return True if all pieces were read."""
    right = specimen.shown[specimen.victim]
    before = len(finding.errors)
    handle = 0
    with finding.reporting("open", named):
        # no damage may stop a walk of the tree
        size = files.attributes(specimen.victim).size
        finding.expect(size > 0, "stat shows an empty file")
        handle = files.open(specimen.victim)
        finding.expect(size == len(right), "stat shows another size than that of what can be read")
    if not handle:
        return False
    frames = (len(right) - specimen.header_bytes) // specimen.frame_bytes
    ends = [specimen.header_bytes + index * specimen.frame_bytes for index in range(frames + 1)]
    pieces = [("header", 0, ends[0]), ("trailing bytes", ends[-1], len(right))]
    pieces += [(f"frame {index}", ends[index], ends[index + 1]) for index in range(frames)]
    for what, start, end in pieces:
        # a missing gain reference affects all frames
        which = f"{what}\\b|gain reference" if what.startswith("frame") else ""
        with finding.reporting(f"reading {what}", named, which):
            finding.expect_bytes(bytes(files.read(handle, end - start, start)), right[start:end], what)
    files.release(handle)
    return len(finding.errors) == before


def _archived(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    specimen = mutant.specimen
    if specimen.kind == "archived" and not _is_ours(mutant.data):
        _foreign(mutant, folder, out, finding)
        return
    path = folder / "movie.mrc.tif"
    counts = "/@counts/movie.mrc"
    with mounted(folder, small_settings()) as files:
        whole = _read_victim(files, specimen, finding, r"movie\.mrc\.tif")
        if counts in specimen.shown:
            with finding.reporting("counts", r"movie\.mrc\.tif"):
                finding.expect_bytes(read_whole(files, counts), specimen.shown[counts], counts)
        others_are_intact(files, specimen, finding, {specimen.victim, counts})
        if mutant.data is not None:
            finding.expect_bytes(read_whole(files, f"/@archive/{specimen.file}"), mutant.data, specimen.file)
    described, text = one_command(finding, ["info", path, "--json"], r"movie\.mrc\.tif")
    if described:
        json.loads(text)
    good, _ = one_command(finding, ["verify", path, "--jobs", 1], r"movie\.mrc\.tif")
    _verify_folder(folder, good, finding)
    finding.expect(whole or not good, "verify reports success, but parts are not readable")
    extracted, _ = one_command(finding, ["extract", path, "-o", out, "--jobs", 1], r"movie\.mrc\.tif")
    finding.expect(whole or not extracted, "extract succeeded, but parts are not readable")
    finding.expect(extracted or not good, "verify reports success, but extract fails")
    if extracted:
        finding.expect_bytes((out / "movie.mrc").read_bytes(), specimen.shown[specimen.victim], "extracted")
    elif out.exists():
        finding.expect(not list(out.iterdir()), f"extract left {list(out.iterdir())}")


def _verify_folder(folder: Path, good: bool, finding: Finding) -> None:
    """Check that verifying the folder reports the same as verifying the movie."""
    found, _ = command(finding, ["verify", folder, "--jobs", 1], *([] if good else [r"movie\."]))
    finding.expect(
        found == good, f"verify of the folder reports {'good' if found else 'damaged'}, unlike verify of the movie"
    )


def _adopted(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    """Check the frames of an adopted TIFF movie, and extract the unchanged TIFF."""
    specimen, data = mutant.specimen, mutant.data
    assert data is not None
    if not has_footer(data):
        _foreign(mutant, folder, out, finding)
        return
    path, named = folder / specimen.file, re.escape(specimen.file)
    with mounted(folder, small_settings()) as files:
        whole = _read_victim(files, specimen, finding, named)
        finding.expect_bytes(read_whole(files, f"/{specimen.file}"), data, specimen.file)
        others_are_intact(files, specimen, finding, {specimen.victim})
    described, text = one_command(finding, ["info", path, "--json"], named)
    if described:
        json.loads(text)
    good, _ = one_command(finding, ["verify", path, "--jobs", 1], named)
    finding.expect(whole or not good, "verify reports success, but parts are not readable")
    extracted, _ = one_command(finding, ["extract", path, "-o", out, "--jobs", 1], named)
    finding.expect(extracted or not good, "verify reports success, but extract fails")
    if extracted:
        right = [_tiff_of(specimen)]
        if "adopted" in mutant.label:
            # a record without the adopted TIFF is that of an MRC file
            right.append(specimen.shown[specimen.victim])
        found = (out / specimen.file).read_bytes()
        finding.expect_bytes(found, found if found in right else right[0], "extracted")


def _tiff_of(specimen: Specimen) -> bytes:
    """Return the adopted TIFF: all bytes before the header blob of the record."""
    with ArchivedMovie(specimen.folder / specimen.file, GainLibrary()) as movie:
        assert movie.record.adopted is not None
        return specimen.data[: movie.record.adopted.bytes]


def _foreign(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    """Check a TIFF that cryofs did not write, or that is no longer recognisable as such."""
    specimen, data = mutant.specimen, mutant.data
    assert data is not None
    path = folder / specimen.file
    shown = f"/{specimen.file}"
    named = re.escape(specimen.file)
    with mounted(folder, small_settings()) as files:
        finding.expect_bytes(read_whole(files, shown), data, shown)
        others_are_intact(files, specimen, finding, {specimen.victim, f"/@counts/{original_name(specimen.file)}"})
        if "movie.mrc" in [name for name, _ in listed_in(files, "/")]:
            # without checksums, any pixels are acceptable
            with finding.reporting("frames", named):
                read_whole(files, "/movie.mrc")
    described, text = one_command(finding, ["info", path, "--json"], named)
    if described:
        finding.expect(json.loads(text)["format"] == "tiff", "info reports an archived movie")
    done, _ = one_command(finding, ["verify", path, "--jobs", 1], named)
    finding.expect(not done, "verify accepts it as an archived movie")
    if specimen.kind == "archived":
        # the name marks it as an archived movie
        _verify_folder(folder, False, finding)
        done, _ = one_command(finding, ["extract", path, "-o", out / "extracted", "--jobs", 1], named)
        finding.expect(not done, "extract gives it out as a file")
    elif original_name(specimen.file) is None or len(data) >= HEAD_BYTES:
        _extracted(path, data, out / "extracted", finding)
    _adopt(path, data, out, finding)


def _extracted(path: Path, data: bytes, out: Path, finding: Finding) -> None:
    """Check that a file other than an archived movie, or an adopted one, is extracted unchanged."""
    done, _ = one_command(finding, ["extract", path, "-o", out, "--jobs", 1])
    finding.expect(done, "extract fails")
    if done:
        finding.expect_bytes((out / path.name).read_bytes(), data, "extracted")


def _adopt(path: Path, data: bytes, out: Path, finding: Finding) -> None:
    """Check that adopting a TIFF movie results in a valid movie, or leaves the file unchanged."""
    out.mkdir(exist_ok=True)
    copy = Path(shutil.copy(path, out))
    done, _ = one_command(finding, ["adopt", copy, "--jobs", 1], re.escape(path.name))
    if not done:
        finding.expect_bytes(copy.read_bytes(), data, "not adopted, and changed")
        return
    good, _ = one_command(finding, ["verify", copy, "--jobs", 1])
    finding.expect(good, "verify rejects the movie just adopted")
    _extracted(copy, data, out / "adopted", finding)


def _gain(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    before = len(finding.errors)
    _archived(mutant, folder, out, finding)
    finding.expect(len(finding.errors) > before, "a wrong gain reference was accepted")


def _source(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    """Check that any content of a source file is restored."""
    source = folder / "movie.mrc"
    one_command(finding, ["info", source, "--json"], r"movie\.mrc")
    done, _ = one_command(finding, ["compress", source, "-o", out / "archive", "--jobs", 1], r"movie\.mrc")
    if done:
        assert mutant.data is not None
        with mounted(out / "archive", small_settings()) as files:
            finding.expect_bytes(read_whole(files, "/movie.mrc"), mutant.data, "/movie.mrc")
        good, _ = one_command(finding, ["verify", out / "archive", "--jobs", 1])
        finding.expect(good, "verify rejects the file just archived")
    elif (out / "archive").exists():
        left = [path.name for path in (out / "archive").iterdir()]
        finding.expect("movie.mrc.tif" not in left and not any("draft" in name for name in left), f"left {left}")
    both = [folder / "movie.mrc", folder / "other.mrc"]
    command(finding, ["estimate-gain", *both, "-o", out / "gain", "--jobs", 1, "--max-frames", 8])


def _settings_file(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    settings = None
    with finding.reporting("settings", r"cryofs\.toml"):
        settings = load_settings(folder, {"jobs": 1})
    if settings is not None:
        with finding.reporting("mount"), mounted(folder, settings) as files:
            finding.expect(len(listed_in(files, "/")) == 3, "names are missing")
            with finding.reporting("fractions"):
                read_whole(files, "/other.mrc")


def _list(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    path = folder / mutant.specimen.file
    command(finding, ["compress", path, "-o", out / "archive", "--jobs", 1])
    command(finding, ["verify", path, "--jobs", 1])
    command(finding, ["extract", path, "-o", out / "back", "--jobs", 1])
    command(finding, ["stats", path])
    for name in ("movie.mrc", "other.mrc"):
        if (out / "archive" / f"{name}.tif").exists():
            done, _ = one_command(finding, ["extract", out / "archive" / f"{name}.tif", "-o", out / "again"])
            finding.expect(done, f"extract of {name} fails")
            finding.expect_bytes((out / "again" / name).read_bytes(), (folder / name).read_bytes(), name)


def _state(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    shutil.copytree(folder, out, copy_function=_copy)
    one_command(finding, ["estimate-gain", folder / "movie.mrc", "-o", out, "--jobs", 1], "estimate|gain")


_WAYS: dict[str, Callable[[Mutant, Path, Path, Finding], None]] = {
    "archived": _archived,
    "adopted": _adopted,
    "gain": _gain,
    "eer": read_eer,
    "footer eer": read_eer,
    "eer gain": read_eer_gain,
    "foreign": _foreign,
    "normalised": read_normalised,
    "normalised gain": read_normalised,
    "packed": read_packed,
    "source": _source,
    "settings": _settings_file,
    "list": _list,
    "state": _state,
}
