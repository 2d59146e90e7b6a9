"""Log faults that may repeat: each once, then again when it has occurred 10, 100, 1000 ... times.

A program that reads a damaged frame again and again would otherwise fill the disk of the log.

Threads: safe to call from any thread.
"""

import logging
import threading
from collections import OrderedDict
from typing import Any

# Most recent faults whose occurrences are counted; others are logged like new ones.
_MOST_FAULTS = 1 << 14


class FaultLog:
    """Log of faults. The same fault has the same message, which names the file and the frame.

    Parameters
    ----------
    log : Logger
        Gets the messages.
    limit : int
        Number of faults whose occurrences are counted.
    """

    def __init__(self, log: logging.Logger, limit: int = _MOST_FAULTS):
        self._log = log
        self._limit = limit
        self._lock = threading.Lock()
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()

    def error(self, message: str, facts: dict[str, Any], error: BaseException | None = None) -> None:
        """Log a fault unless it was logged before; the number of occurrences is logged at powers of ten.

        Parameters
        ----------
        facts : dict
            Details for structured logs.
        error : BaseException or None
            Exception whose traceback is logged.
        """
        count = self._count((message, "" if error is None else repr(error)))
        if not _is_power_of_ten(count):
            return
        if count > 1:
            message, facts = f"{message} (occurred {count} times)", {**facts, "count": count}
        self._log.error("%s", message, exc_info=error, extra={"facts": facts})

    def _count(self, fault: tuple[str, str]) -> int:
        with self._lock:
            count = self._counts[fault] = self._counts.pop(fault, 0) + 1
            if len(self._counts) > self._limit:
                self._counts.popitem(last=False)
        return count


def _is_power_of_ten(count: int) -> bool:
    return str(count).strip("0") == "1"
