import subprocess
import sys
from pathlib import Path

import pytest

from cryofs.errors import DependencyError
from cryofs.system import extras

WITHOUT = """
import importlib.util, sys
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {missing} else find_spec(name, *rest)
from cryofs.cli import main
sys.argv = ["cryofs", *{arguments}]
main()
"""


def test_installed_modules_are_accepted() -> None:
    extras.require("report", "json", "numpy")


def test_missing_modules_are_reported_with_the_install_command() -> None:
    with pytest.raises(DependencyError, match=r"^missing nonesuch; .*pip install 'cryofs\[report\]'$"):
        extras.require("report", "json", "nonesuch")


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (["report", "archive", "-o", "page.html"], {"matplotlib"}, "report"),
        (["preview", "a.mrc", "-o", "a.png"], {"PIL"}, "report"),
    ],
)
def test_a_command_without_its_extra_ends_with_one_line(
    tmp_path: Path, arguments: list[str], missing: set[str], extra: str
) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "a.mrc").write_bytes(bytes(1024))
    program = WITHOUT.format(missing=missing, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == f"cryofs: missing {', '.join(missing)}; install them with: pip install 'cryofs[{extra}]'"
