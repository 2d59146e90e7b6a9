"""Adopt and verify, with the errors that were reported."""

from pathlib import Path

from cryofs.archive.adopt import Adoption, adopt
from cryofs.archive.verify import Checked, verify


def adopted(*paths: Path) -> tuple[Adoption, list[Exception]]:
    errors: list[Exception] = []
    done = adopt(paths, 2, lambda _, e: errors.append(e) if e else None, lambda *_: None, lambda _: None)
    return done, errors


def verified(*paths: Path) -> tuple[Checked, list[Exception]]:
    errors: list[Exception] = []
    done = verify(paths, 2, lambda _, e: errors.append(e) if e else None, lambda *_: None, lambda _: None)
    return done, errors
