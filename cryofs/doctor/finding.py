"""Findings of `cryofs doctor`, each of which is printed as one line."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from cryofs.errors import CryofsError
from cryofs.system import limited


class Level(StrEnum):
    """Severity of a finding: a problem prevents a function, a warning means that a function is slow or fragile."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """A finding and its remedy; the remedy may be empty if the level is ok."""

    level: Level
    what: str
    remedy: str = ""


def ok(what: str, remedy: str = "") -> Finding:
    """Return a finding that requires no action."""
    return Finding(Level.OK, what, remedy)


def warning(what: str, remedy: str) -> Finding:
    """Return a finding about a function that is slow or restricted to some users."""
    return Finding(Level.WARNING, what, remedy)


def problem(what: str, remedy: str) -> Finding:
    """Return a finding about a function that does not work."""
    return Finding(Level.PROBLEM, what, remedy)


def run_check(
    name: str, check: Callable[[], Finding | Iterable[Finding] | None], seconds: float | None = None
) -> list[Finding]:
    """Return the findings of a check, or a warning if the check raises an error, so that other checks still run.

    Parameters
    ----------
    name : str
        Subject of the check, for the warning.
    seconds : float or None
        Time limit of a check that accesses storage, which may hang; None for no limit.
    """

    def findings() -> list[Finding]:
        found = check()
        return [] if found is None else [found] if isinstance(found, Finding) else list(found)

    try:
        return findings() if seconds is None else limited.run(findings, seconds)
    except TimeoutError:
        return [
            problem(
                f"{name}: storage did not respond within {seconds:g} s",
                "check that the file systems of these paths respond",
            )
        ]
    except (OSError, CryofsError) as error:
        return [
            warning(
                f"{name}: check failed ({error})",
                "rerun cryofs doctor with sufficient privileges, for example as root",
            )
        ]
