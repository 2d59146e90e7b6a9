"""Manual pages and completion agree with `--help`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cryofs.cli.mount_helper import HELP
from release.man import helper_page, pages
from tests.cli.test_command_line import COMMANDS
from tests.support import run_in_process


def shown(page: str) -> str:
    """Return the text of a page without formatting."""
    return re.sub(r"\\f[BRI]|\\&", "", page).replace("\\-", "-").replace("\\e", "\\")


def test_every_command_has_a_page() -> None:
    assert set(pages()) == {"cryofs", *(f"cryofs-{name}" for name in COMMANDS)}


@pytest.mark.parametrize("command", ["mount", "compress", "preview"])
def test_a_page_agrees_with_help(command: str) -> None:
    page = shown(pages()[f"cryofs-{command}"])
    helped = run_in_process(command, "--help").stdout
    for option in re.findall(r"^\s+.*?(--[a-z][a-z-]+)", helped, re.MULTILINE):
        assert option in page
    assert re.search(r"\.SH EXAMPLE\n\.nf\ncryofs " + command, page)


def test_the_page_of_the_helper_agrees_with_its_help() -> None:
    page = " ".join(shown(helper_page()).split())
    for words in re.findall(r"\S+", HELP.partition("\n\n")[2]):
        assert words in page or words in ("Options:", "Example:")
    assert ".SH EXAMPLE .nf mount -t fuse.cryofs " in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_pages_are_valid() -> None:
    for name, page in {**pages(), "mount.cryofs": helper_page()}.items():
        command = ["groff", "-man", "-ww", "-Tutf8", "-rCHECKSTYLE=3"]
        done = subprocess.run(command, input=page, capture_output=True, text=True, check=True)
        assert not done.stderr, name
        assert "NAME" in re.sub(".\b", "", done.stdout)


@pytest.mark.parametrize(("typed", "expected"), [("mo", ["mount"]), ("mount --eer-u", ["--eer-upsampling"])])
def test_bash_completes(typed: str, expected: list[str]) -> None:
    program = Path(sys.executable).with_name("cryofs")
    words = f"cryofs {typed}"
    variables = {"_CRYOFS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run([program], env=os.environ | variables, capture_output=True, text=True, check=True)
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == expected
