"""One seam for everything that changes an archive: no other module makes such a call."""

import ast
from pathlib import Path

import pytest

import cryofs

PACKAGE = Path(cryofs.__file__).parent
SEAM = "storage/changes.py"
# what these open is not an archive: compiled code, an index in a cache folder, a log, a kernel setting, devices
ELSEWHERE = {
    *("system/code_cache.py", "vfs/index_db.py", "fuse/daemon.py", "fuse/serve.py"),
    *("fuse/log_file.py", "system/limited.py", "cli/__init__.py", "cli/app.py", "doctor/machine.py"),
    # calls the operations of a file system, which have the names of system calls
    "fuse/writing_binding.py",
}

OF_OS = {
    *(
        "rename",
        "renames",
        "replace",
        "unlink",
        "remove",
        "removedirs",
        "rmdir",
        "mkdir",
        "makedirs",
        "mknod",
        "mkfifo",
    ),
    *("link", "symlink", "truncate", "ftruncate", "fsync", "fdatasync", "sync", "posix_fallocate", "copy_file_range"),
    *("utime", "chmod", "fchmod", "lchmod", "chown", "fchown", "lchown", "setxattr", "removexattr"),
    *("pwrite", "pwritev", "writev", "sendfile", "splice"),
}
OF_PATHS = {
    *("unlink", "mkdir", "rmdir", "touch", "chmod", "lchmod", "symlink_to", "hardlink_to", "rename"),
    *("write_bytes", "write_text"),
}
READS = {"which", "disk_usage"}
WRITING_FLAGS = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND")


def changing_call(call: ast.Call) -> str | None:
    """Return the name of a call that changes files, None for any other call."""
    name = ast.unparse(call.func)
    owner, _, method = name.rpartition(".")
    arguments = [*call.args, *(word.value for word in call.keywords)]
    if owner == "os" and method in OF_OS:
        return name
    if owner == "os" and method == "open" and any(flag in ast.unparse(call) for flag in WRITING_FLAGS):
        return name
    if owner == "shutil" and method not in READS:
        return name
    if owner and owner != "os" and method in OF_PATHS:
        return name
    # strings have `replace` with two arguments, structs with keywords
    if owner and method == "replace" and len(call.args) == 1 and not call.keywords:
        return name
    if method in ("open", "fdopen", "FileIO"):
        modes = [each.value for each in arguments if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if any(set(mode) <= set("rwxabt+") and set(mode) & set("wxa+") for mode in modes):
            return name
    return None


def changing_calls(source: str) -> list[str]:
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [name for name in map(changing_call, calls) if name is not None]


def modules() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def test_all_changes_of_an_archive_are_made_in_one_module() -> None:
    found = {name: changing_calls((PACKAGE / name).read_text()) for name in modules()}
    assert len(found[SEAM]) > 12
    assert {name for name, calls in found.items() if calls} <= {SEAM, *ELSEWHERE}, found


def test_no_module_keeps_the_disk_that_a_test_replaces() -> None:
    for name in modules():
        for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "cryofs.storage.changes":
                assert name == SEAM, name


@pytest.mark.parametrize(
    "source",
    [
        *("os.rename(a, b)", "os.unlink(a, dir_fd=b)", "os.fsync(a)", "os.open(a, os.O_RDWR)", "shutil.copyfile(a, b)"),
        *("path.unlink()", "path.replace(target)", "path.open('x+b')", "open(path, 'w')", "path.open(mode='ab')"),
        *("path.write_bytes(data)", "path.parent.mkdir()", "os.utime(path, ns=(1, 2))"),
    ],
)
def test_calls_that_change_files_are_found(source: str) -> None:
    assert changing_calls(source)


@pytest.mark.parametrize(
    "source", ["text.replace('a', 'b')", "replace(plan, big=True)", "path.open('rb')", "os.open(a, os.O_RDONLY)"]
)
def test_other_calls_are_not(source: str) -> None:
    assert not changing_calls(source)
