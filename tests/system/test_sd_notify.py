"""Notifications to a service manager, at path and abstract addresses."""

import os
import socket
from pathlib import Path

import pytest

from cryofs.system.sd_notify import VARIABLE, notify


@pytest.mark.parametrize("abstract", [True, False])
def test_notifications_reach_the_service_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"cryofs-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        manager.settimeout(30)
        monkeypatch.setenv(VARIABLE, "@" + name if abstract else name)
        notify("READY=1", "STATUS=Shows /a\nREADY=0 at /ü")
        assert manager.recv(1000).decode() == "READY=1\nSTATUS=Shows /a\\nREADY=0 at /ü"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "@cryofs-nobody-listens", "/" + "x" * 300])
def test_an_unreachable_service_manager_is_ignored(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, address)
    notify("READY=1")
    monkeypatch.delenv(VARIABLE)
    notify("READY=1")
