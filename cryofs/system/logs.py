"""Log of a mount, with one line per event as text or JSON, in a file, on a terminal or in the journal."""

import datetime
import json
import logging
import os
import sys
import traceback
from typing import Literal, TextIO

from cryofs.text import printable

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]

# priorities of journal lines (sd-daemon(3))
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def set_up(level: Level, layout: Format, stream: TextIO = sys.stderr) -> None:
    """Write log messages of `level` and above to a stream, by default standard error."""
    handler = logging.StreamHandler(stream)
    if layout == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(JournalFormatter() if is_journal(stream) else LineFormatter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def is_journal(stream: TextIO) -> bool:
    """Return True if a stream is connected to the journal, which adds the time to each line (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class LineFormatter(logging.Formatter):
    """Format time, level and message as one line, with type and traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a log record."""
        return f"{_time(record)} cryofs {record.levelname}: {_message(record)}"


class JournalFormatter(logging.Formatter):
    """Format priority and message as one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a log record."""
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{_message(record)}"


class JsonFormatter(logging.Formatter):
    """Format time, level, message and details of the event (file, frame, seconds) as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a log record."""
        event = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        event |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[1] is not None:
            event["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(event)


def _time(record: logging.LogRecord) -> str:
    return datetime.datetime.fromtimestamp(record.created).astimezone().isoformat(" ", "milliseconds")


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    facts = getattr(record, "facts", {})
    if "seconds" in facts:
        text += f" (after {facts['seconds']:.2f} s)"
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{place.name} ({place.filename}:{place.lineno})" for place in frames]
        text += f": {type(error).__name__}: {error}; in {' > '.join(places)}"
    return printable(text)
