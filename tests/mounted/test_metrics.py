"""Figures of a mount: metrics for Prometheus, attributes, stats."""

import json
import os
import socket
import urllib.request
from pathlib import Path

import psutil
import pytest

from cryofs.fuse.control import is_mounted
from cryofs.system.resources import default_cache_size
from tests.mounted.support import NEEDS_MOUNTS, archive_copy, facts_of
from tests.support import cryofs, mounted, run_in_process

pytestmark = NEEDS_MOUNTS


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_metrics_for_prometheus_and_as_attributes(session: Path, tmp_path: Path) -> None:
    port = free_port()
    with mounted(session.with_name("archive"), tmp_path / "mnt", "--metrics", port) as place:
        data = (place / "Movies" / "0.mrc").read_bytes()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            lines = [line.split(" ") for line in answer.read().decode().splitlines() if not line.startswith("#")]
        figures = {name.partition("{")[0]: float(value) for name, value in lines}
        assert {name.partition("{")[2] for name, _ in lines} == {f'archive="{session.with_name("archive")}"}}'}
        assert figures["cryofs_decodes_total"] == 20
        assert figures["cryofs_bytes_read_total"] == len(data)
        assert figures["cryofs_misses_total"] + figures["cryofs_read_ahead_total"] == 20
        assert figures["cryofs_decode_seconds_total"] > 0
        assert figures["cryofs_cached_bytes"] <= figures["cryofs_budget_bytes"] == default_cache_size()
        names = os.listxattr(place)
        assert {name.removeprefix("user.cryofs.") for name in names} == {"facts", *facts_of(place)}
        assert os.getxattr(place, "user.cryofs.decodes") == b"20"
        with pytest.raises(OSError, match="not supported"):
            os.getxattr(place / "Movies" / "0.mrc", "security.selinux")
        with pytest.raises(OSError, match="No data"):
            os.getxattr(place, "user.cryofs.nothing")
        os.setxattr(session.with_name("archive") / "notes.txt", "user.origin", b"session 7")
        assert [os.listxattr(place / name) for name in ("notes.txt", "Movies", "Movies/0.mrc")] == [[]] * 3
        with pytest.raises(OSError, match="No data"):
            os.getxattr(place / "notes.txt", "user.origin")
        places = [connection.laddr for connection in psutil.net_connections()]
        assert {place.ip for place in places if place and place.port == port} == {"127.0.0.1"}


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", "0", "70000"])
def test_metrics_need_an_address(session: Path, tmp_path: Path, address: str) -> None:
    (tmp_path / "mnt").mkdir()
    done = run_in_process("mount", session.with_name("archive"), tmp_path / "mnt", "--metrics", address, check=False)
    assert done.returncode != 0
    assert "expected a port" in done.stderr
    assert not is_mounted(tmp_path / "mnt")


def test_metrics_need_a_free_port(session: Path, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = cryofs("mount", session.with_name("archive"), tmp_path / "mnt", "--metrics", port, check=False)
    assert done.returncode == 1
    assert "choose another address with --metrics" in done.stderr
    assert not is_mounted(tmp_path / "mnt")


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_metrics_port_is_a_number_or_text_in_the_file(session: Path, tmp_path: Path, quote: str) -> None:
    place = archive_copy(session, tmp_path / "archive")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (place / "cryofs.toml").write_text(f"metrics = {quote}{port}{quote}\n")
    with mounted(place, tmp_path / "mnt"), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"cryofs_" in answer.read()


def test_stats_of_an_archive_below_its_own_mount(session: Path, tmp_path: Path) -> None:
    place = archive_copy(session, tmp_path / "archive")
    expected = json.loads(run_in_process("stats", place, "--json").stdout)
    with mounted(place, place):
        found = json.loads(run_in_process("stats", place, "--json").stdout)
    del found["mount"]
    assert found == expected
    assert found["movies"] > 0
