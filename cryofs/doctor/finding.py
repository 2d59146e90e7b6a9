"""What a check of `cryofs doctor` found: one line for a user."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from cryofs.errors import CryofsError


class Level(StrEnum):
    """How bad it is: a problem keeps something from working, a warning makes it slow or is a trap."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it; something that is well may come with advice, too."""

    level: Level
    what: str
    remedy: str = ""


def ok(what: str, remedy: str = "") -> Finding:
    """All is well."""
    return Finding(Level.OK, what, remedy)


def warning(what: str, remedy: str) -> Finding:
    """It works, but slowly or not for everybody."""
    return Finding(Level.WARNING, what, remedy)


def problem(what: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(Level.PROBLEM, what, remedy)


def tried(name: str, check: Callable[[], Finding | Iterable[Finding] | None]) -> list[Finding]:
    """What a check finds, or that it cannot be done here, which keeps no other check from being done.

    Parameters
    ----------
    name : str
        What is looked at.
    """
    try:
        found = check()
        return [] if found is None else [found] if isinstance(found, Finding) else list(found)
    except (OSError, CryofsError) as error:
        return [
            warning(
                f"{name}: cannot be checked by this user ({error})", "run cryofs doctor as one who may, as root say"
            )
        ]
