"""How a mount in the background is started, and where it logs."""

import os
import sys
from pathlib import Path

import pytest

from cryofs.errors import MountError
from cryofs.fuse.daemon import default_log, serve_in_background


def test_until_it_is_live_a_mount_belongs_to_the_group_of_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever mounts on demand (autofs) keeps everybody else away from the mountpoint until then."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\ncut -d ' ' -f 5 /proc/self/stat\necho ${NOTIFY_SOCKET:-nobody to tell}\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    with pytest.raises(MountError) as caught:
        serve_in_background([], tmp_path, tmp_path, tmp_path / "new" / "log")
    assert f"not mounted: {os.getpgrp()}; nobody to tell (log: {tmp_path}/new/log)" in str(caught.value)


def test_where_logs_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_log(Path("/mnt/movies")) == Path("/state/cryofs/mnt-movies.log")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_log(Path("/mnt/movies")) == Path("/home/me/.local/state/cryofs/mnt-movies.log")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_log(Path("/mnt/movies")) == Path("/var/log/cryofs/mnt-movies.log")


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 4294967)
    monkeypatch.setattr(os, "getuid", lambda: 4294967)
    with pytest.raises(MountError, match="log_file=FILE"):
        default_log(Path("/mnt/movies"))
