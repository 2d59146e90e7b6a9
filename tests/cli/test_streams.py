"""Ctrl-C, pipes that are closed, and full devices."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cryofs.cli import main
from tests.cli.error_lines import PYTHON, run
from tests.support import wait_for


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
