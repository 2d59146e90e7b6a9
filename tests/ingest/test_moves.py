"""Renames and removals of archived movies: each leaves the names as before or as after, whenever it is killed."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cryofs.errors import CryofsError
from cryofs.storage import changes, ownership
from cryofs.storage.changes import Disk
from cryofs.storage.file_lock import LOCK_SUFFIX
from cryofs.storage.journal import JOURNAL_NAME
from cryofs.system.renaming import EXCHANGE, NO_REPLACE
from cryofs.vfs.writable import WritableFileSystem
from tests.ingest.mounts import after_kills, shown, writable
from tests.support import archive, simulated, written_movie
from tests.vfs.serving import content

STATES = ("absent", "plain", "archived")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two movies, and their archive; and a gain-normalised movie in an archive of its own."""
    folder = tmp_path_factory.mktemp("moves")
    for seed, name in enumerate(("a.mrc", "b.mrc")):
        written_movie(folder / "session" / name, seed)
    archive(folder / "session", folder / "archive")
    simulated(folder / "normalised" / "G.mrc")
    archive(folder / "normalised", folder / "gains")
    return folder


def put(made: Path, folder: Path, name: str, state: str) -> None:
    if state == "plain":
        shutil.copy2(made / "session" / name, folder / name)
    elif state == "archived":
        shutil.copy2(made / "archive" / f"{name}.tif", folder / f"{name}.tif")


def moved(before: dict[str, bytes], source: str, target: str, flags: int) -> dict[str, bytes] | None:
    """What a rename makes of some names; None if it fails."""
    if (
        source not in before
        or (flags == NO_REPLACE and target in before)
        or (flags == EXCHANGE and target not in before)
    ):
        return None
    after = dict(before)
    data = after.pop(source)
    if flags == EXCHANGE:
        after[source] = before[target]
    return after | {target: data}


@pytest.mark.parametrize("flags", [0, NO_REPLACE, EXCHANGE])
@pytest.mark.parametrize(("source", "target"), list(itertools.product(STATES, STATES)))
def test_a_rename_in_each_of_nine_states(made: Path, tmp_path: Path, source: str, target: str, flags: int) -> None:
    def make() -> Path:
        folder = tmp_path / "archive"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        put(made, folder, "a.mrc", source)
        put(made, folder, "b.mrc", target)
        return folder

    before = {name: (made / "session" / name).read_bytes() for name in ("a.mrc", "b.mrc")}
    before = {name: data for name, data in before.items() if {"a.mrc": source, "b.mrc": target}[name] != "absent"}
    after = moved(before, "a.mrc", "b.mrc", flags)
    if after is None:
        with writable(make(), settle=1000) as files, pytest.raises(OSError, match=r"File exists|No such file"):
            files.names.move("/a.mrc", "/b.mrc", flags)
        assert shown(tmp_path / "archive") == before
        return
    seen = []
    for calls, found in after_kills(make, lambda files: files.names.move("/a.mrc", "/b.mrc", flags)):
        assert found in (before, after), calls
        seen.append(found)
    assert seen[0] == before
    assert seen[-1] == after
    if source == "archived" and flags != EXCHANGE:
        assert (tmp_path / "archive" / "b.mrc.tif").exists()


@pytest.mark.parametrize("state", ["absent", "plain"])
def test_a_name_without_an_archived_form(made: Path, tmp_path: Path, state: str) -> None:
    def make() -> Path:
        folder = tmp_path / "archive"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        put(made, folder, "a.mrc", "archived")
        if state == "plain":
            (folder / "a.bak").write_bytes(b"old")
        return folder

    data = (made / "session" / "a.mrc").read_bytes()
    before: dict[str, bytes] = {"a.mrc": data} | ({"a.bak": b"old"} if state == "plain" else {})
    for calls, found in after_kills(make, lambda files: files.names.move("/a.mrc", "/a.bak", 0)):
        assert found in (before, {"a.bak": data}), calls
    assert found == {"a.bak": data}


def test_a_removal(made: Path, tmp_path: Path) -> None:
    def make() -> Path:
        shutil.rmtree(tmp_path / "archive", ignore_errors=True)
        (tmp_path / "archive").mkdir()
        put(made, tmp_path / "archive", "a.mrc", "archived")
        return tmp_path / "archive"

    data = (made / "session" / "a.mrc").read_bytes()
    for calls, found in after_kills(make, lambda files: files.names.remove("/a.mrc")):
        assert found in ({"a.mrc": data}, {}), calls
    assert found == {}


@pytest.mark.parametrize(("source", "target"), [("plain", "archived"), ("archived", "plain")])
def test_a_rename_of_a_file_that_is_being_written(made: Path, tmp_path: Path, source: str, target: str) -> None:
    """Writes between the calls of the rename are not what the journal of a killed one would describe."""
    folder = tmp_path / "archive"

    def make() -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        put(made, folder, "a.mrc", source)
        put(made, folder, "b.mrc", target)
        return folder

    def change(files: WritableFileSystem) -> None:
        plain = "a.mrc" if source == "plain" else "b.mrc"
        files.open(f"/{plain}", os.O_RDWR)
        # the disk of the test, which ends the process at one of its calls
        disk, writer = changes.disk, (folder / plain).open("ab", buffering=0)

        class Writing(Disk):
            def __getattribute__(self, name: str) -> Any:
                writer.write(b"x")
                return getattr(disk, name)

        changes.disk = Writing()
        with writer:
            files.names.move("/a.mrc", "/b.mrc", 0)

    originals = {name: (made / "session" / name).read_bytes() for name in ("a.mrc", "b.mrc")}
    for calls, found in after_kills(make, change):
        assert {name: str(data)[:99] for name, data in found.items() if isinstance(data, str)} == {}, calls
        assert found["b.mrc"].startswith((originals["a.mrc"], originals["b.mrc"])), calls  # type: ignore[arg-type]
    assert found.keys() == {"b.mrc"}
    assert found["b.mrc"].startswith(originals["a.mrc"])  # type: ignore[arg-type]


def test_a_lock_of_an_ended_process_keeps_no_folder(tmp_path: Path) -> None:
    made = "from cryofs.storage import ownership; print(ownership.new_name(), end='')"
    done = subprocess.run([sys.executable, "-c", made], capture_output=True, text=True, check=True)
    for name, owner in (("ended", done.stdout), ("held", ownership.new_name())):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{JOURNAL_NAME}{LOCK_SUFFIX}").write_text(owner)
    with writable(tmp_path, settle=1000) as files:
        files.names.remove_folder("/ended")
        with pytest.raises(OSError, match="not empty"):
            files.names.remove_folder("/held")
    assert [path.name for path in tmp_path.iterdir()] == ["held"]


def test_open_handles_follow_a_rename(made: Path, tmp_path: Path) -> None:
    for name in ("a.mrc", "b.mrc"):
        put(made, tmp_path, name, "archived")
    originals = {name: (made / "session" / name).read_bytes() for name in ("a.mrc", "b.mrc")}
    with writable(tmp_path, settle=1000) as files:
        handles = {name: files.open(f"/{name}") for name in originals}
        files.names.move("/a.mrc", "/b.mrc", 0)
        files.names.move("/b.mrc", "/c.bak", 0)
        for name, handle in handles.items():
            assert bytes(files.read(handle, 10**6, 0)) == originals[name]
            files.release(handle)
        assert content(files, "/c.bak") == originals["a.mrc"]


def test_the_gain_reference_is_found_from_the_new_folder(made: Path, tmp_path: Path) -> None:
    (tmp_path / "archive" / "other").mkdir(parents=True)
    shutil.copytree(made / "gains", tmp_path / "archive" / "session")
    folder = tmp_path / "archive"
    expected = (made / "normalised" / "G.mrc").read_bytes()

    def change(files: WritableFileSystem) -> None:
        files.names.move("/session/G.mrc", "/other/H.mrc", 0)

    with writable(folder, settle=1000) as files:
        change(files)
    shutil.rmtree(folder / "session")
    with writable(folder, settle=1000) as files:
        assert content(files, "/other/H.mrc") == expected


def test_a_movie_without_its_gain_reference_can_be_renamed(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    (folder / "other").mkdir(parents=True)
    shutil.copytree(made / "gains", folder / "session")
    for reference in (folder / "session").glob("gain-reference*"):
        reference.unlink()
    with writable(folder, settle=1000) as files:
        files.names.move("/session/G.mrc", "/other/H.mrc", 0)
        with pytest.raises(CryofsError, match="gain reference"):
            content(files, "/other/H.mrc")
