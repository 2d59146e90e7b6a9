"""Memory of event streams that is used again."""

from cryofs.formats.eer.stream_memory import StreamMemory


def address(words: object) -> int:
    return words.__array_interface__["data"][0]  # type: ignore[attr-defined,no-any-return]


def test_memory_is_used_again_when_no_view_of_it_is_left() -> None:
    memory = StreamMemory(1)
    first = memory.take(100)
    view, place = first[10:20], address(first)
    first[:] = 7
    del first
    other = memory.take(100)
    other[:] = 0
    assert address(other) != place
    assert view.tolist() == [7] * 10
    del view
    assert address(memory.take(50)) == place


def test_memory_that_is_too_small_is_replaced() -> None:
    memory = StreamMemory(1)
    small = memory.take(1)
    del small
    large = memory.take(1 << 20)
    large[:] = 1
    assert len(large) == 1 << 20


def test_no_more_than_the_given_number_is_kept() -> None:
    memory = StreamMemory(2)
    taken = [memory.take(10) for _ in range(5)]
    places = {address(words) for words in taken}
    taken.clear()
    again = [memory.take(10) for _ in range(5)]
    assert len(places & {address(words) for words in again[:2]}) == 2
