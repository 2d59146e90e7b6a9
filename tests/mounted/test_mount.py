"""A real mount, used as by a user."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks.simulate import Detector, header
from cryofs.compress.movie_task import CompressOptions
from cryofs.formats.record import read_record
from cryofs.fuse.control import is_mounted
from cryofs.storage.byte_source import LocalFile
from cryofs.system.resources import default_cache_size
from tests.support import DETACH_MOUNTS, archive, cryofs, mounted, movie_values, run_in_process, same_tree, simulated

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(
        shutil.which("fusermount3") is None or not os.access("/dev/fuse", os.R_OK | os.W_OK),
        reason="needs fuse3 and /dev/fuse",
    ),
]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a session folder and its archive."""
    folder = tmp_path_factory.mktemp("mounted") / "session"
    for number in range(2):
        simulated(folder / "Movies" / f"{number}.mrc", frames=20, seed=number)
    special = movie_values(seed=5)
    special[0, 0, :4] = [np.nan, -0.0, np.inf, -1]
    tail = os.urandom(5000)
    data = header(special.shape, 2, byte_order=">", extended=os.urandom(4096), kind=b"FEI1")  # type: ignore[arg-type]
    (folder / "special.mrcs").write_bytes(data + special.astype(">f4").tobytes() + tail)
    (folder / "spaces and ümlauts.mrc").write_bytes((folder / "Movies" / "0.mrc").read_bytes())
    (folder / "notes.txt").write_text("300 kV")
    (folder / "empty").write_bytes(b"")
    (folder / "link").symlink_to("Movies/0.mrc")
    (folder / "notes.txt").chmod(0o640)
    # relatime does not update an access time in the future
    os.utime(folder / "special.mrcs", ns=(2 * 10**18 + 1, 10**18 + 987654321))
    (folder / "outside").symlink_to("/etc")
    archive(folder, folder.with_name("archive"))
    return folder


@pytest.fixture(scope="module")
def shared(session: Path) -> Iterator[Path]:
    """A mount for tests that only read, whatever was read before."""
    with mounted(session.with_name("archive"), session.with_name("mnt")) as place:
        yield place


@pytest.fixture
def mount(session: Path, tmp_path: Path) -> Iterator[Path]:
    """A mount of which nothing was read yet."""
    with mounted(session.with_name("archive"), tmp_path / "mnt") as place:
        yield place


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
    place = copy_of_archive(session, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (place / "cryofs.toml").write_text(f"metrics = {quote}{port}{quote}\n")
    with mounted(place, tmp_path / "mnt"), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"cryofs_" in answer.read()


def is_gone(pid: int) -> bool:
    """Return True if a process has ended, even if its parent has not waited for it yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def copy_of_archive(session: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(session.with_name("archive"), tmp_path / "archive", symlinks=True))


def facts_of(mount: Path) -> dict[str, int]:
    facts = json.loads(run_in_process("stats", mount, "--json").stdout)
    figures: dict[str, int] = facts["mount"]
    return figures


def test_stats_of_an_archive_below_its_own_mount(session: Path, tmp_path: Path) -> None:
    place = copy_of_archive(session, tmp_path)
    expected = json.loads(run_in_process("stats", place, "--json").stdout)
    with mounted(place, place):
        found = json.loads(run_in_process("stats", place, "--json").stdout)
    del found["mount"]
    assert found == expected
    assert found["movies"] > 0


def test_every_file_is_the_original(session: Path, shared: Path) -> None:
    (session / "outside").unlink()
    assert (shared / "outside").readlink() == Path("/etc")
    names = sorted(path.name for path in shared.iterdir())
    assert names == ["Movies", "empty", "link", "notes.txt", "outside", "spaces and ümlauts.mrc", "special.mrcs"]
    (session / "outside").symlink_to("/etc")
    assert (shared / "special.mrcs").stat().st_atime_ns == 2 * 10**18 + 1
    same_tree(session, shared)


def test_reads_at_any_offset_return_the_original_bytes(session: Path, shared: Path) -> None:
    original = (session / "special.mrcs").read_bytes()
    rng = np.random.default_rng(0)
    with (shared / "special.mrcs").open("rb", buffering=0) as file:
        for _ in range(300):
            offset = int(rng.integers(0, len(original) + 10))
            size = int(rng.integers(1, 3 * len(original) // 12))
            file.seek(offset)
            assert file.read(size) == original[offset : offset + size]
        for offset in (1023, 1024, 1024 + 4096 - 1, 1024 + 4096, len(original) - 5001, len(original) - 1):
            file.seek(offset)
            assert file.read(2) == original[offset : offset + 2]


def test_memory_maps_contain_the_original(session: Path, shared: Path) -> None:
    shown = np.memmap(shared / "Movies" / "0.mrc", np.uint8, "r")
    assert shown.tobytes() == (session / "Movies" / "0.mrc").read_bytes()


def test_a_frame_is_decoded_once_for_many_readers(session: Path, mount: Path) -> None:
    def read_all(_: int) -> bytes:
        return (mount / "Movies" / "1.mrc").read_bytes()

    with ThreadPoolExecutor(8) as readers:
        contents = set(readers.map(read_all, range(8)))
    assert contents == {(session / "Movies" / "1.mrc").read_bytes()}
    assert facts_of(mount)["decodes"] == 20


def test_headers_and_sizes_need_no_decode(mount: Path) -> None:
    for path in (mount / "Movies").iterdir():
        assert path.stat().st_size > 0
        with path.open("rb", buffering=0) as file:
            assert len(os.pread(file.fileno(), 1024, 0)) == 1024
    # the kernel reads whole pages and reads ahead, so at most the first frame may have been requested
    assert facts_of(mount)["decodes"] <= 4


def test_the_mount_is_read_only(shared: Path) -> None:
    for attempt in (
        lambda: (shared / "new").write_text("x"),
        lambda: (shared / "notes.txt").write_text("x"),
        lambda: (shared / "notes.txt").unlink(),
        lambda: (shared / "folder").mkdir(),
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is checked
            attempt()
        assert caught.value.errno == errno.EROFS


def test_missing_files_are_reported_as_missing(shared: Path) -> None:
    for name in ("nothing", "Movies/0.mrc.tif", "gain-reference.mrc", "notes.txt/below", "Movies/../nothing"):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            (shared / name).stat()


def test_free_space_of_the_archive_is_shown(session: Path, shared: Path) -> None:
    assert os.statvfs(shared).f_blocks == os.statvfs(session).f_blocks


def test_memory_stays_within_the_cache_size(tmp_path: Path) -> None:
    detector = Detector.make((1024, 1024), defects=100)
    movie = simulated(tmp_path / "session" / "movie.mrc", frames=40, detector=detector)
    archive(movie, tmp_path / "archive")
    original = np.memmap(movie, np.uint8, "r")
    with mounted(tmp_path / "archive", tmp_path / "mnt", "--cache-size", "32MiB", "--jobs", 2) as mount:

        def read_at_random(seed: int) -> bool:
            rng = np.random.default_rng(seed)
            with (mount / "movie.mrc").open("rb", buffering=0) as file:
                for _ in range(40):
                    offset = int(rng.integers(0, len(original)))
                    size = int(rng.integers(1, 6 << 20))
                    if os.pread(file.fileno(), size, offset) != original[offset : offset + size].tobytes():
                        return False
            return True

        with ThreadPoolExecutor(8) as readers:
            assert all(readers.map(read_at_random, range(8)))
        facts = facts_of(mount)
        assert facts["cached_bytes"] <= 32 << 20
        peak = psutil.Process(facts["pid"]).memory_info().rss
        assert peak < (32 << 20) + (300 << 20)


def test_a_damaged_frame_is_an_error_and_affects_nothing_else(session: Path, tmp_path: Path) -> None:
    place = copy_of_archive(session, tmp_path)
    damaged = place / "Movies" / "0.mrc.tif"
    with damaged.open("r+b") as file:
        frame = read_record(LocalFile(file.fileno(), "", is_owned=False)).frames[3]
        file.seek(frame.offsets[0] + frame.byte_counts[0] // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x10]))
    original = (session / "Movies" / "0.mrc").read_bytes()
    frame_bytes = (len(original) - 1024) // 20
    with mounted(place, tmp_path / "mnt") as mount:
        with (mount / "Movies" / "0.mrc").open("rb", buffering=0) as file:
            for index in range(20):
                start = 1024 + index * frame_bytes
                if index == 3:
                    with pytest.raises(OSError, match="Input/output"):
                        os.pread(file.fileno(), 4096, start + frame_bytes // 2)
                else:
                    # skip the last page, which the damaged frame may share
                    assert os.pread(file.fileno(), 4096, start + 8192) == original[start + 8192 : start + 12288]
        assert (mount / "Movies" / "1.mrc").read_bytes() == (session / "Movies" / "1.mrc").read_bytes()
    log = (tmp_path / "mnt.log").read_text()
    assert f"{place}/Movies/0.mrc.tif, frame 3: damaged" in log
    assert "restore" in log


def test_a_missing_gain_reference_is_an_error_never_wrong_pixels(session: Path, tmp_path: Path) -> None:
    place = copy_of_archive(session, tmp_path)
    reference = place / "gain-reference.mrc"
    kept = reference.read_bytes()
    reference.write_bytes(kept[:-4] + b"\0\0\0\0")
    with mounted(place, tmp_path / "mnt") as mount:
        movie = mount / "Movies" / "0.mrc"
        assert movie.stat().st_size == (session / "Movies" / "0.mrc").stat().st_size
        with pytest.raises(OSError, match="Input/output"):
            movie.read_bytes()
        assert (mount / "notes.txt").read_text() == "300 kV"
        reference.write_bytes(kept)
        assert movie.read_bytes() == (session / "Movies" / "0.mrc").read_bytes()
    assert "gain reference" in (tmp_path / "mnt.log").read_text()


def test_a_truncated_movie_is_listed_and_its_reading_an_error(session: Path, tmp_path: Path) -> None:
    place = copy_of_archive(session, tmp_path)
    os.truncate(place / "Movies" / "0.mrc.tif", 100_000)
    with mounted(place, tmp_path / "mnt") as mount:
        assert sorted(os.listdir(mount / "Movies")) == ["0.mrc", "1.mrc"]
        assert (mount / "Movies" / "0.mrc").stat().st_size == 1
        with pytest.raises(OSError, match="Input/output"):
            (mount / "Movies" / "0.mrc").read_bytes()
        assert (mount / "Movies" / "1.mrc").read_bytes() == (session / "Movies" / "1.mrc").read_bytes()


def test_a_movie_replaced_while_open_keeps_its_content(session: Path, tmp_path: Path) -> None:
    place = copy_of_archive(session, tmp_path)
    with mounted(place, tmp_path / "mnt") as mount, (mount / "Movies" / "0.mrc").open("rb", buffering=0) as file:
        (place / "Movies" / "1.mrc.tif").replace(place / "Movies" / "0.mrc.tif")
        original = (session / "Movies" / "0.mrc").read_bytes()
        assert os.pread(file.fileno(), 100_000, 500_000) == original[500_000:600_000]


def test_new_movies_appear(session: Path, tmp_path: Path) -> None:
    place = copy_of_archive(session, tmp_path)
    with mounted(place, tmp_path / "mnt") as mount:
        movie = simulated(tmp_path / "later.mrc", seed=9)
        archive(movie, place)
        deadline = time.monotonic() + 20
        while not (mount / "later.mrc").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (mount / "later.mrc").read_bytes() == movie.read_bytes()


def test_mounting_over_the_archive_itself(session: Path, tmp_path: Path) -> None:
    place = copy_of_archive(session, tmp_path)
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


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to bind mounts")
def test_unmounting_one_of_several_mounts(session: Path, tmp_path: Path) -> None:
    """Processes of bind mounts and of a mount under another mount continue to serve."""
    source, other = session.with_name("archive"), tmp_path / "other"
    other.mkdir()
    with mounted(source, tmp_path / "mnt") as place:
        subprocess.run(["mount", "--bind", place, other], check=True)
        run_in_process("umount", other)
        assert not is_mounted(other)
        assert (place / "notes.txt").read_text() == "300 kV"
        subprocess.run(["mount", "--bind", place, other], check=True)
        pid = facts_of(place)["pid"]
        run_in_process("umount", place)
        assert not is_mounted(place)
        assert (other / "notes.txt").read_text() == "300 kV"
        subprocess.run(["mount", "--bind", other, place], check=True)
        subprocess.run(["mount", "--bind", other, place], check=True)
        run_in_process("umount", place)
        assert is_mounted(place)
        run_in_process("umount", other)
    assert is_gone(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a mount namespace")
def test_unmounting_a_mount_that_another_namespace_shows_too(session: Path, tmp_path: Path) -> None:
    with mounted(session.with_name("archive"), tmp_path / "mnt") as place:
        script = DETACH_MOUNTS + "echo; read x; exec cat notes.txt"
        command = ["unshare", "-m", "sh", "-c", script, "sh", str(place)]
        inside = subprocess.Popen(command, stdin=-1, stdout=-1, cwd=place)
        assert inside.stdout
        inside.stdout.readline()
        # a program whose working directory is in the mount of this namespace would keep it busy
        run_in_process("umount", place)
        assert not is_mounted(place)
        assert inside.communicate(b"\n")[0] == b"300 kV"
        cryofs("mount", session.with_name("archive"), place, "--log-file", tmp_path / "log")


def test_unmounting_right_after_mounting(session: Path, tmp_path: Path) -> None:
    """The index stays valid at any state of the process."""
    for _ in range(3):
        with mounted(session.with_name("archive"), tmp_path / "mnt") as place:
            pid = int(os.getxattr(place, "user.cryofs.pid"))
        assert is_gone(pid)
        assert "WARNING" not in (tmp_path / "mnt.log").read_text()


def test_unmounting_waits_for_the_process(session: Path, tmp_path: Path) -> None:
    with mounted(session.with_name("archive"), tmp_path / "mnt") as mount:
        pid = facts_of(mount)["pid"]
    assert is_gone(pid)
    assert not list((tmp_path / "mnt").iterdir())


def test_a_busy_mount_is_not_forced(session: Path, shared: Path) -> None:
    with (shared / "notes.txt").open():
        done = run_in_process("umount", shared, check=False)
        assert done.returncode == 1
        assert "fuser" in done.stderr
    assert (shared / "notes.txt").read_text() == "300 kV"


def test_a_stale_mount_is_reported_and_removed(session: Path, tmp_path: Path) -> None:
    with mounted(session.with_name("archive"), tmp_path / "mnt") as mount:
        os.kill(facts_of(mount)["pid"], signal.SIGKILL)
        deadline = time.monotonic() + 20
        while (
            "stale mount" not in (done := run_in_process("stats", mount, check=False)).stderr
            and time.monotonic() < deadline
        ):
            time.sleep(0.1)
        assert done.returncode == 1
        assert "cryofs umount" in done.stderr
    assert not list((tmp_path / "mnt").iterdir())


def test_mounting_removes_a_stale_mount_in_use(session: Path, tmp_path: Path) -> None:
    with mounted(session.with_name("archive"), tmp_path / "mnt") as mount, (mount / "notes.txt").open():
        os.kill(facts_of(mount)["pid"], signal.SIGKILL)
        done = cryofs("mount", session.with_name("archive"), mount, "--log-file", tmp_path / "log")
        assert "removed a stale mount" in done.stderr
        assert (mount / "notes.txt").read_text() == "300 kV"


def test_sigterm_unmounts(session: Path, tmp_path: Path) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    cryofs("mount", session.with_name("archive"), place, "--log-file", tmp_path / "log")
    os.kill(facts_of(place)["pid"], signal.SIGTERM)
    deadline = time.monotonic() + 20
    while is_mounted(place) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not list(place.iterdir())


def test_a_foreground_mount_ends_with_success_on_sigterm(session: Path, tmp_path: Path) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    command = [sys.executable, "-m", "cryofs", "mount", "-f", str(session.with_name("archive")), str(place)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 20
        while not is_mounted(place) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (place / "notes.txt").read_text() == "300 kV"
        process.terminate()
    assert process.returncode == 0


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
        line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{tmp_path}/mnt" in line)
        assert " - fuse.cryofs a,b " in line
        assert "index:" not in (tmp_path / "x.log").read_text(), "only errors are logged"
    finally:
        run_in_process("umount", tmp_path / "mnt")


def test_a_hangup_rescans_the_archive_and_keeps_the_mount(session: Path, mount: Path) -> None:
    process = psutil.Process(json.loads(os.getxattr(mount, "user.cryofs.facts"))["pid"])
    movie = mount / "Movies" / "0.mrc"
    log = mount.with_suffix(".log")
    with movie.open("rb") as file:
        scans = wait_for_scans(log, 1)
        process.send_signal(signal.SIGHUP)
        wait_for_scans(log, scans + 1)
        assert file.read() == (session / "Movies" / "0.mrc").read_bytes()
    assert process.is_running()
    assert sorted(path.name for path in mount.iterdir()) == sorted(path.name for path in session.iterdir())


def wait_for_scans(log: Path, number: int) -> int:
    """Wait until the log reports at least this many scans of the archive; return their number."""
    while (scans := log.read_text().count(" movies, in ")) < number:
        time.sleep(0.01)
    return scans


def replacement(session: Path, place: Path, *, same_time: bool = False) -> tuple[Path, bytes]:
    """Return an archived movie with the size and gain of 0.mrc, outside the archive, and its original."""
    other = simulated(session.parent / "other" / "0.mrc", frames=20, seed=77)
    if same_time:
        found = (session / "Movies" / "0.mrc").stat()
        os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    made = place.with_name("other archive")
    archive(other, made, CompressOptions(gain=place / "gain-reference.mrc", jobs=2))
    return made / "0.mrc.tif", other.read_bytes()


@pytest.mark.parametrize("same_time", [False, True])
def test_readers_of_a_replaced_and_of_the_new_movie_in_parallel(session: Path, tmp_path: Path, same_time: bool) -> None:
    place = copy_of_archive(session, tmp_path)
    old = (session / "Movies" / "0.mrc").read_bytes()
    stored, new = replacement(session, place, same_time=same_time)
    with mounted(place, tmp_path / "mnt") as mount:
        movie = mount / "Movies" / "0.mrc"
        with movie.open("rb", buffering=0) as before:
            assert os.pread(before.fileno(), 1 << 20, 0) == old[: 1 << 20]
            stored.replace(place / "Movies" / "0.mrc.tif")
            with movie.open("rb", buffering=0) as after:
                assert os.pread(after.fileno(), len(new), 0) == new
                assert os.pread(before.fileno(), len(old), 0) == old
                assert os.pread(after.fileno(), len(new), 0) == new
            assert movie.read_bytes() == new
        assert movie.read_bytes() == new
        assert np.array_equal(np.memmap(movie, np.uint8, "r"), np.frombuffer(new, np.uint8))


def test_pages_are_kept_between_opens_of_the_same_file(session: Path, mount: Path) -> None:
    movie = mount / "Movies" / "0.mrc"
    first = movie.read_bytes()
    reads = facts_of(mount)["bytes_read"]
    assert movie.read_bytes() == first == (session / "Movies" / "0.mrc").read_bytes()
    # a kernel that evicts pages requests them again
    assert facts_of(mount)["bytes_read"] - reads < len(first) // 2


def test_a_movie_overwritten_in_place_gives_old_bytes_or_errors(session: Path, tmp_path: Path) -> None:
    place = copy_of_archive(session, tmp_path)
    old = (session / "Movies" / "0.mrc").read_bytes()
    stored, new = replacement(session, place)
    with mounted(place, tmp_path / "mnt") as mount:
        movie = mount / "Movies" / "0.mrc"
        with movie.open("rb", buffering=0) as file:
            assert os.pread(file.fileno(), 4096, 0) == old[:4096]
            (place / "Movies" / "0.mrc.tif").write_bytes(stored.read_bytes())
            answers = []
            for offset in range(0, len(old), 1 << 17):
                try:
                    # fewer bytes if only some pages were available; the next read then fails
                    assert old[offset:].startswith(os.pread(file.fileno(), 1 << 17, offset))
                    answers.append(0)
                except OSError as error:
                    answers.append(error.errno or 0)
        assert set(answers) <= {0, errno.ESTALE}
        assert errno.ESTALE in answers
        assert movie.read_bytes() == new
