"""The time that the kernel gives a request."""

from pathlib import Path

import pytest

from cryofs.system.request_limit import RequestLimit, request_limit

MAXIMUM, DEFAULT = "fs.fuse.max_request_timeout", "fs.fuse.default_request_timeout"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"max_request_timeout": 0, "default_request_timeout": 0}, None),
        ({"max_request_timeout": 20, "default_request_timeout": 0}, RequestLimit(20, MAXIMUM)),
        (
            {"max_request_timeout": 0, "default_request_timeout": 30},
            RequestLimit(30, DEFAULT),
        ),
        (
            {"max_request_timeout": 60, "default_request_timeout": 30},
            RequestLimit(30, DEFAULT),
        ),
        ({"max_request_timeout": 60, "default_request_timeout": 300}, RequestLimit(60, MAXIMUM)),
        # the kernel checks only so often
        ({"max_request_timeout": 2}, RequestLimit(15, MAXIMUM)),
    ],
)
def test_the_limit_of_new_mounts(tmp_path: Path, files: dict[str, int], expected: RequestLimit | None) -> None:
    for name, seconds in files.items():
        (tmp_path / name).write_text(f"{seconds}\n")
    assert request_limit(tmp_path) == expected


def test_storage_and_a_second_wait_for_it_fit_into_the_limit() -> None:
    limit = RequestLimit(20, "")
    assert 2 * limit.storage_seconds < limit.seconds
    assert limit.storage_seconds < limit.request_seconds < limit.seconds
