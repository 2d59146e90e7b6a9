"""Parameters of commands are declared by annotations."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest

from cryofs.cli import declare
from tests.support import cryofs

received: dict[str, Any] = {}


def odd(text: str) -> int:
    if not text.isdigit() or int(text) % 2 == 0:
        raise declare.BadParameter("expected an odd number")
    return int(text)


def command(
    files: Annotated[list[Path], declare.Argument(metavar="FILE", help="The files.")],
    output: Annotated[Path, declare.Option("-o", "--output", help="The output.")],
    other: Annotated[Path | None, declare.Option(help="Another.")] = None,
    upsampling: Annotated[Literal[1, 2] | None, declare.Option(help="A number.")] = None,
    kind: Annotated[Literal["a", "b"], declare.Option(help="A kind.")] = "a",
    jobs: Annotated[int, declare.Option(min=1, help="Jobs.", show_default="all")] = 3,
    dose: Annotated[float | None, declare.Option(help="A dose.")] = None,
    chosen: Annotated[int | None, declare.Option("--odd", parser=odd, help="Odd.")] = None,
    as_json: Annotated[bool, declare.Option("--json", help="JSON.")] = False,
    flag: Annotated[bool | None, declare.Option("--flag", help="A flag.")] = None,
) -> None:
    """Do it."""
    received.clear()
    received.update(locals())


def run(*arguments: str) -> dict[str, Any]:
    declare.make_command("x", command).main(list(arguments), standalone_mode=False)
    return received


def test_defaults() -> None:
    assert run("f", "-o", "y") == {
        **{"files": [Path("f")], "output": Path("y"), "other": None, "upsampling": None, "kind": "a", "jobs": 3},
        **{"dose": None, "chosen": None, "as_json": False, "flag": None},
    }


def test_values_have_the_declared_types() -> None:
    options = ["--other", "z", "--upsampling", "2", "--kind", "b", "--jobs", "4", "--dose", "1.5", "--odd", "7"]
    assert run("f", "g", "--output", "y", *options, "--json", "--flag") == {
        **{"files": [Path("f"), Path("g")], "output": Path("y"), "other": Path("z"), "upsampling": 2, "kind": "b"},
        **{"jobs": 4, "dose": 1.5, "chosen": 7, "as_json": True, "flag": True},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "y"], "FILE"),
        (["f"], "--output"),
        (["f", "-o", "y", "--jobs", "0"], "0 is not in the range"),
        (["f", "-o", "y", "--upsampling", "3"], "'3' is not one of '1', '2'"),
        (["f", "-o", "y", "--odd", "2"], "expected an odd number"),
        (["f", "-o", "y", "--dose", "much"], "much"),
        (["f", "-o", "y", "--nope"], "--nope"),
    ],
)
def test_invalid_arguments_are_usage_errors(arguments: list[str], message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        run(*arguments)
    assert message in caught.value.format_message()


def test_help_describes_arguments_and_options() -> None:
    made = declare.make_command("x", command)
    text = made.get_help(click.Context(made))
    for part in ("FILE...", "The files.", "-o, --output PATH", "[required]", "a|b", "[default: a]", "[default: (all)"):
        assert part in text
    assert "A number.  [default" not in text


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
    assert "no command 'compres'; did you mean compress" in done.stderr
