"""Run the shell blocks of the documentation, page by page.

Each block is run, unless the line before it gives a reason: `<!-- not run: REASON -->`. Blocks with a title are files,
which are written before the following blocks are run.
"""

import re
import shutil
import sys
from pathlib import Path

import pytest

from cryofs.kernels import warm_up
from tests.docs import session, world
from tests.docs.pages import PAGES, Block, read_page
from tests.privileges import CAN_USE_FUSE

RUN = {"sh": "{text}", "python": "python - <<'END-OF-BLOCK'\n{text}\nEND-OF-BLOCK"}
# settings, listings and output of programs
NOT_RUN = {"toml", "ini", "text", "json"}
TOOLS = ("relion_import", "relion_convert_to_tiff", "relion_run_motioncorr", "tiffinfo", "getfattr", "curl")
BLOCKS = {path: read_page(path).blocks for path in PAGES}
TO_RUN = {
    path: [block for block in BLOCKS[path] if not block.reason and (block.title or block.language in RUN)]
    for path in PAGES
}
# preparation of a page; other pages start with a session and its archive, which is not mounted
BEGINNINGS = {
    "README.md": f"ln -s {sys.prefix} .venv; rm -r /archive/session",
    "install.md": f"ln -s {sys.prefix} /opt/cryofs; rm -r /archive/session",
    "start.md": f"ln -s {sys.prefix} /opt/cryofs; rm -r /archive/session",
    "index.md": "rm -r /archive/session",
    "archive-a-session.md": "rm -r /archive/session",
    "session-in-progress.md": "rm -r /archive/session",
    "eer.md": "mkdir /mnt/movies",
    "where-cryofs-runs.md": "mkdir /mnt/movies",
    "operations.md": f"ln -s {sys.prefix} /opt/cryofs; mkdir /mnt/movies; cryofs mount /archive/session /mnt/movies",
}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_has_a_language_or_a_reason(path: Path) -> None:
    """Every block has a language, and each block that is not run has a reason."""
    page = read_page(path)
    assert not page.faults
    for block in page.blocks:
        assert block.language in RUN or block.language in NOT_RUN, f"{path.name}:{block.line}: {block.language}"
        if block.language == "text":
            commands_found = [
                line for line in block.text.splitlines() if line.startswith(("cryofs ", "make ", "relion_"))
            ]
            assert not commands_found, f"{path.name}:{block.line}: commands are in ```sh, or marked as not run"


def test_every_mark_belongs_to_a_block() -> None:
    for path in PAGES:
        marked = [block for block in BLOCKS[path] if block.reason]
        assert len(re.findall(r"^<!-- not run", path.read_text(), re.MULTILINE)) == len(marked), path.name


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Create the session, its archive and other files, to be copied to the root of a world."""
    # each world would compile for itself what is not kept yet
    warm_up.load()
    folder = tmp_path_factory.mktemp("docs")
    made = session.make_session(folder / "session")
    trees = [made, session.make_archive(folder / "archive", made), session.make_others(folder / "others")]
    trial = folder / "trial"
    trial.mkdir()
    if (done := world.run("cryofs --version", trial)).returncode:
        pytest.skip(f"needs root, mount namespaces and overlays: {done.stderr.strip()}")
    return trees


def commands(block: Block) -> str:
    """Return a block as shell commands that print their line number."""
    if block.title:
        written = f"cat > '{block.title}' <<'END-OF-FILE'\n{block.text}\nEND-OF-FILE"
    else:
        written = RUN[block.language].format(text=block.text)
    return f"echo '--- line {block.line}'; echo '--- line {block.line}' >&2\n{written}"


@pytest.mark.parametrize("path", [path for path in PAGES if TO_RUN[path]], ids=lambda path: path.name)
def test_blocks_run_without_errors(path: Path, tmp_path: Path, trees: list[Path]) -> None:
    script = "\n".join([BEGINNINGS.get(path.name, ""), *map(commands, TO_RUN[path]), "echo '--- end'"])
    if missing := [tool for tool in TOOLS if tool in script and shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    if "cryofs mount" in script and not CAN_USE_FUSE:
        pytest.skip("needs fuse3, /dev/fuse and the right to mount")
    done = world.run(script, tmp_path, trees)
    ended = done.returncode == 0 and done.stdout.endswith("--- end\n")
    assert ended, f"{path.name}, after the last line named:\n{done.stdout}\n{done.stderr}"
