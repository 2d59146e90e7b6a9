"""The list of commands: a command that is added by one module has help, output and exit codes like all others."""

import json
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer

from cryofs.cli import app
from cryofs.cli.output import print_json
from cryofs.errors import ArchiveError
from tests.support import run_in_process


def count_files(folder: Path) -> int:
    """The work of the command, which a lower room would do."""
    if not folder.is_dir():
        raise ArchiveError(f"{folder}: no such folder; check the path")
    return len(list(folder.iterdir()))


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to count.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figure as JSON.")] = False,
) -> None:
    """Count the files of a folder.

    Example: cryofs count /data/session
    """
    files = count_files(folder)
    if as_json:
        print_json({"files": files})
    else:
        print(f"{files} files")


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("count")
    vars(module).update(NAME="count", command=command)
    monkeypatch.setattr(app, "COMMANDS", (*app.COMMANDS, module))


def test_its_help_is_its_docstring() -> None:
    assert "Count the files of a folder." in run_in_process("--help").stdout
    output = run_in_process("count", "--help").stdout
    assert "Example: cryofs count /data/session" in output
    assert "Print the figure as JSON." in output


def test_it_prints_its_result(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert run_in_process("count", tmp_path).stdout == "1 files\n"
    assert json.loads(run_in_process("count", tmp_path, "--json").stdout) == {"files": 1}


def test_an_error_is_one_line(tmp_path: Path) -> None:
    done = run_in_process("count", tmp_path / "none", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"cryofs: {tmp_path / 'none'}: no such folder; check the path\n"


def test_without_the_module_there_is_no_such_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "COMMANDS", app.COMMANDS[:-1])
    assert run_in_process("count", tmp_path, check=False).returncode == 2
