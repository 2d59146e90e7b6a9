"""Mapping of exceptions to errno and to log messages."""

import errno
import logging
import os
import shutil
from types import SimpleNamespace
from typing import Any

import pytest

from cryofs.errors import DamagedError
from cryofs.system.deadlines import seconds_left
from cryofs.system.request_limit import RequestLimit

pytestmark = pytest.mark.skipif(shutil.which("fusermount3") is None, reason="needs libfuse 3")


def failing(error: Exception) -> Any:
    """Return operations whose open() fails, because the file system raises an error."""
    # the import loads libfuse
    from cryofs.fuse.operations import Operations

    def fail(_: str) -> int:
        raise error

    loading: Any = SimpleNamespace(files=lambda: SimpleNamespace(open=fail))
    return Operations(loading, 0, lambda: None, lambda: None)


def open_in(operations: Any) -> int:
    """Return the errno of open()."""
    with pytest.raises(OSError, match=r".") as found:
        operations.open("/Movies/x.mrc", SimpleNamespace(flags=os.O_RDONLY))
    assert found.value.errno is not None
    return found.value.errno


def answer(error: Exception) -> int:
    """Return the errno of open() if the file system raises an error."""
    return open_in(failing(error))


def test_requests_have_a_deadline_only_if_the_kernel_sets_a_limit() -> None:
    from cryofs.fuse.operations import Operations

    left: list[float | None] = []
    loading: Any = SimpleNamespace(files=lambda: SimpleNamespace(read_link=lambda _: left.append(seconds_left())))
    for limit in (None, RequestLimit(30, "fs.fuse.max_request_timeout")):
        Operations(loading, 0, lambda: None, lambda: None, limit).readlink("/link")
    assert left[0] is None
    assert left[1] is not None
    assert 0 < left[1] <= 20
    assert seconds_left() is None


def test_a_storage_error_is_passed_on_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert answer(OSError(errno.EIO, os.strerror(errno.EIO), "x.mrc.tif")) == errno.EIO
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    for part in ("/Movies/x.mrc: ", os.strerror(errno.EIO), "for a failing disk"):
        assert part in line.getMessage()


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.ENAMETOOLONG])
def test_expected_errors_are_not_logged(caplog: pytest.LogCaptureFixture, code: int) -> None:
    assert answer(OSError(code, os.strerror(code), "x.mrc.tif")) == code
    assert not caplog.records


def test_cryofs_errors_and_unexpected_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert answer(DamagedError("x.mrc.tif, frame 3: damaged")) == errno.EIO
    assert answer(ZeroDivisionError("division")) == errno.EIO
    assert [line.getMessage() for line in caplog.records] == [
        "x.mrc.tif, frame 3: damaged",
        "unexpected error in open",
    ]


def test_a_fault_that_repeats_is_logged_once_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    operations = failing(DamagedError("x.mrc.tif, frame 3: damaged"))
    for _ in range(20):
        open_in(operations)
    assert [line.getMessage() for line in caplog.records] == [
        "x.mrc.tif, frame 3: damaged",
        "x.mrc.tif, frame 3: damaged (occurred 10 times)",
    ]
