"""What commands print: progress and messages on standard error, results on standard output.

On a terminal progress is a bar; elsewhere each finished file is a line. With `--json`, standard output holds one JSON
object and nothing else.
"""

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cryofs.error_hints import explain
from cryofs.errors import SettingsError
from cryofs.text import printable


def one_line(error: Exception) -> str:
    """An error as one line that names the file."""
    text = explain(error) if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(text.split()))


def check_result(file: Path) -> None:
    """Tell before long work that its result cannot be put there: something that is no file, or a missing folder.

    A result takes its name by a rename, which would put a file in the place of a device, as /dev/stdout.
    """
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise SettingsError(f"{file}: a link, a folder or a device; name a file, which may be new")
    if not file.parent.is_dir():
        raise SettingsError(f"{file}: its folder is missing; create it first (mkdir -p {file.parent})")


def print_json(facts: dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(facts, indent=2))


class Reporter:
    """A progress bar on a terminal, plain lines elsewhere; messages never tear the bar."""

    def __init__(self, unit: str = "frames"):
        self._console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task: Any = None

    def begin(self, description: str, total: int) -> None:
        """Show a bar for work of this size."""
        self._task = self._progress.add_task(description, total=total)

    def advance(self, count: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, count)

    def line(self, text: str) -> None:
        """Print a line on standard error."""
        self._console.print(printable(text))

    def error(self, error: Exception) -> None:
        """Print an error as one line."""
        self._console.print(f"cryofs: {one_line(error)}")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        sys.stderr.flush()
