"""Pages that the kernel keeps are of one state of a file."""

from cryofs.vfs.page_cache_policy import PageKeeper, Pages


def test_pages_of_the_same_state_are_kept() -> None:
    keeper = PageKeeper()
    assert keeper.opened("a", 1, 10) is Pages.DROP
    keeper.record_read("a", 1)
    assert keeper.opened("a", 1, 10) is Pages.KEEP
    keeper.closed("a", 1)
    keeper.closed("a", 1)
    assert keeper.opened("a", 1, 10) is Pages.KEEP
    assert keeper.opened("b", 1, 10) is Pages.DROP


def test_a_new_state_bypasses_cached_pages_while_the_old_one_is_read() -> None:
    keeper = PageKeeper()
    keeper.opened("a", "old", 10)
    assert [keeper.opened("a", "new", 10), keeper.opened("a", "new", 10)] == [Pages.BYPASS, Pages.BYPASS]
    assert keeper.opened("a", "old", 10) is Pages.BYPASS
    keeper.closed("a", "old")
    keeper.closed("a", "old")
    # pages of the old one are still there
    assert keeper.opened("a", "new", 10) is Pages.DROP
    # the answer to the one before may still be on its way
    assert keeper.opened("a", "new", 10) is Pages.DROP
    keeper.record_read("a", "another")
    assert keeper.opened("a", "new", 10) is Pages.DROP
    keeper.record_read("a", "new")
    assert keeper.opened("a", "new", 10) is Pages.KEEP


def test_pages_of_a_name_that_was_forgotten_are_dropped() -> None:
    keeper = PageKeeper()
    for number in range((1 << 16) + 1):
        keeper.opened(str(number), 1, 10)
        keeper.record_read(str(number), 1)
        keeper.closed(str(number), 1)
    assert keeper.opened("0", 1, 10) is Pages.DROP
    assert keeper.opened(str(1 << 16), 1, 10) is Pages.KEEP


def test_a_file_of_another_size_than_reported_bypasses_cached_pages() -> None:
    keeper = PageKeeper()
    keeper.record_lookup("a", 10)
    assert keeper.opened("a", "new", 12) is Pages.BYPASS
    assert keeper.opened("a", "new", 12) is Pages.BYPASS
    keeper.record_lookup("a", 12)
    assert keeper.opened("a", "new", 12) is Pages.DROP
    keeper.record_read("a", "new")
    keeper.ended("a", 12)
    assert keeper.opened("a", "new", 12) is Pages.KEEP
    # a reader reached the end of a smaller file, and the kernel keeps that size
    keeper.ended("a", 11)
    assert keeper.opened("a", "new", 12) is Pages.BYPASS


def test_sizes_of_some_names_are_remembered() -> None:
    keeper = PageKeeper()
    for number in range((1 << 16) + 1):
        keeper.record_lookup(str(number), 10)
    assert len(keeper._sizes) == 1 << 16
    assert keeper.opened(str(1 << 16), 1, 12) is Pages.BYPASS
