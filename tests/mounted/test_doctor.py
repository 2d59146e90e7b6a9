"""`cryofs doctor` on real mounts and archives, as root and as an unprivileged user."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cryofs.doctor.mounts import State, query
from cryofs.fuse.control import device_number, mount_facts
from tests.mounted.support import NEEDS_MOUNTS
from tests.support import archive, cryofs, mounted, run_in_process, simulated, wait_for

pytestmark = NEEDS_MOUNTS
NOBODY = 65534


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """Folder that every user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def made(open_folder: Path) -> Path:
    """Archive of one movie."""
    simulated(open_folder / "session" / "Movies" / "0.mrc", frames=20)
    archive(open_folder / "session", open_folder / "archive")
    return open_folder / "archive"


def run(by: list[str], *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command of cryofs with the prefix `by`, which changes the user."""
    command = [*by, sys.executable, "-m", "cryofs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=check)


def doctor(*arguments: object, by: list[str] | None = None) -> tuple[int, list[dict[str, str]]]:
    """Return the exit code and the findings."""
    command = ("doctor", *arguments, "--json")
    done = run(by, *command, check=False) if by else run_in_process(*command, check=False)
    output = json.loads(done.stdout)
    levels = [finding["level"] for finding in output["findings"]]
    assert (output["problems"], output["warnings"]) == (levels.count("problem"), levels.count("warning"))
    return done.returncode, output["findings"]


def powerless() -> list[str]:
    """Return a command prefix that removes the capabilities of root, so that permissions apply."""
    return _setpriv("--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else []


def unprivileged(home: Path) -> list[str]:
    """Return a command prefix for a user who is not root but may read the installation."""
    if os.geteuid() != 0:
        return []
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    reading = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    by = _setpriv(f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *reading)
    return [*by, "env", f"HOME={home}", f"XDG_CACHE_HOME={home}", f"XDG_STATE_HOME={home}"]


def _setpriv(*options: str) -> list[str]:
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv, as root")
    return ["setpriv", *options]


def test_this_machine_can_mount(made: Path, tmp_path: Path) -> None:
    with mounted(made, tmp_path / "mnt") as place:
        code, findings = doctor()
    # other mounts on this machine may be stale or stuck
    problems = [finding for finding in findings if finding["level"] == "problem"]
    assert all("stale mount" in finding["what"] or "does not respond" in finding["what"] for finding in problems)
    assert code == (1 if problems else 0)
    assert [finding["level"] for finding in findings if f"{place}: live, shows {made}" in finding["what"]] == ["ok"]


def test_mount_without_problems(made: Path, tmp_path: Path) -> None:
    with mounted(made, tmp_path / "mnt") as place:
        (place / "Movies" / "0.mrc").read_bytes()
        code, findings = doctor(place)
    assert code == 0
    assert any("20 frames decoded, no problems" in finding["what"] for finding in findings)


def test_stale_mount_and_its_remedy(made: Path, tmp_path: Path) -> None:
    with mounted(made, tmp_path / "dead mount") as place:
        facts = mount_facts(place)
        assert facts is not None
        os.kill(facts["pid"], signal.SIGKILL)
        wait_for(lambda: query([place])[0].state is State.DEAD)
        for arguments in ((), (place,)):
            code, findings = doctor(*arguments)
            assert code == 1
            (found,) = [finding for finding in findings if f"{place}: stale mount" in finding["what"]]
            assert found["level"] == "problem"
            assert found["remedy"] == f"cryofs umount '{place}'"
        scripts = Path(sys.executable).parent
        subprocess.run(
            ["sh", "-c", found["remedy"]], check=True, env=os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}"}
        )
        assert device_number(place) is None
        # the context manager unmounts it
        cryofs("mount", made, place, "--log-file", tmp_path / "log")


def gone(place: Path) -> None:
    shutil.rmtree(place)


def moved(place: Path) -> None:
    place.rename(place.with_name("elsewhere"))


def replaced(place: Path) -> None:
    moved(place)
    shutil.copytree(place.with_name("elsewhere"), place)


@pytest.mark.parametrize(
    ("lose", "what"),
    [(gone, "no longer exists"), (moved, "no longer exists"), (replaced, "was replaced by another folder")],
)
def test_mount_whose_archive_was_removed(made: Path, tmp_path: Path, lose: Callable[[Path], None], what: str) -> None:
    shown = Path(shutil.copytree(made, tmp_path / "archive"))
    with mounted(shown, tmp_path / "mnt") as place:
        lose(shown)
        for arguments in ((), (place,)):
            code, findings = doctor(*arguments)
            assert code == 1
            (found,) = [finding for finding in findings if f"{place}: live" in finding["what"]]
            assert (found["level"], f"its archive {shown} {what}" in found["what"]) == ("problem", True)
            assert f"cryofs mount {shown} {place}" in found["remedy"]
        assert not any("no problems" in finding["what"] for finding in doctor(place)[1])


def test_mount_over_its_own_emptied_archive(made: Path, tmp_path: Path) -> None:
    shown = Path(shutil.copytree(made, tmp_path / "archive"))
    folder = os.open(shown, os.O_RDONLY)
    with mounted(shown, shown) as place:
        assert doctor(place)[0] == 0
        for path in (f"/proc/self/fd/{folder}/Movies/0.mrc.tif", f"/proc/self/fd/{folder}/gain-reference.mrc"):
            Path(path).unlink()
        # an empty archive is valid
        assert doctor(place)[0] == 0
    os.close(folder)


def test_stuck_mount_does_not_delay_other_queries(made: Path, tmp_path: Path) -> None:
    with mounted(made, tmp_path / "mnt") as place, mounted(made, tmp_path / "responding") as responding:
        facts = mount_facts(place)
        assert facts is not None
        process = psutil.Process(facts["pid"])
        process.suspend()
        try:
            states = [status.state for status in query([place, responding], timeout=2)]
            assert states == [State.STUCK, State.ALIVE]
        finally:
            process.resume()
        assert query([place])[0].state is State.ALIVE


def test_low_readahead_and_its_remedy(made: Path, tmp_path: Path) -> None:
    with mounted(made, tmp_path / "mnt", "--readahead", "2MiB") as place:
        setting = Path(f"/sys/class/bdi/{device_number(place)}/read_ahead_kb")
        if not os.access(setting, os.W_OK):
            pytest.skip("needs root and a writable /sys")
        assert not [finding for finding in doctor(place)[1] if finding["level"] != "ok"]
        setting.write_text("128")
        code, findings = doctor(place)
        assert code == 0
        (found,) = [finding for finding in findings if finding["level"] == "warning"]
        assert found["what"].startswith("read-ahead: 128 KiB, below the setting of 2048")
        remedy = found["remedy"].partition("as root: ")[2].partition(";")[0]
        subprocess.run(["sh", "-c", remedy], check=True)
        assert not [finding for finding in doctor(place)[1] if finding["level"] != "ok"]


def test_mount_of_an_unprivileged_user(made: Path, open_folder: Path) -> None:
    if not Path("/dev/fuse").stat().st_mode & 0o002:
        pytest.skip("needs a /dev/fuse that all users may open")
    by = unprivileged(open_folder / "home")
    place = open_folder / "home" / "mnt"
    subprocess.run([*by, "mkdir", "-p", place], check=True)
    run(by, "mount", made, place)
    try:
        code, findings = doctor(place, by=by)
        assert code == 0
        assert [finding["what"] for finding in findings if finding["level"] == "warning"] == [
            "read-ahead: 128 KiB, below the setting of 1024 KiB, because only root can raise it"
        ]
        if by:
            # not accessible even to root
            assert query([place])[0].state is State.CLOSED
    finally:
        run(by, "umount", place)


def test_cache_that_is_too_small(made: Path, tmp_path: Path) -> None:
    with mounted(made, tmp_path / "mnt", "--cache-size", "1MB") as place:
        code, findings = doctor(place)
    assert code == 0
    assert any("fewer than" in finding["what"] and "--cache-size" in finding["remedy"] for finding in findings)


def test_frames_that_failed_to_decode(made: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(made, tmp_path / "archive"))
    (damaged / "gain-reference.mrc").unlink()
    code, findings = doctor(damaged)
    assert code == 1
    assert [finding["what"][:14] for finding in findings if finding["level"] == "problem"] == ["gain reference"]
    with mounted(damaged, tmp_path / "mnt") as place:
        with pytest.raises(OSError, match="Input/output"):
            (place / "Movies" / "0.mrc").read_bytes()
        code, findings = doctor(place)
    assert code == 0
    assert any("decoding a frame failed" in finding["what"] for finding in findings)


@pytest.mark.parametrize(
    ("name", "mode", "unread"),
    [
        ("", 0o300, ""),
        ("Movies", 0o000, "Movies"),
        # can be listed but not entered
        ("Movies", 0o400, "Movies/0.mrc.tif"),
        ("Movies/0.mrc.tif", 0o000, "Movies/0.mrc.tif"),
    ],
)
def test_unreadable_files_and_folders(made: Path, open_folder: Path, name: str, mode: int, unread: str) -> None:
    with tempfile.TemporaryDirectory(dir=open_folder) as folder:
        Path(folder).chmod(0o755)
        closed = Path(shutil.copytree(made, Path(folder) / "archive"))
        (closed / name).chmod(mode)
        try:
            code, findings = doctor(closed, by=powerless())
        finally:
            (closed / name).chmod(0o755)
        assert code == 1
        remedies = {finding["what"]: finding["remedy"] for finding in findings if finding["level"] == "problem"}
        assert str(closed) in remedies[f"{closed / unread} not readable by this user"]
        code, findings = doctor(closed, by=powerless())
        assert code == 0


def test_findings_are_lines(made: Path) -> None:
    done = run_in_process("doctor", made)
    lines = done.stdout.splitlines()
    assert len(lines) >= 6
    assert {line.split()[0] for line in lines} <= {"ok", "warning"}
