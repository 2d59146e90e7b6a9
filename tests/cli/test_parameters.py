"""Parameters that several commands have, and the group that imports commands on demand."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from cryofs.cli.app import app
from cryofs.cli.eer import eer_options
from cryofs.cli.parameters import PATH, jobs_option
from cryofs.system.resources import usable_cores
from tests.support import cryofs, run_in_process

received: dict[str, Any] = {}


@click.command("x")
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE...", help="The files.")
@eer_options
@jobs_option()
@click.pass_obj
def command(obj: object, /, **values: Any) -> None:
    """Do it."""
    received.clear()
    received.update(values, obj=obj)


def run(*arguments: str) -> dict[str, Any]:
    command.main(list(arguments), standalone_mode=False, obj="object")
    return received


def test_defaults() -> None:
    assert run("f") == {"files": (Path("f"),), "eer_settings": {}, "jobs": usable_cores(), "obj": "object"}


def test_given_eer_options_are_settings_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--eer-grouping", "8", "--eer-upsampling", "4", "--eer-crop", "2", "--eer-dtype", "float32"]
    options += ["--eer-dose-per-fraction", "1.5", "--eer-gain", "x.gain", "--eer-apply-gain", "--jobs", "4"]
    values = run("f", "g", *options)
    assert values["eer_settings"] == {
        **{"eer_grouping": 8, "eer_upsampling": 4, "eer_crop": 2, "eer_dtype": "float32"},
        **{"eer_dose_per_fraction": 1.5, "eer_gain": str(tmp_path / "x.gain"), "eer_apply_gain": True},
    }
    assert (values["files"], values["jobs"]) == ((Path("f"), Path("g")), 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'FILE...'"),
        (["f", "--jobs", "0"], "0 is not in the range x>=1"),
        (["f", "--eer-upsampling", "3"], "'3' is not one of '1', '2', '4'"),
        (["f", "--eer-dose", "much"], "'much' is not a valid float"),
        (["f", "--nope"], "No such option '--nope'"),
    ],
)
def test_invalid_arguments_are_usage_errors(arguments: list[str], message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        run(*arguments)
    assert message in caught.value.format_message()


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e7"])
@pytest.mark.parametrize("option", ["--eer-dose", "--eer-pixel-size", "--eer-dose-per-fraction"])
def test_doses_and_pixel_sizes_are_above_0(option: str, value: str) -> None:
    done = run_in_process("info", "x.eer", option, value, check=False)
    assert done.returncode == 2
    name = option.removeprefix("--").replace("-", "_")
    assert done.stderr.startswith(f"cryofs: {name}: invalid value {float(value)}; expected a number above 0")


def test_help_describes_arguments_and_options_in_order() -> None:
    text = " ".join(command.get_help(click.Context(command)).split())
    for part in ("FILE... The files.", "[1|2|4]", "[default: (40);", "[default: (all cores); x>=1]"):
        assert part in text
    assert text.index("--eer-grouping") < text.index("--eer-apply-gain") < text.index("--jobs")


@pytest.mark.parametrize("name", app.list_commands(click.Context(app)))
def test_a_command_has_the_name_of_its_module(name: str) -> None:
    found = app.get_command(click.Context(app), name)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("arguments", ["--version", "compress --nope", "mount --help", "verify", "nope"])
def test_nothing_else_is_imported_before_a_command_runs(arguments: str) -> None:
    program = "import sys; from cryofs.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    command_line = [sys.executable, "-c", program, *arguments.split()]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)
    loaded = set(done.stderr.split())
    assert "cryofs.cli" in loaded
    assert not {"numpy", "numba", "rich", "msgspec", "mfusepy", "concurrent.futures"} & loaded


def test_a_similar_command_is_suggested() -> None:
    done = cryofs("compres", "x", check=False)
    assert done.returncode == 2
    assert "No such command 'compres'. (Did you mean one of: 'compare', 'compress'?)" in done.stderr


def test_choices_are_completed() -> None:
    variables = {"_CRYOFS_COMPLETE": "bash_complete", "COMP_WORDS": "cryofs mount --eer-dtype int", "COMP_CWORD": "3"}
    program = Path(sys.executable).with_name("cryofs")
    done = subprocess.run([program], env=os.environ | variables, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["plain,int8", "plain,int16"]
