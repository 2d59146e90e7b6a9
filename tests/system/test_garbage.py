"""The collector is paused while objects are created that stay."""

import gc

import pytest

from cryofs.system import garbage


def test_it_is_paused_and_goes_on() -> None:
    with garbage.long_lived():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.unfreeze()


def test_it_goes_on_after_an_error() -> None:
    with pytest.raises(ImportError), garbage.long_lived():
        raise ImportError
    assert gc.isenabled()
    gc.unfreeze()


def test_what_was_imported_is_not_walked_again() -> None:
    before = gc.get_freeze_count()
    with garbage.long_lived():
        kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    assert gc.get_freeze_count() >= before + len(kept)
    gc.unfreeze()


def test_it_goes_on_after_the_last_of_several_blocks() -> None:
    first, second = garbage.long_lived(), garbage.long_lived()
    with first:
        second.__enter__()
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()
    gc.unfreeze()
