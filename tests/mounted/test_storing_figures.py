"""What people see of a mount that stores movies: stats and metrics."""

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.mounted.support import NEEDS_MOUNTS, facts_of
from tests.mounted.test_metrics import free_port
from tests.mounted.test_storing import movie, wait_for
from tests.support import mounted, run_in_process

pytestmark = NEEDS_MOUNTS


def ingest_of(mount: Path) -> dict[str, Any]:
    """The figures of ingestion."""
    facts: dict[str, Any] = json.loads(os.getxattr(mount, "user.cryofs.ingest"))
    return facts


def test_figures_of_stored_movies(tmp_path: Path) -> None:
    (archive := tmp_path / "archive").mkdir()
    port, data = free_port(), movie(1)
    options = ("-o", "writable,settle=0,ingest_jobs=1", "--metrics", port)
    with mounted(archive, tmp_path / "mnt", *options) as mount:
        (mount / "X.mrc").write_bytes(data)
        (mount / "text.mrc").write_bytes(b"not a movie")
        (mount / "cut.mrc").write_bytes(data[:-1])
        with (mount / "open.mrc").open("wb"):
            wait_for(lambda: ingest_of(mount)["ingested"] and ingest_of(mount)["kept_plain"])
            wait_for(lambda: ingest_of(mount)["waiting_files"] == 1)
            facts = ingest_of(mount)
            lines = run_in_process("stats", mount).stdout.splitlines()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                metrics = answer.read().decode()
        log = (tmp_path / "mnt.log").read_text()
    stored = (archive / "X.mrc.tif").stat().st_size
    assert facts["saved_bytes"] == len(data) - stored
    ratio = f"{100 * stored / len(data):.2f} %"
    assert any(line.startswith("archived since mounting: 1 movies, 4.61 MB -> ") and ratio in line for line in lines)
    for begin in ("kept plain: 1", "    text.mrc: file too short", "  1 incomplete", "    cut.mrc: truncated, 1 byte"):
        assert any(line.startswith(begin) for line in lines), begin
    assert lines[lines.index("open for writing: 1") + 1] == "    open.mrc"
    figures = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    labels = f'archive="{archive}"'
    assert float(figures[f"cryofs_ingest_ingested_total{{{labels}}}"]) == 1
    assert float(figures[f"cryofs_ingest_stored_bytes_total{{{labels}}}"]) == stored
    assert float(figures[f'cryofs_waiting_files{{{labels},reason="unfinished"}}']) == 1
    assert float(figures[f'cryofs_waiting_bytes{{{labels},reason="unfinished"}}']) == len(data) - 1
    assert log.count("X.mrc: archived (4609024 bytes stored as") == log.count("text.mrc: kept plain (file too") == 1


def test_read_only_mounts_have_no_such_figures(shared: Path) -> None:
    assert "ingest" not in facts_of(shared)
    assert "waiting" not in run_in_process("stats", shared).stdout
    with pytest.raises(OSError, match="Read-only"):
        os.setxattr(shared, "user.cryofs.settle_now", b"")
