"""Mounting: the place, options, and what is refused."""

import os
import signal
from pathlib import Path

import pytest

from cryofs.fuse.control import is_mounted
from tests.mounted.support import NEEDS_MOUNTS, archive_copy, facts_of
from tests.support import cryofs, mounted, run_in_process, same_tree

pytestmark = NEEDS_MOUNTS


def test_mounting_over_the_archive_itself(session: Path, tmp_path: Path) -> None:
    place = archive_copy(session, tmp_path / "archive")
    with mounted(place, place) as mount:
        same_tree(session, mount)
    assert (place / "Movies" / "0.mrc.tif").is_file()


def test_a_nonempty_folder_is_not_hidden(session: Path, tmp_path: Path) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    (place / "mine.txt").write_text("mine")
    source, log = session.with_name("archive"), ("--log-file", tmp_path / "log")
    done = run_in_process("mount", source, place, *log, check=False)
    assert (done.returncode, is_mounted(place)) == (1, False)
    assert done.stderr.startswith(f"cryofs: {place}: not empty")
    with mounted(source, place, "-o", "nonempty"):
        same_tree(session, place)
        # a stale mount is removed before the folder below it is checked
        os.kill(facts_of(place)["pid"], signal.SIGKILL)
        done = run_in_process("mount", source, place, *log, check=False)
        assert (done.returncode, is_mounted(place)) == (1, False)
        assert "removed a stale mount" in done.stderr
        assert "not empty" in done.stderr
        cryofs("mount", source, place, *log, "-o", "nonempty")
        same_tree(session, place)
    assert (place / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "mountpoint"], "nowhere"),
        (["archive", "nowhere"], "nowhere"),
    ],
)
def test_invalid_mounts_are_reported(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(session.parent)
    (session.parent / "mountpoint").mkdir(exist_ok=True)
    done = run_in_process("mount", *arguments, "--log-file", tmp_path / "log", check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "allow_othr"], "-o allow_othr: unknown option; did you mean allow_other?"),
        (["-o", "jobs=many"], "jobs: invalid value 'many'; expected a whole number"),
        (["--metrics", "x"], "metrics: invalid address 'x'"),
        (["-o", "jobs=2", "--jobs", "2"], "--jobs and -o jobs are mutually exclusive"),
        (["-o", "log_level=info", "--log-level", "info"], "--log-level and -o log_level are mutually exclusive"),
        (["-o", "eer_grouping=8", "--eer-dose-per-fraction", "1"], "are mutually exclusive"),
    ],
)
def test_invalid_options_are_usage_errors(session: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_in_process("mount", session.with_name("archive"), tmp_path, *arguments, check=False)
    assert (done.returncode, is_mounted(tmp_path)) == (2, False)
    (line,) = done.stderr.strip().splitlines()
    assert message in line


def test_settings_as_mount_options(session: Path, tmp_path: Path) -> None:
    options = r"cache-size=64MiB,readahead=2MiB,log_level=error,fsname=a\,b,log_file=" + str(tmp_path / "x.log")
    (tmp_path / "mnt").mkdir()
    cryofs("mount", session.with_name("archive"), tmp_path / "mnt", "-o", options)
    try:
        facts = facts_of(tmp_path / "mnt")
        assert (facts["budget_bytes"], facts["readahead"]) == (64 << 20, 2 << 20)
        assert os.getsid(facts["pid"]) == facts["pid"], "the process survives its terminal and job"
        line = next(
            line
            for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
            if f"{tmp_path}/mnt" in line
        )
        assert " - fuse.cryofs a,b " in line
        assert "index:" not in (tmp_path / "x.log").read_text(), "only errors are logged"
    finally:
        run_in_process("umount", tmp_path / "mnt")
