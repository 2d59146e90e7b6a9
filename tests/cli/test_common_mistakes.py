"""Common mistakes of users: one line with the file, the problem and the fix."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.cli import main
from cryofs.fuse.control import is_mounted
from cryofs.movies.gain_library import reference_sha256
from cryofs.storage.checksum_lists import update
from tests.support import DETACH_MOUNTS, SHAPE, cryofs, header, mounted, run_in_process, simulated, wait_for

as_root = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
needs_fuse = pytest.mark.skipif(not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="needs /dev/fuse")
# prefix that removes the capabilities of root, so that permissions apply
POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Session of two movies, its archive, an EER file, lists, and invalid files of each type."""
    base = tmp_path_factory.mktemp("mistakes")
    for number in range(2):
        simulated(base / "session" / f"{number}.mrc", seed=number)
    run_in_process("compress", "session", "-o", "archive", cwd=base)
    (base / "notes.txt").write_text("300 kV")
    (base / "eer").mkdir()
    write_eer(base / "eer" / "x.eer", random_frames(20, (64, 80), 0.02, Widths()), (64, 80), Widths())
    whole = (base / "session" / "0.mrc").read_bytes()
    (base / "cut.mrc").write_bytes(whole[:-1000])
    (base / "empty.mrc").write_bytes(b"")
    (base / "mode.mrc").write_bytes(whole[:12] + b"\3" + whole[13:])
    for name, gain in (("zeros", np.zeros(SHAPE)), ("nan", np.full(SHAPE, np.nan)), ("small", np.ones((5, 6)))):
        (base / f"{name}.gain.mrc").write_bytes(header((1, *gain.shape), 2) + gain.astype("<f4").tobytes())
    (base / "gone.star").write_text("data_\nloop_\n_rlnMicrographMovieName\nsession/9.mrc\n")
    (base / "images.star").write_text("data_\nloop_\n_rlnMicrographName\nsession/0.mrc\n")
    (base / "text.star").write_text("0.mrc\n")
    return base


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy of the session as the working directory, which a test may change."""
    place = Path(shutil.copytree(made, tmp_path / "here"))
    (place / "mnt").mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return place


def error_line(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """Return the only error line of a failed command."""
    # Matplotlib prints a line when it is first used
    ignored = (": good", ": restored", "building the font cache; this may take a moment.")
    (line,) = [line for line in done.stderr.splitlines() if not line.endswith(ignored)]
    assert done.returncode == code, done
    assert line.startswith("cryofs: ")
    return line


def nothing() -> None:
    """Do not change any files."""


def without_reference() -> None:
    Path("archive/gain-reference.mrc").unlink()
    # the checksum list would also report the missing file
    Path("archive/.cryofs-sha256").unlink()


def other_reference() -> None:
    shutil.copy("zeros.gain.mrc", "archive/gain-reference.mrc")
    # otherwise the checksum list would also report the file
    update(Path("archive"), {"gain-reference.mrc": reference_sha256(Path("zeros.gain.mrc"))})


def only(name: str) -> None:
    """Delete all movies of the archive except one."""
    for path in Path("archive").glob("*.tif"):
        if path.name != name:
            path.unlink()


def damaged() -> None:
    path = Path("archive/0.mrc.tif")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def long_name() -> None:
    Path("long").mkdir()
    shutil.copy("session/0.mrc", "long/" + 248 * "a" + ".mrc")


def folder_in_the_way() -> None:
    Path("out/0.mrc").mkdir(parents=True)
    only("0.mrc.tif")


def settings(line: str) -> Callable[[], object]:
    """Return a function that writes a line to the settings of the archive."""
    return lambda: Path("archive/cryofs.toml").write_text(line)


@dataclass(frozen=True)
class Mistake:
    """A command, the parts of its error line, and the preparation of the files."""

    command: str
    message: tuple[str, ...]
    prepare: Callable[[], object] = nothing
    code: int = 1


def single(prepare: Callable[[], None]) -> Callable[[], None]:
    """Prepare an archive of a single movie."""

    def prepare_single() -> None:
        only("0.mrc.tif")
        prepare()

    return prepare_single


GAIN = ("0.mrc.tif: its gain reference", "missing or changed", "restore the right gain-reference.mrc")
DAMAGE = ("0.mrc.tif, frame ", "checksum mismatch in strip 0", "restore the file from a backup")
MISTAKES = {
    "a missing source": Mistake("compress nowhere -o new", ("nowhere: no such file", "check the path")),
    "an archive that is a file": Mistake(
        "compress session -o notes.txt", ("notes.txt: expected a folder, got a file", "rename or remove it")
    ),
    "an archive onto itself": Mistake("compress session -o session", ("session: source and archive", "with -o")),
    "an archived movie archived again": Mistake(
        "compress archive/1.mrc.tif -o new", ("archive/1.mrc.tif: an archived movie", "cp -a", "from a mount")
    ),
    "a file that is not a movie": Mistake(
        "info notes.txt", ("notes.txt: not an MRC file, and its suffix is not a supported movie type", ".mrc", ".eer")
    ),
    "a movie cut short": Mistake(
        "compress cut.mrc -o new --strict", ("cut.mrc: truncated, 1000 bytes", "copy it again")
    ),
    "an empty movie": Mistake(
        "compress empty.mrc -o new --strict", ("empty.mrc: file too short for an MRC header (0 bytes)", "copy it again")
    ),
    "an unknown mode": Mistake(
        "compress mode.mrc -o new --strict", ("mode.mrc: unsupported MRC mode", "keep this file outside")
    ),
    "a long name": Mistake(
        "compress long -o new --gain none", ("a.mrc.tif: File name too long", "251 bytes"), long_name
    ),
    "a list of missing movies": Mistake(
        "compress gone.star -o new", ("session/9.mrc: listed in gone.star", "run in the folder")
    ),
    "a list of something else": Mistake(
        "compress images.star -o new", ("images.star: contains no movie names", "_rlnMicrographMovieName")
    ),
    "an invalid list": Mistake("compress text.star -o new", ("text.star: not a valid STAR file", ".lst")),
    "a missing gain": Mistake("compress session -o new --gain no.mrc", ("no.mrc: ", "pass another file")),
    "a gain of zeros": Mistake(
        "compress session -o new --gain zeros.gain.mrc",
        ("zeros.gain.mrc: gain reference without positive values", "--gain auto"),
    ),
    "a gain of NaN": Mistake(
        "compress session -o new --gain nan.gain.mrc",
        ("nan.gain.mrc: gain reference without positive values", "--gain auto"),
    ),
    "a gain that is a movie": Mistake(
        "compress session -o new --gain session/0.mrc",
        ("session/0.mrc: not a gain reference", "single frame of mode 2"),
    ),
    "a gain that is not an MRC file": Mistake(
        "compress session -o new --gain notes.txt",
        ("notes.txt: not a valid gain reference (", "6 bytes", "pass another file"),
    ),
    "a missing EER gain": Mistake(
        "compress eer -o new --eer tiff --eer-grouping 5 --eer-gain no.gain", ("no.gain: ", "pass another file")
    ),
    "an EER gain of another detector": Mistake(
        "compress eer -o new --eer tiff --eer-grouping 5 --eer-gain small.gain.mrc",
        ("small.gain.mrc: a gain reference of 5 x 6 does not fit", "of this detector"),
    ),
    "an EER movie without a dose": Mistake(
        "compress eer -o new --eer tiff --eer-dose-per-fraction 1", ("x.eer: ", "use --eer-grouping")
    ),
    "verifying an original": Mistake(
        "verify session/0.mrc", ("session/0.mrc: not an archived movie", "no checksum is recorded", "cryofs adopt")
    ),
    "verifying without the gain": Mistake("verify archive", GAIN, single(without_reference)),
    "verifying with another gain": Mistake("verify archive", GAIN, single(other_reference)),
    "extracting without the gain": Mistake("extract archive -o out", GAIN, single(without_reference)),
    "verifying a damaged movie": Mistake("verify archive", DAMAGE, single(damaged)),
    "extracting a damaged movie": Mistake("extract archive -o out", DAMAGE, single(damaged)),
    "a preview of a damaged movie": Mistake("preview archive/0.mrc.tif -o x.png", DAMAGE, damaged),
    "extracting onto a folder": Mistake(
        "extract archive -o out", ("out/0.mrc: Is a directory", "move the existing folder away"), folder_in_the_way
    ),
    "a page in a missing folder": Mistake(
        "report archive -o no/x.html", ("no/x.html: the folder does not exist", "mkdir -p no")
    ),
    "a picture in a missing folder": Mistake(
        "preview archive/0.mrc.tif -o no/x.png", ("no/x.png: the folder does not exist", "mkdir -p no")
    ),
    "info about a folder": Mistake("info archive", ("archive: a folder", "pass a movie in it")),
    "a missing archive": Mistake("mount nowhere mnt", ("nowhere: No such file", "check the path")),
    "settings of a missing archive": Mistake("config nowhere", ("nowhere: No such file", "check the path")),
    "a report of a missing archive": Mistake("report nowhere -o x.html", ("nowhere: No such file", "check the path")),
    "settings of a file": Mistake("config notes.txt", ("notes.txt: Not a directory", "pass a folder")),
    "a movie as archive": Mistake("mount session/0.mrc mnt", ("0.mrc: Not a directory", "pass a folder")),
    "a missing mountpoint": Mistake(
        "mount archive nowhere", ("nowhere: mountpoint does not exist", "create the folder first")
    ),
    "a file as mountpoint": Mistake("mount archive notes.txt", ("notes.txt: not a folder", "as mountpoint")),
    "a mountpoint in the archive": Mistake(
        "mount archive archive/mnt",
        ("archive/mnt: inside the archive", "mount elsewhere"),
        Path("archive/mnt").mkdir,
    ),
    "an archive in the mountpoint": Mistake("mount archive .", (": contains the archive", "mount elsewhere")),
    "archive and mountpoint swapped": Mistake(
        "mount mnt archive", ("mnt: archive is empty", "cryofs mount ", "/archive ")
    ),
    "an invalid size": Mistake(
        "mount archive mnt --cache-size 4GX", ("cache_size", "invalid size '4GX'", "4GiB"), code=2
    ),
    "an invalid address": Mistake(
        "mount archive mnt --metrics 99999", ("metrics: invalid address '99999'", "HOST:PORT"), code=2
    ),
    "an unknown setting": Mistake(
        "mount archive mnt",
        ("cryofs.toml: unknown setting 'cache_sise'", "did you mean cache_size?"),
        settings("cache_sise = 4"),
    ),
    "an invalid setting": Mistake("mount archive mnt", ("cryofs.toml: ", "jobs"), settings("jobs = 0")),
    "unmounting what is not mounted": Mistake("umount mnt", ("mnt: not a cryofs mount", "findmnt")),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_is_one_line_with_a_remedy(here: Path, mistake: Mistake) -> None:
    mistake.prepare()
    line = error_line(run_in_process(*mistake.command.split(), check=False), mistake.code)
    for part in mistake.message:
        assert part in line
    assert not any(is_mounted(here / place) for place in ("mnt", "archive", "archive/mnt", "."))


def test_unsuitable_gain_is_reported_for_each_movie(here: Path) -> None:
    ones = header((1, *SHAPE), 2) + np.ones(SHAPE, "<f4").tobytes()
    Path("ones.gain.mrc").write_bytes(ones)
    for name, reason in (
        ("small", "size mismatch: expected 300 x 257, got 5 x 6"),
        ("ones", "it yields no counts"),
    ):
        done = run_in_process("compress", "session", "-o", name, "--gain", f"{name}.gain.mrc")
        (line, *_) = [line for line in done.stderr.splitlines() if "given gain reference" in line]
        assert "session/0.mrc" in line
        assert reason in line
        assert "--gain auto" in line


def test_verify_without_any_checksum_is_an_error(here: Path) -> None:
    for command in (["verify", "session"], ["verify", "session", "--json"], ["verify", "mnt"]):
        line = error_line(run_in_process(*command, check=False))
        assert "no file has a checksum; pass the archive (-o of cryofs compress)" in line


def test_session_of_copied_files(here: Path) -> None:
    assert "0 movies, 0 failed, 0 skipped, 1 copied" in run_in_process("compress", "eer", "-o", "new").stdout
    assert "copied" not in run_in_process("compress", "eer", "-o", "new", "--only-do-unfinished").stdout
    assert "0 movies good, 0 failed, 1 other files good" in run_in_process("verify", "new").stdout


def test_stats_without_archived_movies(here: Path) -> None:
    assert "no archived movies found; pass the folder" in run_in_process("stats", "session").stdout


@pytest.mark.parametrize("command", ["report archive -o", "preview session/0.mrc -o"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_result_replaces_only_regular_files(here: Path, command: str, kind: str) -> None:
    result = here / "result.png"
    if kind == "folder":
        result.mkdir()
    elif kind == "pipe":
        os.mkfifo(result)
    else:
        result.symlink_to("pipe")
        os.mkfifo(here / "pipe")
    before = result.lstat()
    line = error_line(run_in_process(*command.split(), result, check=False))
    assert "pass the path of a regular or new file" in line
    assert str(result) in line
    assert (result.lstat().st_mode, result.lstat().st_ino) == (before.st_mode, before.st_ino)


@pytest.mark.parametrize("arguments", [["verify", ""], ["compress", "", "-o", "new"], ["extract", "archive", "-o", ""]])
def test_empty_argument_is_an_error(here: Path, arguments: list[str]) -> None:
    line = error_line(run_in_process(*arguments, check=False), code=2)
    assert "empty argument" in line
    assert not (here / "new").exists()


@pytest.mark.parametrize("command", ["verify", "stats", "adopt"])
def test_pipe_is_neither_file_nor_folder(here: Path, command: str) -> None:
    os.mkfifo("pipe.tif")
    assert "pipe.tif: neither a file nor a folder" in run_in_process(command, "pipe.tif", check=False).stderr


@pytest.mark.parametrize("command", ["comprss session -o new", "compress session -o new --gian auto"])
def test_closest_name_is_suggested(here: Path, command: str) -> None:
    done = run_in_process(*command.split(), check=False)
    assert done.returncode == 2
    assert ("compress" if "comprss" in command else "--gain") in done.stderr.splitlines()[-1]


def test_ctrl_c_prints_one_line(here: Path) -> None:
    for number in range(40):
        shutil.copy("session/0.mrc", f"session/more-{number}.mrc")
    command = [sys.executable, "-m", "cryofs", "compress", "session", "-o", "new", "--jobs", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: Path("new").is_dir())
        process.send_signal(signal.SIGINT)
        _, output = process.communicate()
    assert process.returncode == 130
    assert output.splitlines()[-1] == "cryofs: interrupted; finished files are kept, continue with --only-do-unfinished"
    assert "Traceback" not in output


def test_ctrl_c_during_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("cryofs.cli.app.run", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "cryofs: interrupted\n"


@pytest.mark.parametrize("script", ["$C verify archive | true", "$C info archive/0.mrc.tif --json | true"])
def test_reader_that_closes_the_pipe(here: Path, script: str) -> None:
    done = run(["sh", "-c", f'C="{" ".join(PYTHON)}"; {script}'])
    assert (done.returncode, done.stderr) == (0, "")


def test_output_to_a_full_device(here: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PYTHON, "stats", "archive"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "No space left on device" in line


@as_root
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "compress session/0.mrc session/1.mrc -o new",
            ("session/0.mrc: ", "Permission denied", "ask the owner for permission"),
        ),
        ("compress session/1.mrc -o closed", ("closed/1.mrc.tif: Permission denied", "use another path")),
        ("compress session/1.mrc -o closed/new", ("closed/new: Permission denied", "use another path")),
        ("verify session/0.mrc.tif", ("session/0.mrc.tif: Permission denied", "ask the owner for permission")),
        ("info session/0.mrc", ("session/0.mrc: Permission denied", "ask the owner for permission")),
        ("config unread", ("unread: Permission denied", "ask the owner for permission")),
        ("report unread -o x.html", ("unread: Permission denied", "ask the owner for permission")),
        ("mount unread mnt", ("unread: Permission denied", "ask the owner for permission")),
        ("mount archive unread", ("unread: Permission denied", "ask the owner for permission")),
    ],
)
def test_missing_permissions(here: Path, command: str, message: tuple[str, ...]) -> None:
    shutil.copy("archive/0.mrc.tif", "session/0.mrc.tif")
    for name in ("session/0.mrc", "session/0.mrc.tif"):
        Path(name).chmod(0)
    Path("closed").mkdir(mode=0o500)
    Path("unread").mkdir(mode=0o300)
    line = error_line(
        run([*POWERLESS, *PYTHON, *command.split(), *(["--gain", "none"] if "compress" in command else [])])
    )
    for part in message:
        assert part in line


PYTHON = (sys.executable, "-m", "cryofs")


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command; keep only the error lines of cryofs in its standard error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    done.stderr = "".join(line for line in done.stderr.splitlines(keepends=True) if line.startswith("cryofs: "))
    return done


def apart(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in its own mount namespace; `$C` is the command."""
    return run(["unshare", "-m", "sh", "-c", f'{DETACH_MOUNTS}C="{" ".join(PYTHON)}"; {script}'], **environment)


@as_root
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "mount -t tmpfs -o size=64k none mnt; $C extract archive/0.mrc.tif -o mnt",
            ("mnt/0.mrc: No space", "free some space"),
        ),
        (
            "mount -t tmpfs -o size=64k none mnt; $C compress session -o mnt/a --gain none >/dev/null 2>mnt.log; "
            "tail -n 1 mnt.log >&2; exit 1",
            ("mnt/a: No space", "2 files are not done", "free some space", "--gain none --only-do-unfinished"),
        ),
        ("mount -t tmpfs -o ro none mnt; $C compress session -o mnt/a", ("mnt/a: Read-only", "use a writable path")),
        ("mount -t tmpfs -o ro none mnt; $C extract archive -o mnt/a", ("mnt/a: Read-only", "use a writable path")),
        ("mount -t tmpfs none /dev; $C mount archive mnt", ("/dev/fuse: missing or not accessible", "cryofs doctor")),
        ("mount --bind /dev/null /dev/fuse; $C mount archive mnt", ("mnt: not mounted: ", "cryofs doctor")),
    ],
)
def test_machine_without_space_or_fuse(here: Path, script: str, message: tuple[str, ...]) -> None:
    line = error_line(apart(script))
    for part in message:
        assert part in line


@needs_fuse
def test_background_mount_reports_its_error(here: Path) -> None:
    for options, message in (
        ({"FUSE_LIBRARY_PATH": "/nowhere.so"}, ("missing libfuse 3", "apt-get install fuse3")),
        ({}, ("no.gain: gain reference does not exist", "correct --eer-gain")),
    ):
        line = error_line(run([*PYTHON, "mount", "archive", "mnt", "--eer-gain", "no.gain"], **options))
        assert line.startswith(f"cryofs: {here}/mnt: not mounted: ")
        for part in message:
            assert part in line
        assert not is_mounted(here / "mnt")


@pytest.fixture
def mount(here: Path) -> Iterator[Path]:
    """Mounted archive."""
    cryofs("mount", "archive", "mnt")
    yield here / "mnt"
    if is_mounted(here / "mnt"):
        cryofs("umount", "--lazy", here / "mnt")


@needs_fuse
def test_mount_in_use(mount: Path) -> None:
    assert "mnt: already mounted; unmount it with cryofs umount " in error_line(
        run_in_process("mount", "archive", "mnt", check=False)
    )
    with subprocess.Popen(["sleep", "60"], cwd=mount) as inside:
        line = error_line(run_in_process("umount", "mnt", check=False))
        inside.kill()
    for part in (f"{mount}: ", "busy", f"fuser -vm {mount}", "--lazy"):
        assert part in line


@needs_fuse
def test_mountpoint_behind_a_link(here: Path) -> None:
    Path("link").symlink_to("mnt")
    cryofs("mount", "archive", "link")
    assert "mnt: already mounted" in error_line(run_in_process("mount", "archive", "link", check=False))
    os.kill(int(os.getxattr("link", "user.cryofs.pid")), signal.SIGKILL)
    wait_for(lambda: run_in_process("stats", "link", check=False).returncode)
    assert "removed a stale mount" in cryofs("mount", "archive", "link").stderr
    cryofs("umount", "link")
    assert not is_mounted(here / "mnt")


@needs_fuse
@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_mount_by_a_daemon_with_closed_streams(here: Path, closed: str) -> None:
    subprocess.run(f"{' '.join(PYTHON)} mount archive mnt {closed}", shell=True, check=True, timeout=60)
    assert (here / "mnt" / "0.mrc").read_bytes() == (here / "session" / "0.mrc").read_bytes()
    cryofs("umount", "mnt")


@pytest.fixture(scope="module")
def dead(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a mount `mnt` whose process was killed."""
    place = Path(shutil.copytree(made, tmp_path_factory.mktemp("dead") / "here"))
    with mounted(place / "archive", place / "mnt") as mount:
        os.kill(int(os.getxattr(mount, "user.cryofs.pid")), signal.SIGKILL)
        wait_for(lambda: run_in_process("stats", mount, check=False).returncode)
        yield place


@needs_fuse
@pytest.mark.parametrize("command", ["stats mnt", "verify mnt", "info mnt/0.mrc", "mount mnt eer"])
def test_stale_mount(dead: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(dead)
    line = error_line(run_in_process(*command.split(), check=False))
    assert "mnt" in line
    assert "stale mount" in line
    assert "cryofs umount" in line
