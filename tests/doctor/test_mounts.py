"""Checks of mounts with simulated figures; tests/mounted has real mounts."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from cryofs.doctor import mounts as checks
from cryofs.doctor.finding import Level

MIB = 1 << 20
FIGURES = {
    "archive": "/archive",
    "failures": 0,
    "decodes": 40,
    "misses": 2,
    "read_ahead": 38,
    "cached_bytes": 90 * MIB,
    "budget_bytes": 100 * MIB,
}


def figures(frame_bytes: int = 10 * MIB, **others: Any) -> dict[str, Any]:
    (found,) = checks.check_figures(FIGURES | others, frame_bytes)
    return vars(found)


def test_damaged_files_of_a_mount() -> None:
    found = figures(damaged_files=3, damaged=["/a/x.eer: empty file; copy the file again"])
    assert found["level"] is Level.WARNING
    assert found["what"].startswith("3 files look damaged: /a/x.eer: empty file")


def test_figures_without_problems() -> None:
    assert figures()["level"] is Level.OK
    assert figures(frame_bytes=0)["level"] is Level.OK


def test_frames_that_failed_to_decode() -> None:
    found = figures(failures=3)
    assert found["level"] is Level.WARNING
    assert found["what"] == "decoding a frame failed 3 times since mounting"
    assert "cryofs verify /archive" in found["remedy"]


def test_cache_smaller_than_a_few_frames() -> None:
    found = figures(frame_bytes=57 * MIB)
    assert found["level"] is Level.WARNING
    assert "--cache-size 229MiB" in found["remedy"]


def test_small_sizes_are_not_rounded_to_zero() -> None:
    found = figures(frame_bytes=300_000, budget_bytes=10**6)
    assert "0 MiB" not in found["what"]


@pytest.mark.parametrize(
    ("others", "level"),
    [
        ({"misses": 60}, Level.WARNING),
        # readers without a sequential pattern have nothing decoded ahead
        ({"misses": 60, "read_ahead": 3}, Level.OK),
        # the cache is not full, so nothing was dropped
        ({"misses": 60, "cached_bytes": 20 * MIB}, Level.OK),
    ],
)
def test_frames_dropped_before_they_are_read(others: dict[str, int], level: Level) -> None:
    assert figures(**others)["level"] is level


def test_failed_queries_are_separate_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("".join(f"2{n} 1 0:2{n} / /mnt/{n} ro - fuse.cryofs /archive ro\n" for n in range(2)))

    def refuse() -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    found = checks.check_mounts(table)
    assert [finding.level for finding in found] == [Level.PROBLEM] * 2
    for number, finding in enumerate(found):
        assert (
            f"/mnt/{number}: cannot query this mount as the current user (Resource temporarily unavailable)"
            in finding.what
        )


def test_failing_mount_is_a_problem(tmp_path: Path) -> None:
    (found, *_), facts = checks.check_mount(tmp_path)
    assert (found.level, facts) == (Level.PROBLEM, None)
    assert f"{tmp_path}: the mount returns an error (" in found.what


def test_readahead_of_the_kernel(tmp_path: Path) -> None:
    device = tmp_path / "sys/class/bdi/0:45"
    device.mkdir(parents=True)
    (device / "read_ahead_kb").write_text("1024\n")
    assert checks.check_readahead("0:45", MIB, tmp_path).level is Level.OK
    (device / "read_ahead_kb").write_text("128\n")
    found = checks.check_readahead("0:45", MIB, tmp_path)
    assert found.level is Level.WARNING
    assert f"echo 1024 > {device}/read_ahead_kb" in found.remedy
    assert checks.check_readahead("0:46", MIB, tmp_path).level is Level.WARNING
