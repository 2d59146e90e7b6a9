"""Verify, adopt and extract, with the errors that they reported."""

from collections.abc import Callable
from pathlib import Path

from cryofs.archive.adopt import Adoption, adopt
from cryofs.archive.extract import extract
from cryofs.archive.restore import Extracted
from cryofs.archive.verify import Checked, verify


def verified(*paths: Path) -> tuple[Checked, list[Exception]]:
    errors: list[Exception] = []
    done = verify(paths, 2, _appending(errors), lambda *_: None, lambda _: None)
    return done, errors


def adopted(*paths: Path) -> tuple[Adoption, list[Exception]]:
    errors: list[Exception] = []
    done = adopt(paths, 2, _appending(errors), lambda *_: None, lambda _: None, lambda *_: None)
    return done, errors


def extracted(*paths: Path, to: Path, overwrite: bool = False) -> tuple[Extracted, list[Exception]]:
    errors: list[Exception] = []
    done = extract(paths, to, 2, _appending(errors), lambda *_: None, lambda _: None, overwrite=overwrite)
    assert done.failed == len(errors)
    return done, errors


def _appending(errors: list[Exception]) -> Callable[[Path, Exception | None], None]:
    def on_file(_: Path, error: Exception | None) -> None:
        if error is not None:
            errors.append(error)

    return on_file
