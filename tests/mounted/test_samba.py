"""A server of Samba that shares a mount which archives at once, and its client: the same as on a plain folder."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounted.storing import Storing, movie, storing, wait_for
from tests.mounted.support import NEEDS_MOUNTS

pytestmark = [
    *NEEDS_MOUNTS,
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("smbd") and shutil.which("smbclient")), reason="needs samba, smbclient"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as smbd does"),
]
# `force user`, because smbd serves guests as nobody otherwise
CONFIGURATION = """
[global]
server role = standalone server
map to guest = bad user
guest account = root
log file = {base}/log
pid directory = {base}
lock directory = {base}
state directory = {base}
cache directory = {base}
private dir = {base}
ncalrpc dir = {base}/rpc
smb ports = {port}
bind interfaces only = yes
interfaces = lo
disable netbios = yes
load printers = no
strict allocate = {allocate}
store dos attributes = yes
ea support = yes
guest ok = yes
read only = no
force user = root
[mount]
path = {mount}
[plain]
path = {plain}
"""


@contextlib.contextmanager
def served(place: Storing, base: Path, allocate: str) -> Iterator[int]:
    """Run smbd in the foreground; yield its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base.mkdir()
    text = CONFIGURATION.format(base=base, port=port, mount=place.mount, plain=place.plain, allocate=allocate)
    (base / "smb.conf").write_text(text)
    command = ["smbd", "--foreground", "--configfile", str(base / "smb.conf"), "--debuglevel=1"]
    with (base / "out").open("wb") as out:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        wait_for(lambda: server.poll() is not None or _is_open(port))
        assert server.poll() is None, (base / "out").read_text()
        yield port
    finally:
        server.terminate()
        server.wait()


def _is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def client(port: int, share: str, commands: str, folder: Path) -> None:
    command = ["smbclient", f"//127.0.0.1/{share}", "-N", "-p", str(port), "-c", commands]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NT_STATUS" not in done.stdout, done.stdout


def found(folder: Path) -> dict[str, bytes | None]:
    """Return the files and folders in a folder; the server writes the times of creation into attributes."""
    paths = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else None for name, path in sorted(paths.items())}


@pytest.mark.parametrize("allocate", ["yes", "no"])
def test_a_client_copies_renames_and_reads_movies(tmp_path: Path, allocate: str) -> None:
    local = tmp_path / "local"
    (local / "sub").mkdir(parents=True)
    for seed, name in enumerate(("a.mrc", "b.mrc", "sub/c.mrc", "notes.txt")):
        (local / name).write_bytes(movie(seed, (40, 128, 150)))
    steps = [
        "recurse; prompt; mput *; timeout 60",
        "rename a.mrc moved.mrc; rename sub other; setmode b.mrc +r; put b.mrc again.mrc",
        "setmode b.mrc -r; put notes.txt b.mrc; del moved.mrc; get other/c.mrc back",
        "recurse; prompt; deltree other; put a.mrc again.mrc; rename again.mrc notes.txt -f; allinfo b.mrc",
    ]
    with storing(tmp_path) as place, served(place, tmp_path / "smb", allocate) as port:
        for step in steps:
            for share in ("mount", "plain"):
                client(port, share, step, local)
            assert found(place.mount) == found(place.plain), step
            place.wait_for_movies()
            assert found(place.mount) == found(place.plain), step
        assert (local / "back").read_bytes() == (local / "sub" / "c.mrc").read_bytes()
