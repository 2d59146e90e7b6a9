"""Logging of faults that repeat."""

import logging

import pytest

from cryofs.system.fault_log import FaultLog

LOG = logging.getLogger("cryofs")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_fault_is_logged_once_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(LOG)
    for _ in range(1234):
        faults.error("x.mrc.tif, frame 3: damaged", {"frame": 3})
    fault = "x.mrc.tif, frame 3: damaged"
    assert lines(caplog) == [fault, *(f"{fault} (occurred {count} times)" for count in (10, 100, 1000))]
    assert caplog.records[-1].facts == {"frame": 3, "count": 1000}  # type: ignore[attr-defined]


def test_each_fault_is_counted_separately(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(LOG)
    for _ in range(5):
        faults.error("frame 3: damaged", {})
        faults.error("frame 4: damaged", {})
        faults.error("unexpected error in read", {}, ValueError("one"))
        faults.error("unexpected error in read", {}, ValueError("another"))
    assert lines(caplog) == ["frame 3: damaged", "frame 4: damaged", *["unexpected error in read"] * 2]
    assert [record.exc_info is not None for record in caplog.records] == [False, False, True, True]


def test_the_least_recent_fault_is_forgotten_first(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(LOG, limit=2)
    for message in ("first", "second", "first", "third", "first", "second"):
        faults.error(message, {})
    assert lines(caplog) == ["first", "second", "third", "second"]
