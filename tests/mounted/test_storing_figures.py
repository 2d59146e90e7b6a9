"""Figures of a mount that stores movies: stats and metrics."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from cryofs.fuse.control import is_mounted
from tests.mounted.storing import movie, wait_for
from tests.mounted.support import NEEDS_MOUNTS, facts_of, wait_for_unlocked
from tests.mounted.test_metrics import free_port
from tests.support import cryofs, mounted, run_in_process

pytestmark = NEEDS_MOUNTS


def ingest_of(mount: Path) -> dict[str, Any]:
    """The figures of ingestion."""
    facts: dict[str, Any] = json.loads(os.getxattr(mount, "user.cryofs.ingest"))
    return facts


def test_figures_of_stored_movies(tmp_path: Path) -> None:
    (archive := tmp_path / "archive").mkdir()
    port, data = free_port(), movie(1, (30, 256, 300))
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
    assert any(line.startswith("archived since mounting: 1 movie, 4.61 MB -> ") and ratio in line for line in lines)
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


def test_unmounting_after_everything_is_archived(tmp_path: Path) -> None:
    (archive := tmp_path / "archive").mkdir()
    data = movie(1, (30, 256, 300))
    with mounted(archive, tmp_path / "mnt", "-o", "writable,settle=0,ingest_jobs=1") as mount:
        (mount / "cut.mrc").write_bytes(data[:-1])
        with (mount / "X.mrc").open("wb") as writer:
            command = [sys.executable, "-m", "cryofs", "umount", "--wait", str(mount)]
            waiting = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            assert waiting.stderr
            lines = iter(waiting.stderr.readline, "")
            program = Path("/proc/self/comm").read_text().strip()
            assert any(f"X.mrc: open for writing by {program} (process {os.getpid()})" in line for line in lines)
            # the mount stays as it was
            waiting.send_signal(signal.SIGINT)
            waiting.stderr.close()
            assert waiting.wait() != 0
            assert is_mounted(mount)
            writer.write(data)
        done = run_in_process("umount", "--wait", mount)
        assert not is_mounted(mount)
        assert "archived since mounting: 1 movie, " in done.stderr
        assert "cut.mrc: truncated, 1 byte" in done.stderr
        # for the end of the context
        cryofs("mount", archive, mount, "--log-file", tmp_path / "log")
        assert (mount / "X.mrc").read_bytes() == data
    wait_for_unlocked(archive)
    assert sorted(path.name for path in archive.iterdir()) == ["X.mrc.tif", "cut.mrc"]


def test_waiting_for_a_read_only_mount(session: Path, tmp_path: Path) -> None:
    with mounted(session.with_name("archive"), tmp_path / "mnt") as mount:
        assert run_in_process("umount", "--wait", mount).stderr == ""
        assert not is_mounted(mount)
        cryofs("mount", session.with_name("archive"), mount, "--log-file", tmp_path / "log")
