"""The collector is paused while modules are imported."""

import gc

import pytest

from cryofs.system import garbage


def test_it_is_paused_and_goes_on() -> None:
    with garbage.imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.unfreeze()


def test_it_goes_on_after_an_error() -> None:
    with pytest.raises(ImportError), garbage.imports():
        raise ImportError
    assert gc.isenabled()
    gc.unfreeze()


def test_what_was_imported_is_not_walked_again() -> None:
    before = gc.get_freeze_count()
    with garbage.imports():
        kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    assert gc.get_freeze_count() >= before + len(kept)
    gc.unfreeze()
