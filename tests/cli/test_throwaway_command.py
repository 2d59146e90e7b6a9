"""The list of commands: a command that is added by one module has help, output and exit codes like all others."""

import json
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from cryofs.cli import app
from cryofs.cli.output import print_json
from cryofs.cli.parameters import PATH
from cryofs.errors import ArchiveError
from tests.support import run_in_process


def count_files(folder: Path) -> int:
    """The work of the command, which a lower room would do."""
    if not folder.is_dir():
        raise ArchiveError(f"{folder}: no such folder; check the path")
    return len(list(folder.iterdir()))


@click.command("count-files")
@click.argument("folder", type=PATH, help="Folder to count.")
@click.option("--json", "as_json", is_flag=True, help="Print the figure as JSON.")
def command(folder: Path, as_json: bool) -> None:
    """Count the files of a folder.

    Example: cryofs count-files /data/session
    """
    files = count_files(folder)
    if as_json:
        print_json({"files": files})
    else:
        print(f"{files} files")


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("cryofs.cli.count_files")
    vars(module).update(command=command)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(app, "COMMANDS", (*app.COMMANDS, "count-files"))


def test_its_help_is_its_docstring() -> None:
    assert "Count the files of a folder." in run_in_process("--help").stdout
    output = run_in_process("count-files", "--help").stdout
    assert "Example: cryofs count-files /data/session" in output
    assert "Print the figure as JSON." in output


def test_it_prints_its_result(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert run_in_process("count-files", tmp_path).stdout == "1 files\n"
    assert json.loads(run_in_process("count-files", tmp_path, "--json").stdout) == {"files": 1}


def test_an_error_is_one_line(tmp_path: Path) -> None:
    done = run_in_process("count-files", tmp_path / "none", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"cryofs: {tmp_path / 'none'}: no such folder; check the path\n"


def test_without_the_module_there_is_no_such_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "COMMANDS", app.COMMANDS[:-1])
    assert run_in_process("count-files", tmp_path, check=False).returncode == 2
