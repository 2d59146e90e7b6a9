"""Read a damaged file with the library, the commands and a mount, and check the guarantees of cryofs.

Each violated guarantee is reported as a line of text. `tests.corpus.run` calls this module in a separate process,
because a decoder may crash.
"""

import contextlib
import io
import json
import logging
import re
import shutil
import struct
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cryofs.cli.app import run
from cryofs.config.settings import Settings, Size, load_settings
from cryofs.errors import CryofsError
from cryofs.formats.archive_names import original_name
from cryofs.formats.record import HEAD_BYTES, MAGIC, MARK, VERSION
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.vfs.file_system import FileSystem
from tests import plain_eer
from tests.corpus.mutants import FOOTER_BYTES, Mutant
from tests.corpus.specimens import EER_GROUPING, EER_SHAPE, EER_WIDTHS, Specimen
from tests.corpus.walker import Directory, NoTiffError, directories

# number of frames that are read of longer movies
_MOST_FRAMES = 12
# lines of progress
_USUAL = re.compile(
    r": good$|: restored$|: no checksum$| -> |^looking for |^stopped: |^nothing to do: |pixels have no gain|^next: "
)
_EER_COMPRESSIONS = (65000, 65001, 65002)


@dataclass
class Finding:
    """Result of reading a damaged file.

    Attributes
    ----------
    errors : list of str
        Types of the errors that were reported correctly.
    wrong_bytes, broken : list of str
        Violated guarantees: bytes that differ from the original; anything else.
    peak_bytes : int
        Peak memory of the process.
    """

    errors: list[str] = field(default_factory=list)
    wrong_bytes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_bytes: int = 0

    def expect(self, good: bool, promise: str) -> None:
        """Record a violated guarantee."""
        if not good:
            self.broken.append(promise)

    def expect_bytes(self, found: bytes, right: bytes, what: str) -> None:
        """Record bytes that differ from the original."""
        if found != right:
            self.wrong_bytes.append(f"{what}: {len(found)} bytes, not the {len(right)} right ones")

    @contextlib.contextmanager
    def reporting(self, what: str, *named: str) -> Iterator[None]:
        """Accept a CryofsError whose message is one line and names the damaged part; record any other exception."""
        try:
            yield
        except CryofsError as error:
            self.errors.append(type(error).__name__)
            text = str(error)
            self.expect("\n" not in text, f"{what}: an error of several lines: {text[:200]!r}")
            self.expect(len(text) < 1000, f"{what}: an error of {len(text)} characters: {text[:200]!r}")
            for name in named:
                self.expect(re.search(name, text) is not None, f"{what}: {text!r} does not name {name}")
        except Exception as error:  # noqa: BLE001 - no other exception may occur
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.broken.append(f"{what}: {type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})")


class _LogLines(logging.Handler):
    """Collects log lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


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
    _reset_peak()
    started = time.monotonic()
    with _checked_logs(finding):
        _WAYS[specimen.kind](mutant, folder, work / "out", finding)
    finding.seconds = time.monotonic() - started
    finding.peak_bytes = _peak()
    shutil.rmtree(work / "out", ignore_errors=True)
    return finding


def _copy(source: str, target: str) -> None:
    shutil.copy2(source, target)


@contextlib.contextmanager
def _checked_logs(finding: Finding) -> Iterator[None]:
    """Record errors of threads, warnings, and log messages of several lines."""
    log_lines = _LogLines()
    logger = logging.getLogger("cryofs")
    logger.addHandler(log_lines)
    before = threading.excepthook

    def note(found: threading.ExceptHookArgs) -> None:
        finding.broken.append(f"a thread ended by {found.exc_type.__name__}: {str(found.exc_value)[:200]}")

    threading.excepthook = note
    try:
        with warnings.catch_warnings():
            # a warning would appear on the terminal of the user or in the log of the mount
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_, **__: finding.broken.append(f"warning: {message}")
            yield
    finally:
        threading.excepthook = before
        logger.removeHandler(log_lines)
    for line in log_lines.lines:
        finding.expect("\n" not in line, f"logged in several lines: {line[:200]!r}")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


def _command(finding: Finding, arguments: list[object], *named: str) -> tuple[bool, str]:
    """Run a command; return success and output. Each error must be one line, and name the damaged part."""
    words = [str(argument) for argument in arguments]
    what = f"cryofs {words[0]}"
    output, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = run(words)
    except BaseException as error:  # noqa: BLE001 - no exception may occur, including SystemExit
        where = traceback.extract_tb(error.__traceback__)[-1]
        finding.broken.append(f"{what}: {type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})")
        return False, ""
    lines = errors.getvalue().splitlines()
    if code == 0:
        finding.expect(not any(line.startswith("cryofs:") for line in lines), f"{what}: an error, but done: {lines}")
        return True, output.getvalue()
    reported = [line for line in lines if line.startswith("cryofs:")]
    unexpected = [line for line in lines if not _USUAL.search(line) and line not in reported]
    finding.expect(not unexpected, f"{what}: unexpected output {unexpected[:1]}")
    finding.expect(code == 1, f"{what}: exit code {code}: {lines}")
    finding.expect(bool(reported), f"{what}: failed without an error message: {lines[:3]}")
    finding.expect("Traceback" not in errors.getvalue(), f"{what}: a traceback")
    finding.expect("a fault of cryofs" not in errors.getvalue(), f"{what}: {reported[:1]}")
    for line in reported:
        finding.expect(len(line) < 1000, f"{what}: an error of {len(line)} characters: {line[:200]}")
    for name in named:
        finding.expect(any(re.search(name, line) for line in reported), f"{what}: {reported[:1]} names no {name}")
    finding.errors += [what] * len(reported)
    return False, output.getvalue()


def _one_command(finding: Finding, arguments: list[object], *named: str) -> tuple[bool, str]:
    """Run a command on one file, which must print at most one error line."""
    before = len(finding.errors)
    done, output = _command(finding, arguments, *named)
    if not done:
        finding.expect(len(finding.errors) <= before + 1, f"cryofs {arguments[0]}: {len(finding.errors)} errors")
    return done, output


@contextlib.contextmanager
def _mounted(folder: Path, settings: Settings) -> Iterator[FileSystem]:
    files = FileSystem(folder, settings)
    files.start()
    try:
        yield files
    finally:
        files.stop()


def _settings(**more: object) -> Settings:
    chosen = {"cache_size": Size(8 << 20), "jobs": 1, "eer_grouping": EER_GROUPING} | more
    return Settings(**chosen)  # type: ignore[arg-type]


def _read_whole(files: FileSystem, path: str) -> bytes:
    handle = files.open(path)
    try:
        return bytes(files.read(handle, files.attributes(path).size, 0))
    finally:
        files.release(handle)


def _others_are_whole(files: FileSystem, specimen: Specimen, finding: Finding, touched: set[str]) -> None:
    """Check that intact files and the listing are unaffected."""
    names = {f"/{name}" for name, _ in files.names("/")}
    for path, data in specimen.shown.items():
        if path in touched:
            continue
        if not path.startswith("/@"):
            finding.expect(path in names, f"{path} is not listed any more")
        before = len(finding.errors)
        with finding.reporting(path):
            finding.expect_bytes(_read_whole(files, path), data, path)
        finding.expect(len(finding.errors) == before, f"{path}, which is intact, is not readable")


def _is_ours(data: bytes | None) -> bool:
    """Return True if a file is still recognisable as written by cryofs."""
    return data is not None and (_has_footer(data) or MARK.encode() in data[:HEAD_BYTES])


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
    with _mounted(folder, _settings()) as files:
        whole = _read_victim(files, specimen, finding, r"movie\.mrc\.tif")
        if counts in specimen.shown:
            with finding.reporting("counts", r"movie\.mrc\.tif"):
                finding.expect_bytes(_read_whole(files, counts), specimen.shown[counts], counts)
        _others_are_whole(files, specimen, finding, {specimen.victim, counts})
        if mutant.data is not None:
            finding.expect_bytes(_read_whole(files, f"/@archive/{specimen.file}"), mutant.data, specimen.file)
    described, text = _one_command(finding, ["info", path, "--json"], r"movie\.mrc\.tif")
    if described:
        json.loads(text)
    good, _ = _one_command(finding, ["verify", path, "--jobs", 1], r"movie\.mrc\.tif")
    _verify_folder(folder, good, finding)
    finding.expect(whole or not good, "verify reports success, but parts are not readable")
    extracted, _ = _one_command(finding, ["extract", path, "-o", out, "--jobs", 1], r"movie\.mrc\.tif")
    finding.expect(whole or not extracted, "extract succeeded, but parts are not readable")
    finding.expect(extracted or not good, "verify reports success, but extract fails")
    if extracted:
        finding.expect_bytes((out / "movie.mrc").read_bytes(), specimen.shown[specimen.victim], "extracted")
    elif out.exists():
        finding.expect(not list(out.iterdir()), f"extract left {list(out.iterdir())}")


def _verify_folder(folder: Path, good: bool, finding: Finding) -> None:
    """Check that verifying the folder reports the same as verifying the movie."""
    found, _ = _command(finding, ["verify", folder, "--jobs", 1], *([] if good else [r"movie\."]))
    finding.expect(
        found == good, f"verify of the folder reports {'good' if found else 'damaged'}, unlike verify of the movie"
    )


def _adopted(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    """Check the frames of an adopted TIFF movie, and extract the unchanged TIFF."""
    specimen, data = mutant.specimen, mutant.data
    assert data is not None
    if not _has_footer(data):
        _foreign(mutant, folder, out, finding)
        return
    path, named = folder / specimen.file, re.escape(specimen.file)
    with _mounted(folder, _settings()) as files:
        whole = _read_victim(files, specimen, finding, named)
        finding.expect_bytes(_read_whole(files, f"/{specimen.file}"), data, specimen.file)
        _others_are_whole(files, specimen, finding, {specimen.victim})
    described, text = _one_command(finding, ["info", path, "--json"], named)
    if described:
        json.loads(text)
    good, _ = _one_command(finding, ["verify", path, "--jobs", 1], named)
    finding.expect(whole or not good, "verify reports success, but parts are not readable")
    extracted, _ = _one_command(finding, ["extract", path, "-o", out, "--jobs", 1], named)
    finding.expect(extracted or not good, "verify reports success, but extract fails")
    if extracted:
        right = [_tiff_of(specimen)]
        if "adopted" in mutant.label:
            # a record without the adopted TIFF is that of an MRC file
            right.append(specimen.shown[specimen.victim])
        found = (out / specimen.file).read_bytes()
        finding.expect_bytes(found, found if found in right else right[0], "extracted")


def _has_footer(data: bytes) -> bool:
    """Return True if a file still ends with a footer, even a damaged one."""
    if len(data) < FOOTER_BYTES:
        return False
    # a damaged magic is recognised by version and zero after it, and by the location of the record
    magic, version, zero, offset, length = struct.unpack_from("<8sIIQQ", data, len(data) - FOOTER_BYTES)
    return magic == MAGIC or (1 <= version <= VERSION and (zero, offset + length + FOOTER_BYTES) == (0, len(data)))


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
    with _mounted(folder, _settings()) as files:
        finding.expect_bytes(_read_whole(files, shown), data, shown)
        _others_are_whole(files, specimen, finding, {specimen.victim, f"/@counts/{original_name(specimen.file)}"})
        if "movie.mrc" in [name for name, _ in files.names("/")]:
            # without checksums, any pixels are acceptable
            with finding.reporting("frames", named):
                _read_whole(files, "/movie.mrc")
    described, text = _one_command(finding, ["info", path, "--json"], named)
    if described:
        finding.expect(json.loads(text)["format"] == "tiff", "info reports an archived movie")
    done, _ = _one_command(finding, ["verify", path, "--jobs", 1], named)
    finding.expect(not done, "verify accepts it as an archived movie")
    if specimen.kind == "archived":
        # the name marks it as an archived movie
        _verify_folder(folder, False, finding)
        done, _ = _one_command(finding, ["extract", path, "-o", out / "extracted", "--jobs", 1], named)
        finding.expect(not done, "extract gives it out as a file")
    elif original_name(specimen.file) is None or len(data) >= HEAD_BYTES:
        _extracted(path, data, out / "extracted", finding)
    _adopt(path, data, out, finding)


def _extracted(path: Path, data: bytes, out: Path, finding: Finding) -> None:
    """Check that a file other than an archived movie, or an adopted one, is extracted unchanged."""
    done, _ = _one_command(finding, ["extract", path, "-o", out, "--jobs", 1])
    finding.expect(done, "extract fails")
    if done:
        finding.expect_bytes((out / path.name).read_bytes(), data, "extracted")


def _adopt(path: Path, data: bytes, out: Path, finding: Finding) -> None:
    """Check that adopting a TIFF movie results in a valid movie, or leaves the file unchanged."""
    out.mkdir(exist_ok=True)
    copy = Path(shutil.copy(path, out))
    done, _ = _one_command(finding, ["adopt", copy, "--jobs", 1], re.escape(path.name))
    if not done:
        finding.expect_bytes(copy.read_bytes(), data, "not adopted, and changed")
        return
    good, _ = _one_command(finding, ["verify", copy, "--jobs", 1])
    finding.expect(good, "verify rejects the movie just adopted")
    _extracted(copy, data, out / "adopted", finding)


@dataclass(frozen=True)
class _Fractions:
    """Result of a plain EER decoder: images (None for a fraction without intact frames), and damaged frames."""

    images: list[bytes | None]
    damaged: list[list[int]]


def _plain_fractions(data: bytes) -> _Fractions | None:
    """Return the fractions of an EER file, or None if it is not an EER file."""
    total = EER_SHAPE[0] * EER_SHAPE[1]
    try:
        found = [one for one in directories(data) if _value(one, 259) in _EER_COMPRESSIONS]
        strips = [directory.strips for directory in found]
    except (NoTiffError, KeyError, ValueError):
        return None
    frames = []
    for directory, places in zip(found, strips, strict=True):
        facts = [_value(directory, tag) for tag in (257, 256, 259)]
        if facts != [*EER_SHAPE, EER_WIDTHS.compression]:
            return None
        inside = all(offset + size <= len(data) for offset, size in places)
        stream = b"".join(data[offset : offset + size] for offset, size in places)
        frames.append(plain_eer.decode(stream, total, EER_WIDTHS) if inside else None)
    images: list[bytes | None] = []
    damaged = []
    grouping = min(EER_GROUPING, len(frames))
    for first in range(0, len(frames) - grouping + 1, grouping) if frames else ():
        group = frames[first : first + grouping]
        parts = [plain_eer.image(events, EER_SHAPE, 1, EER_WIDTHS) for events in group if events is not None]
        images.append(np.sum(parts, axis=0, dtype=np.int64).astype("<i2").tobytes() if parts else None)
        damaged.append([first + index for index, events in enumerate(group) if events is None])
    return _Fractions(images, damaged)


def _value(directory: Directory, tag: int) -> int | None:
    entry = directory.entries.get(tag)
    return entry.values[0] if entry is not None and entry.values else None


def _read_fractions(files: FileSystem, mutant: Mutant, expected: _Fractions | None, finding: Finding) -> None:
    specimen = mutant.specimen
    size = files.attributes("/movie.mrc").size
    count = (size - specimen.header_bytes) // specimen.frame_bytes
    handle = files.open("/movie.mrc")
    # if all frames have another size in their tags, the file is valid with that size
    if specimen.kind == "eer" and "everywhere" not in mutant.label:
        finding.expect(expected is not None and count == len(expected.images), f"{count} fractions")
    finding.expect(len(files.read(handle, 1024, 0)) == 1024, "a short header")
    images = expected.images if expected is not None else []
    for index in range(min(count, _MOST_FRAMES)):
        start = specimen.header_bytes + index * specimen.frame_bytes
        with finding.reporting(f"fraction {index}", r"movie\.eer"):
            found = bytes(files.read(handle, specimen.frame_bytes, start))
            if index < len(images):
                # no bytes are correct for a fraction without an intact frame
                finding.expect_bytes(found, images[index] or b"", f"fraction {index}")
    files.release(handle)
    reported = (files.file_facts("/movie.mrc") or {})["damaged_frames"]
    if expected is not None:
        left_out = {frame for frames in expected.damaged for frame in frames}
        finding.expect(left_out <= set(reported), f"excluded {left_out}, but reported {reported}")


def _eer(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    specimen, data = mutant.specimen, mutant.data
    assert data is not None
    expected = _plain_fractions(data) if specimen.kind == "eer" else None
    with _mounted(folder, _settings()) as files:
        finding.expect_bytes(_read_whole(files, "/movie.eer"), data, "/movie.eer")
        if "movie.mrc" in {name for name, _ in files.names("/")}:
            with finding.reporting("fractions", r"movie\.eer"):
                _read_fractions(files, mutant, expected, finding)
        else:
            with contextlib.suppress(FileNotFoundError):
                files.attributes("/movie.mrc")
                finding.expect(False, "fractions that are not listed are found")
            named = any("movie.eer: " in line for line in files.facts()["damaged"])
            finding.expect(named, "the mount has no fractions and reports no reason")
        _others_are_whole(files, specimen, finding, {"/movie.eer", "/movie.mrc"})
    _one_command(finding, ["info", folder / "movie.eer", "--json", "--jobs", 1], r"movie\.eer")
    arguments = ["compress", folder / "movie.eer", "-o", out, "--jobs", 1, "--eer", "tiff"]
    done, _ = _one_command(finding, [*arguments, "--eer-grouping", EER_GROUPING], r"movie\.eer")
    if done and expected is not None:
        finding.expect(None not in expected.images, "stored a fraction without an intact frame")
        _one_command(finding, ["extract", out / "movie.mrc.tif", "-o", out / "back", "--jobs", 1])
        finding.expect_bytes(
            (out / "back" / "movie.mrc").read_bytes()[1024:], b"".join(filter(None, expected.images)), "stored"
        )


def _eer_gain(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    """Check that damage of a gain reference without checksum is reported if detectable, and nothing is padded."""
    specimen = mutant.specimen
    with finding.reporting("fractions", "detector.gain"):
        settings = _settings(eer_gain=str(folder / specimen.file), eer_apply_gain=True)
        with _mounted(folder, settings) as files:
            shown = specimen.shown[specimen.victim]
            found = _read_whole(files, "/movie.mrc")
            finding.expect(len(found) == len(shown), "another size")
            if mutant.data is not None and "cut at" in mutant.label:
                finding.expect_bytes(found, shown, "with a gain reference that is cut")


def _gain(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    before = len(finding.errors)
    _archived(mutant, folder, out, finding)
    finding.expect(len(finding.errors) > before, "a wrong gain reference was accepted")


def _source(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    """Check that any content of a source file is restored."""
    source = folder / "movie.mrc"
    _one_command(finding, ["info", source, "--json"], r"movie\.mrc")
    done, _ = _one_command(finding, ["compress", source, "-o", out / "archive", "--jobs", 1], r"movie\.mrc")
    if done:
        assert mutant.data is not None
        with _mounted(out / "archive", _settings()) as files:
            finding.expect_bytes(_read_whole(files, "/movie.mrc"), mutant.data, "/movie.mrc")
        good, _ = _one_command(finding, ["verify", out / "archive", "--jobs", 1])
        finding.expect(good, "verify rejects the file just archived")
    elif (out / "archive").exists():
        left = [path.name for path in (out / "archive").iterdir()]
        finding.expect("movie.mrc.tif" not in left and not any("draft" in name for name in left), f"left {left}")
    both = [folder / "movie.mrc", folder / "other.mrc"]
    _command(finding, ["estimate-gain", *both, "-o", out / "gain", "--jobs", 1, "--max-frames", 8])


def _settings_file(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    settings = None
    with finding.reporting("settings", r"cryofs\.toml"):
        settings = load_settings(folder, {"jobs": 1})
    if settings is not None:
        with finding.reporting("mount"), _mounted(folder, settings) as files:
            finding.expect(len(files.names("/")) == 3, "names are missing")
            with finding.reporting("fractions"):
                _read_whole(files, "/other.mrc")


def _list(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    path = folder / mutant.specimen.file
    _command(finding, ["compress", path, "-o", out / "archive", "--jobs", 1])
    _command(finding, ["verify", path, "--jobs", 1])
    _command(finding, ["extract", path, "-o", out / "back", "--jobs", 1])
    _command(finding, ["stats", path])
    for name in ("movie.mrc", "other.mrc"):
        if (out / "archive" / f"{name}.tif").exists():
            done, _ = _one_command(finding, ["extract", out / "archive" / f"{name}.tif", "-o", out / "again"])
            finding.expect(done, f"extract of {name} fails")
            finding.expect_bytes((out / "again" / name).read_bytes(), (folder / name).read_bytes(), name)


def _state(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    shutil.copytree(folder, out, copy_function=_copy)
    _one_command(finding, ["estimate-gain", folder / "movie.mrc", "-o", out, "--jobs", 1], "estimate|gain")


_WAYS: dict[str, Callable[[Mutant, Path, Path, Finding], None]] = {
    "archived": _archived,
    "adopted": _adopted,
    "gain": _gain,
    "eer": _eer,
    "footer eer": _eer,
    "eer gain": _eer_gain,
    "foreign": _foreign,
    "source": _source,
    "settings": _settings_file,
    "list": _list,
    "state": _state,
}
