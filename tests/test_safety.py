"""What the package never does: run what it reads, or read what would not end."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cryofs
from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.formats import eer
from cryofs.storage.byte_source import LocalFile

PACKAGE = Path(cryofs.__file__).parent
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "yaml", "code", "runpy"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "execfile"}
# it reads what a copy of its own process wrote, through a pipe that no other process has
OWN_PROCESS = (PACKAGE / "system" / "limited.py", "pickle")
# compiled code of the installation or of this user, as numba stores it; loading it means running it
OWN_CODE = (PACKAGE / "codecs" / "compiled.py", "pickle")
# XML is read by the library that refuses entities
FORBIDDEN_XML = {"xml.etree.ElementTree.parse", "xml.sax", "xml.dom", "xml.dom.minidom", "lxml"}


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            yield path, node


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names] + [node.module or ""]
    return []


def test_no_module_that_runs_what_it_reads_is_imported() -> None:
    found = [
        (path, name) for path, node in nodes() for name in imported(node) if (path, name) not in (OWN_PROCESS, OWN_CODE)
    ]
    assert len(found) > 100
    assert not [each for each in found if each[1].split(".")[0] in FORBIDDEN_MODULES or each[1] in FORBIDDEN_XML]


def test_nothing_is_evaluated_and_no_shell_is_started() -> None:
    calls = [(path, node) for path, node in nodes() if isinstance(node, ast.Call)]
    for path, call in calls:
        # compiling a pattern, a kernel or a movie is something else: the built-in function has no owner
        own = call.func.id if isinstance(call.func, ast.Name) else ""
        owned = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        assert own not in FORBIDDEN_CALLS, path
        assert owned not in FORBIDDEN_CALLS - {"compile"}, path
        options = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert options.get("shell", "False") == "False", path
        if ast.unparse(call.func) in ("np.load", "numpy.load", "np.savez"):
            assert options.get("allow_pickle") == "False", path


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + level, b"&%c;" % (97 + level) * 10) for level in range(9))
    + b']><metadata><item name="detectorPixelSize.width">&j;</item></metadata>'
)
OUTSIDE = (
    b'<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b'<metadata><item name="detectorPixelSize.width">&a;</item></metadata>'
)


@pytest.mark.parametrize("xml", [LAUGHS, OUTSIDE])
def test_entities_in_the_metadata_of_an_eer_file_are_not_followed(tmp_path: Path, xml: bytes) -> None:
    path = tmp_path / "a.eer"
    write_eer(path, list(random_frames(3, (64, 64), 0.02, Widths())), (64, 64), Widths(), xml=xml)
    with path.open("rb") as file:
        index = eer.read_index(LocalFile(file.fileno(), "a.eer", is_owned=False))
    assert index.frames == 3
    assert index.metadata == {}
