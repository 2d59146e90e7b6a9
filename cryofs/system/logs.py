"""Logs of a mount: one line an event, as text or JSON, for a file, a terminal, or the journal."""

import datetime
import json
import logging
import os
import sys
import traceback
from typing import Literal, TextIO

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]

# what systemd takes as the priority of a line (sd-daemon(3))
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def set_up(level: Level, layout: Format, stream: TextIO = sys.stderr) -> None:
    """Have everything that is logged from `level` on written to a stream, the standard error."""
    handler = logging.StreamHandler(stream)
    if layout == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(JournalFormatter() if is_journal(stream) else LineFormatter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def is_journal(stream: TextIO) -> bool:
    """Whether a stream is connected to the journal, which notes the time of each line itself (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class LineFormatter(logging.Formatter):
    """Time, level and message in one line; of an exception, what it is and where it comes from."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return f"{_time(record)} cryofs {record.levelname}: {_message(record)}"


class JournalFormatter(logging.Formatter):
    """Priority and message in one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{_message(record)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and the facts of the event (file, frame, seconds)."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
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
    return " ".join(text.split())
