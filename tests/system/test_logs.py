"""Logs: one line per event; times except in the journal; details of failed and slow reads."""

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryofs.errors import DamagedError
from cryofs.system.logs import Format, JournalFormatter, JsonFormatter, LineFormatter, is_journal, set_up
from cryofs.vfs import file_system
from tests.support import archive, simulated
from tests.vfs.serving import serving

log = logging.getLogger("cryofs")


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Capture the log output; restore the handlers afterwards."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    level = root.level
    yield io.StringIO()
    root.setLevel(level)


def fail() -> None:
    raise ValueError("two\nlines")


@pytest.mark.parametrize("layout", ["text", "json"])
def test_every_event_is_one_line(output: io.StringIO, layout: Format) -> None:
    set_up("info", layout, output)
    log.info("a\nb %s", "c\r\nd")
    log.debug("nothing of this")
    try:
        fail()
    except ValueError:
        log.exception("unexpected")
    log.error("x.mrc, frame 3: damaged", extra={"facts": {"file": "/x.mrc", "frame": 3, "seconds": 0.25}})
    first, second, third = output.getvalue().splitlines()
    if layout == "text":
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d cryofs INFO: a\\nb c\\r\\nd", first)
        assert re.search(r"ERROR: unexpected: ValueError: two\\nlines; in .*fail \(.*test_logs\.py:\d+\)$", second)
        assert third.endswith("cryofs ERROR: x.mrc, frame 3: damaged (after 0.25 s)")
    else:
        events = [json.loads(line) for line in (first, second, third)]
        assert [event["level"] for event in events] == ["info", "error", "error"]
        assert events[0]["message"] == "a\nb c\r\nd"
        assert "ValueError: two\nlines" in events[1]["traceback"]
        assert (events[2]["file"], events[2]["frame"], events[2]["seconds"]) == ("/x.mrc", 3, 0.25)


def test_levels(output: io.StringIO) -> None:
    set_up("error", "text", output)
    log.warning("not logged")
    log.error("logged")
    assert output.getvalue().endswith("logged\n")
    assert "not logged" not in output.getvalue()


def test_journal_lines_have_priorities_but_no_times() -> None:
    record = logging.LogRecord("cryofs", logging.WARNING, __file__, 1, "slow", None, None)
    assert JournalFormatter().format(record) == "<4>slow"
    assert LineFormatter().format(record).endswith("cryofs WARNING: slow")
    assert json.loads(JsonFormatter().format(record))["message"] == "slow"


def test_the_journal_is_identified_by_device_and_inode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        assert not is_journal(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert is_journal(stream)
        assert not is_journal(io.StringIO())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert not is_journal(stream)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    simulated(tmp_path / "session" / "x.mrc")
    archive(tmp_path / "session", tmp_path / "archive")
    return tmp_path / "archive"


def test_a_slow_read_is_logged_with_file_frame_and_time(
    stored: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file_system, "_SLOW_SECONDS", 0.0)
    with serving(stored) as files:
        handle = files.open("/x.mrc")
        frame_bytes = 4 * 300 * 257
        files.read(handle, 100, 1024 + 2 * frame_bytes)
        files.read(handle, 100, 0)
        files.release(handle)
    slow = [record for record in caplog.records if "slow read" in record.message]
    assert [record.message.partition(":")[0] for record in slow] == ["/x.mrc, frame 2", "/x.mrc"]
    assert all(record.levelname == "WARNING" and record.facts["seconds"] >= 0 for record in slow)  # type: ignore[attr-defined]


def test_a_failed_read_has_file_frame_and_time(stored: Path) -> None:
    path = stored / "x.mrc.tif"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with serving(stored) as files:
        handle = files.open("/x.mrc")
        # from the header on through all frames
        with pytest.raises(DamagedError) as caught:
            files.read(handle, 12 * 4 * 300 * 257, 0)
        files.release(handle)
    assert caught.value.facts["file"] == "/x.mrc"
    assert caught.value.facts["frame"] > 0
    assert f"frame {caught.value.facts['frame']}: damaged" in str(caught.value)
    assert caught.value.facts["seconds"] >= 0
