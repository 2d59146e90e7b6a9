"""`cryofs compress`: options, exit codes, lines and figures."""

import errno
import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from cryofs.cli.app import run
from cryofs.storage.atomic_file import Draft
from tests.support import simulated

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Session in the working directory, with a name that must be quoted in a shell."""
    monkeypatch.chdir(tmp_path)
    folder = Path("a session")
    simulated(folder / "a.mrc", 20)
    (folder / "notes.txt").write_text("300 kV")
    return folder


def figures(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("options", "code", "left_out"), [([], 1, 1), (["--keep-links"], 0, 1), (["--follow-links"], 0, 0)]
)
def test_links_that_lead_out_set_the_exit_code(
    session: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, left_out: int
) -> None:
    simulated(Path("raw/b.mrc"), 3)
    (session / "Movies").symlink_to(Path("raw").absolute())
    assert run(["compress", str(session), "-o", "archive", "--json", *options]) == code
    assert figures(capsys)["links_outside"] == left_out
    assert run(["compress", str(session), "-o", "archive", "--only-do-unfinished", *options]) == code
    shown = capsys.readouterr()
    assert ("1 links that point outside the sources" in shown.out) == (left_out == 1)
    assert ("a session/Movies: symbolic link that leads to " in shown.err) == (left_out == 1)


def test_link_options_are_mutually_exclusive(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress", str(session), "-o", "archive", "--keep-links", "--follow-links"]) == 2
    assert "mutually exclusive" in capsys.readouterr().err
    assert not Path("archive").exists()


def test_plain_copies_set_the_exit_code_with_strict(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (session / "cut.mrc").write_bytes(b"cut")
    command = ["compress", str(session), "-o", "archive"]
    assert run([*command, "--json"]) == 0
    assert figures(capsys)["kept_plain"] == 1
    assert run([*command, "--only-do-unfinished"]) == 0
    assert "1 skipped, 2 up to date, 1 kept plain: " in capsys.readouterr().out
    assert run([*command, "--strict", "--only-do-unfinished"]) == 1


def test_damaged_files_set_the_exit_code_with_strict(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (session / "cut.eer").write_bytes(b"cut")
    assert run(["compress", str(session), "-o", "one", "--json"]) == 0
    assert figures(capsys)["suspect"] == 1
    assert run(["compress", str(session), "-o", "two", "--strict", "--json"]) == 1
    found = figures(capsys)
    assert (found["suspect"], found["failed"]) == (1, 0)
    assert Path("two/cut.eer").read_bytes() == b"cut"


def test_rows_of_the_estimate_with_verbose(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress", str(session), "-o", "one"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert not any("#Unreliable" in line for line in lines)
    (result,) = (line for line in lines if "estimated" in line)
    assert result.startswith("gain estimated from 1 movie, 20 frames: gain-reference.mrc, ")
    assert result.endswith(" pixels without a gain (defects)")
    assert run(["compress", str(session), "-o", "two", "--verbose"]) == 0
    assert sum("#Unreliable" in line for line in capsys.readouterr().err.splitlines()) == 20


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_one_line_with_the_command_to_continue(
    session: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    odd = Path("odd\n'name'\xff\udcff.mrc")
    simulated(odd, 3)

    def full(_: Draft) -> None:
        raise OSError(code, os.strerror(code))

    command = ["compress", str(session), str(odd), "-o", "archive", "--gain", "none"]
    with monkeypatch.context() as patch:
        patch.setattr(Draft, "publish", full)
        assert run(command) == 1
    shown = capsys.readouterr()
    assert "1 failed, 0 skipped, 3 not done: " in shown.out
    (line,) = shown.err.splitlines()
    assert line.startswith(f"cryofs: archive: {os.strerror(code)}, 3 files are not done (at most ")
    assert not Path("archive").exists()
    continuation = line.partition("then run: ")[2]
    assert continuation.startswith("cryofs compress 'a session' $'odd")
    # split by a shell
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {continuation}"], capture_output=True, check=True).stdout
    assert [os.fsdecode(word) for word in words.split(b"\0")[:-1]] == ["cryofs", *command, "--only-do-unfinished"]
    assert run(shlex.split(shlex.join([*command, "--only-do-unfinished"]))) == 0


def test_wrong_source_creates_no_archive(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress", "sesion", "-o", "deep/archive"]) == 1
    assert "sesion: no such file or folder" in capsys.readouterr().err
    assert not Path("deep").exists()
    assert run(["compress", str(session), "-o", "deep/archive", "--gain", "nowhere.mrc"]) == 1
    assert not Path("deep").exists()


def test_control_characters_in_names_are_escaped(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulated(session / "bad\nname\x1b[2J.mrc", 3)
    (session / "gone\x9b.mrc").write_bytes(b"")
    assert run(["compress", str(session), "-o", "archive", "--gain", "none"]) == 0
    shown = capsys.readouterr().err
    assert "bad\\nname\\x1b[2J.mrc.tif: " in shown
    assert "gone\\x9b.mrc: kept as a plain copy" in shown
    assert "\x1b" not in shown
    assert "\x9b" not in shown
