"""The kernel keeps pages of one state of a file at a time."""

from cryofs.fuse import pages
from cryofs.fuse.pages import KernelPages

THROUGH, KEPT, PAST = (False, False), (False, True), (True, False)


def test_pages_are_kept_while_a_file_stays_the_same() -> None:
    kernel = KernelPages()
    assert kernel.opened(1, "/a", ("old",)) == THROUGH
    assert kernel.opened(2, "/a", ("old",)) == KEPT
    kernel.released(1)
    kernel.released(2)
    assert kernel.opened(3, "/a", ("old",)) == KEPT
    kernel.released(3)
    assert kernel.opened(4, "/a", ("new",)) == THROUGH


def test_a_new_state_is_read_past_the_pages_of_an_old_one() -> None:
    kernel = KernelPages()
    assert kernel.opened(1, "/a", ("old",)) == THROUGH
    assert kernel.opened(2, "/a", ("new",)) == PAST
    assert kernel.opened(3, "/b", ("new",)) == THROUGH
    kernel.released(2)
    assert kernel.opened(4, "/a", ("new",)) == PAST, "the old one may have filled pages since"
    kernel.released(1)
    assert kernel.opened(5, "/a", ("new",)) == THROUGH
    assert kernel.opened(6, "/a", ("new",)) == KEPT


def test_forgotten_paths_begin_anew() -> None:
    kernel = KernelPages()
    for number in range(pages._KNOWN_PATHS + 1):
        kernel.opened(number, f"/{number}", ("old",))
        kernel.released(number)
    assert kernel.opened(-1, "/0", ("old",)) == THROUGH
    assert kernel.opened(-2, "/1", ("old",)) == KEPT
