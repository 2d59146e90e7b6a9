"""What users get wrong again and again: one line that names the file, what is wrong, and what to do about it."""

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
from tests.support import SHAPE, cryofs, header, simulated, wait_for

as_root = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
needs_fuse = pytest.mark.skipif(not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="needs /dev/fuse")
# whom permissions stop, although the tests are run by root
POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of two movies, its archive, an EER file, lists, and things that are none of these."""
    base = tmp_path_factory.mktemp("mistakes")
    for number in range(2):
        simulated(base / "session" / f"{number}.mrc", seed=number)
    cryofs("compress", "session", "-o", "archive", cwd=base)
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
    """A copy to make mistakes in, where commands run."""
    place = Path(shutil.copytree(made, tmp_path / "here"))
    (place / "mnt").mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return place


def told(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The one line by which a command that failed says why."""
    # a library says once that it gets ready to draw
    beside = (": good", ": restored", "building the font cache; this may take a moment.")
    (line,) = [line for line in done.stderr.splitlines() if not line.endswith(beside)]
    assert done.returncode == code, done
    assert line.startswith("cryofs: ")
    return line


def nothing() -> None:
    """Nothing need be spoilt for a mistake."""


def without_reference() -> None:
    Path("archive/gain-reference.mrc").unlink()
    # which would report the missing file as well
    Path("archive/.cryofs-sha256").unlink()


def other_reference() -> None:
    shutil.copy("zeros.gain.mrc", "archive/gain-reference.mrc")
    # or the checksum list would report the file as well
    update(Path("archive"), {"gain-reference.mrc": reference_sha256(Path("zeros.gain.mrc"))})


def only(name: str) -> None:
    """Leave one movie in the archive."""
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
    """A line in the settings of the archive."""
    return lambda: Path("archive/cryofs.toml").write_text(line)


@dataclass(frozen=True)
class Mistake:
    """A command line, what its one line says, and what is spoilt before."""

    command: str
    says: tuple[str, ...]
    spoil: Callable[[], object] = nothing
    code: int = 1


def lone(spoil: Callable[[], None]) -> Callable[[], None]:
    """Spoil an archive of one movie."""

    def do() -> None:
        only("0.mrc.tif")
        spoil()

    return do


GAIN = ("0.mrc.tif: its gain reference", "missing or changed", "put the right gain-reference.mrc back")
DAMAGE = ("0.mrc.tif, frame ", "checksum mismatch in strip 0", "restore the file from a backup")
MISTAKES = {
    "a source that is not there": Mistake("compress nowhere -o new", ("nowhere: no such file", "check the path")),
    "an archive that is a file": Mistake(
        "compress session -o notes.txt", ("notes.txt: a file is where a folder is needed", "rename or remove it")
    ),
    "an archive onto itself": Mistake("compress session -o session", ("session: source and archive", "with -o")),
    "an archived movie archived again": Mistake(
        "compress archive/1.mrc.tif -o new", ("archive/1.mrc.tif: an archived movie", "cp -a", "from a mount")
    ),
    "what is no movie": Mistake(
        "info notes.txt", ("notes.txt: not an MRC file, and its suffix is not a supported movie type", ".mrc", ".eer")
    ),
    "a movie cut short": Mistake(
        "compress cut.mrc -o new --strict", ("cut.mrc: truncated, 1000 bytes", "copy it again")
    ),
    "an empty movie": Mistake(
        "compress empty.mrc -o new --strict", ("empty.mrc: 0 bytes are too few", "copy it again")
    ),
    "an unknown mode": Mistake("compress mode.mrc -o new --strict", ("mode.mrc: MRC mode 3", "keep this file outside")),
    "a long name": Mistake(
        "compress long -o new --gain none", ("a.mrc.tif: File name too long", "251 bytes"), long_name
    ),
    "a list of movies that are gone": Mistake(
        "compress gone.star -o new", ("session/9.mrc: listed in gone.star", "run in the folder")
    ),
    "a list of something else": Mistake(
        "compress images.star -o new", ("images.star: names no movie", "_rlnMicrographMovieName")
    ),
    "a list that is none": Mistake("compress text.star -o new", ("text.star: no valid STAR file", ".lst")),
    "a gain that is not there": Mistake("compress session -o new --gain no.mrc", ("no.mrc: ", "name another file")),
    "a gain of zeros": Mistake(
        "compress session -o new --gain zeros.gain.mrc", ("zeros.gain.mrc: no value", "--gain auto")
    ),
    "a gain of NaN": Mistake("compress session -o new --gain nan.gain.mrc", ("nan.gain.mrc: no value", "--gain auto")),
    "a gain that is a movie": Mistake(
        "compress session -o new --gain session/0.mrc",
        ("session/0.mrc: not a gain reference", "single frame of mode 2"),
    ),
    "a gain that is no MRC": Mistake(
        "compress session -o new --gain notes.txt",
        ("notes.txt: not a valid gain reference (6 bytes", "name another file"),
    ),
    "an EER gain that is not there": Mistake(
        "compress eer -o new --eer tiff --eer-grouping 5 --eer-gain no.gain", ("no.gain: ", "name another file")
    ),
    "an EER gain of another detector": Mistake(
        "compress eer -o new --eer tiff --eer-grouping 5 --eer-gain small.gain.mrc",
        ("small.gain.mrc: a gain reference of 5 x 6 does not serve", "of this detector"),
    ),
    "an EER movie without a noted dose": Mistake(
        "compress eer -o new --eer tiff --eer-dose-per-fraction 1", ("x.eer: ", "use --eer-grouping")
    ),
    "verifying an original": Mistake(
        "verify session/0.mrc", ("session/0.mrc: not an archived movie", "no checksum is recorded", "cryofs adopt")
    ),
    "verifying without the gain": Mistake("verify archive", GAIN, lone(without_reference)),
    "verifying with another gain": Mistake("verify archive", GAIN, lone(other_reference)),
    "extracting without the gain": Mistake("extract archive -o out", GAIN, lone(without_reference)),
    "verifying a damaged movie": Mistake("verify archive", DAMAGE, lone(damaged)),
    "extracting a damaged movie": Mistake("extract archive -o out", DAMAGE, lone(damaged)),
    "a preview of a damaged movie": Mistake("preview archive/0.mrc.tif -o x.png", DAMAGE, damaged),
    "extracting onto a folder": Mistake(
        "extract archive -o out", ("out/0.mrc: Is a directory", "move it"), folder_in_the_way
    ),
    "a page in no folder": Mistake("report archive -o no/x.html", ("no/x.html: its folder", "mkdir -p no")),
    "a picture in no folder": Mistake("preview archive/0.mrc.tif -o no/x.png", ("no/x.png: its folder", "mkdir -p no")),
    "facts of a folder": Mistake("info archive", ("archive: a folder", "name a movie in it")),
    "an archive that is not there": Mistake("mount nowhere mnt", ("nowhere: No such file", "check the path")),
    "settings of an archive that is not there": Mistake("config nowhere", ("nowhere: No such file", "check the path")),
    "a report of an archive that is not there": Mistake(
        "report nowhere -o x.html", ("nowhere: No such file", "check the path")
    ),
    "settings of a file": Mistake("config notes.txt", ("notes.txt: Not a directory", "name a folder")),
    "a movie for an archive": Mistake("mount session/0.mrc mnt", ("0.mrc: Not a directory", "name a folder")),
    "no mountpoint": Mistake("mount archive nowhere", ("nowhere: no such folder", "create it first")),
    "a file for a mountpoint": Mistake(
        "mount archive notes.txt", ("notes.txt: a file", "mountpoint has to be a folder")
    ),
    "a mountpoint in the archive": Mistake(
        "mount archive archive/mnt",
        ("archive/mnt: lies inside the archive", "mount elsewhere"),
        Path("archive/mnt").mkdir,
    ),
    "an archive in the mountpoint": Mistake("mount archive .", (": holds the archive", "mount elsewhere")),
    "archive and mountpoint swapped": Mistake("mount mnt archive", ("mnt: empty", "cryofs mount ", "/archive ")),
    "a size that is none": Mistake(
        "mount archive mnt --cache-size 4GX", ("cache_size", "invalid size '4GX'", "4GiB"), code=2
    ),
    "an address that is none": Mistake(
        "mount archive mnt --metrics 99999", ("metrics: invalid address '99999'", "HOST:PORT"), code=2
    ),
    "an unknown setting": Mistake(
        "mount archive mnt",
        ("cryofs.toml: unknown setting 'cache_sise'", "did you mean cache_size?"),
        settings("cache_sise = 4"),
    ),
    "a setting of no use": Mistake("mount archive mnt", ("cryofs.toml: ", "jobs"), settings("jobs = 0")),
    "unmounting what is not mounted": Mistake("umount mnt", ("mnt: no cryofs mount there", "findmnt")),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_remedy(here: Path, mistake: Mistake) -> None:
    mistake.spoil()
    line = told(cryofs(*mistake.command.split(), check=False), mistake.code)
    for part in mistake.says:
        assert part in line
    assert not any(is_mounted(here / place) for place in ("mnt", "archive", "archive/mnt", "."))


def test_a_gain_of_another_size_or_of_no_use_is_told_of_each_movie(here: Path) -> None:
    ones = header((1, *SHAPE), 2) + np.ones(SHAPE, "<f4").tobytes()
    Path("ones.gain.mrc").write_bytes(ones)
    for name, why in (("small", "of another size (5 x 6, its frames are 300 x 257)"), ("ones", "it gives no counts")):
        done = cryofs("compress", "session", "-o", name, "--gain", f"{name}.gain.mrc")
        (line, *_) = [line for line in done.stderr.splitlines() if "gain reference given" in line]
        assert "session/0.mrc" in line
        assert why in line
        assert "--gain auto" in line


def test_verifying_where_nothing_is_archived_says_so(here: Path) -> None:
    for command in (["verify", "session"], ["verify", "session", "--json"], ["verify", "mnt"]):
        line = told(cryofs(*command, check=False))
        assert "nothing in it has a checksum; name the folder that cryofs compress was given by -o" in line


def test_a_session_of_files_that_stay_as_they_are(here: Path) -> None:
    assert "0 movies, 0 failed, 0 skipped, 1 copied" in cryofs("compress", "eer", "-o", "new").stdout
    assert "copied" not in cryofs("compress", "eer", "-o", "new", "--only-do-unfinished").stdout
    assert "0 movies good, 0 failed, 1 other files good" in cryofs("verify", "new").stdout


def test_figures_where_nothing_is_archived_say_so(here: Path) -> None:
    assert "no archived movie was found; name the folder" in cryofs("stats", "session").stdout


@pytest.mark.parametrize("command", ["report archive -o", "preview session/0.mrc -o"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_a_result_takes_the_place_of_files_alone(here: Path, command: str, kind: str) -> None:
    result = here / "result.png"
    if kind == "folder":
        result.mkdir()
    elif kind == "pipe":
        os.mkfifo(result)
    else:
        result.symlink_to("pipe")
        os.mkfifo(here / "pipe")
    before = result.lstat()
    line = told(cryofs(*command.split(), result, check=False))
    assert "name a file" in line
    assert str(result) in line
    assert (result.lstat().st_mode, result.lstat().st_ino) == (before.st_mode, before.st_ino)


@pytest.mark.parametrize("arguments", [["verify", ""], ["compress", "", "-o", "new"], ["extract", "archive", "-o", ""]])
def test_a_variable_that_is_not_set_is_no_folder(here: Path, arguments: list[str]) -> None:
    line = told(cryofs(*arguments, check=False), code=2)
    assert "an argument is empty" in line
    assert not (here / "new").exists()


@pytest.mark.parametrize("command", ["verify", "stats", "adopt"])
def test_what_is_neither_file_nor_folder_is_told_so(here: Path, command: str) -> None:
    os.mkfifo("pipe.tif")
    assert "pipe.tif: neither file nor folder" in cryofs(command, "pipe.tif", check=False).stderr


@pytest.mark.parametrize("command", ["comprss session -o new", "compress session -o new --gian auto"])
def test_the_nearest_name_is_told(here: Path, command: str) -> None:
    done = cryofs(*command.split(), check=False)
    assert done.returncode == 2
    assert ("compress" if "comprss" in command else "--gain") in done.stderr.splitlines()[-1]


def test_ctrl_c_ends_with_one_line(here: Path) -> None:
    for number in range(40):
        shutil.copy("session/0.mrc", f"session/more-{number}.mrc")
    command = [sys.executable, "-m", "cryofs", "compress", "session", "-o", "new", "--jobs", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: Path("new").is_dir())
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "cryofs: interrupted; what is done is kept, and --only-do-unfinished goes on"
    assert "Traceback" not in said


def test_ctrl_c_while_the_program_starts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("cryofs.cli.app.run", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "cryofs: interrupted\n"


@pytest.mark.parametrize("script", ["$C verify archive | true", "$C info archive/0.mrc.tif --json | true"])
def test_a_reader_that_has_heard_enough(here: Path, script: str) -> None:
    done = run(["sh", "-c", f'C="{" ".join(PYTHON)}"; {script}'])
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written(here: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PYTHON, "stats", "archive"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "No space left on device" in line


@as_root
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            "compress session/0.mrc session/1.mrc -o new",
            ("session/0.mrc: ", "Permission denied", "have its owner permit"),
        ),
        ("compress session/1.mrc -o closed", ("closed/1.mrc.tif: Permission denied", "name another place")),
        ("compress session/1.mrc -o closed/new", ("closed/new: Permission denied", "name another place")),
        ("verify session/0.mrc.tif", ("session/0.mrc.tif: Permission denied", "have its owner permit")),
        ("info session/0.mrc", ("session/0.mrc: Permission denied", "have its owner permit")),
        ("config unread", ("unread: Permission denied", "have its owner permit")),
        ("report unread -o x.html", ("unread: Permission denied", "have its owner permit")),
        ("mount unread mnt", ("unread: Permission denied", "have its owner permit")),
        ("mount archive unread", ("unread: Permission denied", "have its owner permit")),
    ],
)
def test_what_a_user_may_not(here: Path, command: str, says: tuple[str, ...]) -> None:
    shutil.copy("archive/0.mrc.tif", "session/0.mrc.tif")
    for name in ("session/0.mrc", "session/0.mrc.tif"):
        Path(name).chmod(0)
    Path("closed").mkdir(mode=0o500)
    Path("unread").mkdir(mode=0o300)
    line = told(run([*POWERLESS, *PYTHON, *command.split(), *(["--gain", "none"] if "compress" in command else [])]))
    for part in says:
        assert part in line


PYTHON = (sys.executable, "-m", "cryofs")


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command, its progress left out."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    done.stderr = "".join(line for line in done.stderr.splitlines(keepends=True) if line.startswith("cryofs: "))
    return done


def apart(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script with mounts that nobody else sees; `$C` is the command."""
    return run(["unshare", "-m", "sh", "-c", f'C="{" ".join(PYTHON)}"; {script}'], **environment)


@as_root
@pytest.mark.parametrize(
    ("script", "says"),
    [
        (
            "mount -t tmpfs -o size=64k none mnt; $C extract archive/0.mrc.tif -o mnt",
            ("mnt/0.mrc: No space", "make room"),
        ),
        (
            "mount -t tmpfs -o size=64k none mnt; $C compress session -o mnt/a --gain none >/dev/null 2>mnt.log; "
            "tail -n 1 mnt.log >&2; exit 1",
            ("mnt/a: No space", "2 files are not done", "make room", "--gain none --only-do-unfinished"),
        ),
        ("mount -t tmpfs -o ro none mnt; $C compress session -o mnt/a", ("mnt/a: Read-only", "may be written to")),
        ("mount -t tmpfs -o ro none mnt; $C extract archive -o mnt/a", ("mnt/a: Read-only", "may be written to")),
        ("mount -t tmpfs none /dev; $C mount archive mnt", ("/dev/fuse: missing or not accessible", "cryofs doctor")),
        ("mount --bind /dev/null /dev/fuse; $C mount archive mnt", ("mnt: not mounted: ", "cryofs doctor")),
    ],
)
def test_a_machine_that_cannot(here: Path, script: str, says: tuple[str, ...]) -> None:
    line = told(apart(script))
    for part in says:
        assert part in line


@needs_fuse
def test_a_mount_that_fails_in_the_background_says_why(here: Path) -> None:
    for options, says in (
        ({"FUSE_LIBRARY_PATH": "/nowhere.so"}, ("libfuse 3 is missing", "apt-get install fuse3")),
        ({}, ("no.gain: there is no such gain reference", "correct --eer-gain")),
    ):
        line = told(run([*PYTHON, "mount", "archive", "mnt", "--eer-gain", "no.gain"], **options))
        assert line.startswith(f"cryofs: {here}/mnt: not mounted: ")
        for part in says:
            assert part in line
        assert not is_mounted(here / "mnt")


@pytest.fixture
def mount(here: Path) -> Iterator[Path]:
    """The archive, mounted."""
    cryofs("mount", "archive", "mnt")
    yield here / "mnt"
    if is_mounted(here / "mnt"):
        cryofs("umount", "--lazy", here / "mnt")


@needs_fuse
def test_a_mount_that_is_in_use(mount: Path) -> None:
    assert "mnt: mounted already; cryofs umount " in told(cryofs("mount", "archive", "mnt", check=False))
    with subprocess.Popen(["sleep", "60"], cwd=mount) as inside:
        line = told(cryofs("umount", "mnt", check=False))
        inside.kill()
    for part in (f"{mount}: ", "busy", f"fuser -vm {mount}", "--lazy"):
        assert part in line


@needs_fuse
def test_a_mountpoint_behind_a_link(here: Path) -> None:
    Path("link").symlink_to("mnt")
    cryofs("mount", "archive", "link")
    assert "mnt: mounted already" in told(cryofs("mount", "archive", "link", check=False))
    os.kill(int(os.getxattr("link", "user.cryofs.pid")), signal.SIGKILL)
    wait_for(lambda: cryofs("stats", "link", check=False).returncode)
    assert "a dead mount was in the way" in cryofs("mount", "archive", "link").stderr
    cryofs("umount", "link")
    assert not is_mounted(here / "mnt")


@needs_fuse
@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_a_mount_by_a_daemon_that_closed_its_streams(here: Path, closed: str) -> None:
    subprocess.run(f"{' '.join(PYTHON)} mount archive mnt {closed}", shell=True, check=True, timeout=60)
    assert (here / "mnt" / "0.mrc").read_bytes() == (here / "session" / "0.mrc").read_bytes()
    cryofs("umount", "mnt")


@needs_fuse
@pytest.mark.parametrize("command", ["stats mnt", "verify mnt", "info mnt/0.mrc", "mount mnt eer"])
def test_a_dead_mount(mount: Path, command: str) -> None:
    os.kill(int(os.getxattr(mount, "user.cryofs.pid")), signal.SIGKILL)
    wait_for(lambda: cryofs("stats", mount, check=False).returncode)
    line = told(cryofs(*command.split(), check=False))
    assert "mnt" in line
    assert "a dead mount" in line
    assert "cryofs umount" in line
    cryofs("umount", mount)
