"""Output of commands: progress and messages on standard error, results on standard output.

Progress is a bar on a terminal and one line per finished file elsewhere. With `--json`, standard output contains one
JSON object and nothing else.
"""

import contextlib
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryofs.error_hints import explain
from cryofs.errors import SettingsError
from cryofs.system import notices
from cryofs.text import percent, printable, size_text


def one_line(error: Exception) -> str:
    """Return an error as one line that names the file; control characters are escaped."""
    text = explain(error) if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text)


def check_result(file: Path) -> None:
    """Raise SettingsError if a result cannot be written to this path; call this before long work.

    Writing ends with a rename, which would replace a link or a device such as /dev/stdout.
    """
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise SettingsError(f"{file}: not a regular file; pass the path of a regular or new file")
    if not file.parent.is_dir():
        raise SettingsError(f"{file}: folder does not exist; create it (mkdir -p {file.parent})")


def print_json(facts: dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(facts, indent=2))


class Reporter:
    """Progress bar on a terminal, plain lines elsewhere; messages are printed above the bar."""

    def __init__(self, unit: str = "frames"):
        # imported late, because the import takes longer than the whole report of a usage error
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn() if unit == "bytes" else TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task: Any = None
        self._notices = contextlib.ExitStack()

    def begin(self, description: str, total: int) -> None:
        """Show a progress bar for `total` units of work."""
        self._task = self._progress.add_task(description, total=total)

    def advance(self, count: int) -> None:
        """Advance the bar by `count` units."""
        if self._task is not None:
            self._progress.advance(self._task, count)

    def update(self, description: str, completed: int, total: int) -> None:
        """Show a bar of work whose total may change."""
        if self._task is None:
            self.begin(description, total)
        self._progress.update(self._task, completed=completed, total=total)

    @property
    def is_terminal(self) -> bool:
        """True if bars are shown."""
        return not self._progress.disable

    def line(self, text: str) -> None:
        """Print a line on standard error."""
        self._console.print(printable(text))

    def error(self, error: Exception) -> None:
        """Print an error as one line on standard error."""
        self._console.print(f"cryofs: {one_line(error)}")

    def __enter__(self) -> Self:
        self._notices.enter_context(notices.shown(self.line))
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._notices.close()
        self._progress.stop()
        sys.stderr.flush()


class MovieProgress:
    """Progress of a run that archives movies, on a reporter."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter

    def begin(self, movies: int, frames: int) -> None:
        """Show a progress bar for movies with a total number of frames."""
        self._reporter.begin(f"{movies} movies", frames)

    def frames(self, count: int) -> None:
        """Advance the bar by a number of frames."""
        self._reporter.advance(count)

    def movie_done(self, name: Path, original_bytes: int, stored_bytes: int) -> None:
        """Print the sizes of an archived movie."""
        ratio = percent(stored_bytes / original_bytes)
        self._reporter.line(f"{name}: {size_text(original_bytes)} -> {size_text(stored_bytes)} ({ratio})")

    def note(self, text: str) -> None:
        """Print a message."""
        self._reporter.line(text)
