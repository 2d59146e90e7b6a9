"""Result of reading a damaged file, and the checks that all kinds of files share."""

import contextlib
import io
import logging
import re
import threading
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryofs.cli.app import run
from cryofs.config.settings import Settings, Size
from cryofs.errors import CryofsError
from cryofs.vfs.file_system import FileSystem
from tests.corpus.eer_specimens import EER_GROUPING
from tests.corpus.specimen import Specimen
from tests.support import listed_in

# lines of progress
_USUAL = re.compile(
    r": good$|: restored$|: no checksum$| -> |^looking for |^stopped: |^nothing to do: |pixels have no gain|^next: "
)


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


@contextlib.contextmanager
def checked_logs(finding: Finding) -> Iterator[None]:
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


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


def command(finding: Finding, arguments: list[object], *named: str) -> tuple[bool, str]:
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
    finding.expect("a bug in cryofs" not in errors.getvalue(), f"{what}: {reported[:1]}")
    for line in reported:
        finding.expect(len(line) < 1000, f"{what}: an error of {len(line)} characters: {line[:200]}")
    for name in named:
        finding.expect(any(re.search(name, line) for line in reported), f"{what}: {reported[:1]} names no {name}")
    finding.errors += [what] * len(reported)
    return False, output.getvalue()


def one_command(finding: Finding, arguments: list[object], *named: str) -> tuple[bool, str]:
    """Run a command on one file, which must print at most one error line."""
    before = len(finding.errors)
    done, output = command(finding, arguments, *named)
    if not done:
        finding.expect(len(finding.errors) <= before + 1, f"cryofs {arguments[0]}: {len(finding.errors)} errors")
    return done, output


@contextlib.contextmanager
def mounted(folder: Path, settings: Settings) -> Iterator[FileSystem]:
    files = FileSystem(folder, settings)
    files.start()
    try:
        yield files
    finally:
        files.stop()


def small_settings(**more: object) -> Settings:
    chosen = {"cache_size": Size(8 << 20), "jobs": 1, "eer_grouping": EER_GROUPING} | more
    return Settings(**chosen)  # type: ignore[arg-type]


def read_whole(files: FileSystem, path: str) -> bytes:
    handle = files.open(path)
    try:
        return bytes(files.read(handle, files.attributes(path).size, 0))
    finally:
        files.release(handle)


def others_are_intact(files: FileSystem, specimen: Specimen, finding: Finding, touched: set[str]) -> None:
    """Check that intact files and the listing are unaffected."""
    names = {f"/{name}" for name, _ in listed_in(files, "/")}
    for path, data in specimen.shown.items():
        if path in touched:
            continue
        if not path.startswith("/@"):
            finding.expect(path in names, f"{path} is not listed any more")
        before = len(finding.errors)
        with finding.reporting(path):
            finding.expect_bytes(read_whole(files, path), data, path)
        finding.expect(len(finding.errors) == before, f"{path}, which is intact, is not readable")
