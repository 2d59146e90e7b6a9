"""Names in other locales: bytes from the archive to the reader, whatever the locale."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mounted.support import NEEDS_MOUNTS
from tests.support import archive, same_tree, simulated

pytestmark = NEEDS_MOUNTS

Run = Callable[..., subprocess.CompletedProcess[bytes]]
# in UTF-8, in ISO 8859-1, and in neither
NAMES = [os.fsencode("grün 画像.mrc"), b"gr\xfcn.mrc", b"\x8f\xff.mrc"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with compiled locales whose encoding is not UTF-8."""
    folder = tmp_path_factory.mktemp("locales")
    for language, encoding in (("de_DE", "ISO-8859-1"), ("ja_JP", "EUC-JP")):
        command = ["localedef", "-i", language, "-f", encoding, str(folder / f"{language}.{encoding}")]
        try:
            subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("needs localedef")
        if not (folder / f"{language}.{encoding}").is_dir():
            pytest.skip("needs the sources of locales (Debian: apt-get install locales)")
    return folder


LOCALES = {"de_DE.ISO-8859-1": "latin-1", "ja_JP.EUC-JP": "euc_jp", "C": "utf-8", "POSIX": "utf-8", "C.UTF-8": "utf-8"}
VARIABLES = ("LANG", "LOCPATH", "PYTHONUTF8", "PYTHONIOENCODING")


@pytest.fixture(params=LOCALES)
def locale(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def run(locale: str, compiled: Path) -> Run:
    """Return a function that runs a module in a locale."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LC_") and name not in VARIABLES}
    environment = kept | {"LOCPATH": str(compiled), "LC_ALL": locale}

    def run(*arguments: object, module: str = "cryofs") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, check=True, env=environment)

    return run


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session with names in several encodings, and its archive."""
    folder = tmp_path_factory.mktemp("named") / "session"
    movie = simulated(folder / "a.mrc", frames=3).read_bytes()
    for name in NAMES:
        (folder / os.fsdecode(name)).write_bytes(movie)
    (folder / "a.mrc").unlink()
    (folder / "notes ü.txt").write_text("300 kV")
    (folder / "link").symlink_to(os.fsdecode(NAMES[1]))
    archive(folder, folder.with_name("archive"))
    return folder


@pytest.fixture
def mountpoint(tmp_path: Path, run: Run) -> Iterator[Path]:
    place = tmp_path / os.fsdecode(b"\xfc \xc3\xbc")
    place.mkdir()
    yield place
    if place.is_mount():
        run("umount", "--lazy", place)


@pytest.mark.parametrize("module", ["cryofs", "cryofs.cli.mount_helper"])
def test_a_mount_shows_names_as_they_are(named: Path, mountpoint: Path, run: Run, module: str) -> None:
    log = mountpoint.with_name("log")
    command = ["mount"] if module == "cryofs" else []
    run(*command, named.with_name("archive"), mountpoint, "-o", f"log_file={log}", module=module)
    same_tree(named, mountpoint)
    run("umount", mountpoint)
    assert not mountpoint.is_mount()
    assert "ERROR" not in log.read_text("utf-8")


def test_output_holds_names_in_the_encoding_of_the_locale(named: Path, run: Run, locale: str) -> None:
    movie = named.with_name("archive") / os.fsdecode(NAMES[0] + b".tif")
    assert "grün 画像.mrc".encode(LOCALES[locale], "backslashreplace") in run("info", movie).stdout


@pytest.mark.parametrize("locale", ["de_DE.ISO-8859-1"])
def test_reports_hold_names_in_utf8(named: Path, tmp_path: Path, run: Run) -> None:
    run("report", named.with_name("archive"), "-o", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    assert all(name in text for name in ("grün 画像.mrc", r"gr\xfcn.mrc", r"\x8f\xff.mrc"))


@pytest.mark.parametrize("locale", ["de_DE.ISO-8859-1"])
def test_lists_and_archives_hold_names_as_they_are(named: Path, tmp_path: Path, run: Run) -> None:
    name = os.fsdecode(NAMES[0])
    shutil.copy(named / name, tmp_path / name)
    (tmp_path / "movies.lst").write_text(f"{name}\n", "utf-8")
    run("compress", tmp_path / "movies.lst", "-o", tmp_path / "archive", "--gain", "none")
    assert os.fsencode(name) + b".tif" in os.listdir(os.fsencode(tmp_path / "archive"))
    run("extract", tmp_path / "archive" / f"{name}.tif", "-o", tmp_path / "restored")

    assert (tmp_path / "restored" / name).read_bytes() == (named / name).read_bytes()
