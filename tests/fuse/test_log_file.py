"""The log of a mount in the background: its place, and what happens where it cannot be written."""

import os
from pathlib import Path

import pytest

from cryofs.config.mount_options import MountOptions
from cryofs.config.settings import Settings
from cryofs.errors import MountError
from cryofs.fuse import daemon
from cryofs.fuse.daemon import serve_in_background
from cryofs.fuse.log_file import log_places, open_log

PLACE = Path("/mnt/movies")


def test_default_log_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert log_places(PLACE) == [Path("/state/cryofs/mnt-movies.log")]
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    in_home = Path("/home/me/.local/state/cryofs/mnt-movies.log")
    assert log_places(PLACE) == [in_home]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert log_places(PLACE) == [Path("/var/log/cryofs/mnt-movies.log"), in_home]


def test_a_user_without_a_home_directory_mounts_without_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 4294967)
    monkeypatch.setattr(os, "getuid", lambda: 4294967)
    log = open_log(PLACE, None)
    log.file.close()
    assert log.path is None
    assert log.warning.startswith("/mnt/movies: mounted without a log (this user has no home directory); ")


def test_the_first_place_that_can_be_written_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    places = [tmp_path / "file" / "cryofs" / "x.log", tmp_path / "state" / "cryofs" / "x.log"]
    monkeypatch.setattr("cryofs.fuse.log_file.log_places", lambda _: places)
    log = open_log(PLACE, None)
    log.file.close()
    assert (log.path, log.warning) == (places[1], "")
    places.pop()
    log = open_log(PLACE, None)
    log.file.close()
    assert log.path is None
    assert f"{places[0]}: Not a directory" in log.warning


def test_a_chosen_log_has_no_substitute(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        MountError, match=f"{tmp_path}/file/in/x: cannot write the log .Not a directory.; choose another"
    ):
        open_log(PLACE, f"{tmp_path}/file/in/x")


def test_errors_before_the_mount_is_live_are_reported_without_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise MountError("nothing to serve")

    monkeypatch.setattr("cryofs.fuse.log_file.log_places", lambda _: [])
    monkeypatch.setattr(daemon, "serve_here", refuse)
    with pytest.raises(MountError) as caught:
        serve_in_background(tmp_path, tmp_path, Settings(), MountOptions(), open_log(tmp_path, None))
    assert str(caught.value) == f"{tmp_path}: not mounted: nothing to serve"
