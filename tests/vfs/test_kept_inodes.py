"""Files that replace others keep their inode numbers, and never share them with another file."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from cryofs.vfs.kept_inodes import KeptInodes

ARCHIVED = 1000


class Replacing(RuleBasedStateMachine):
    """Names, each of a plain file or an archived movie, on a file system that uses free inodes again at once."""

    def __init__(self) -> None:
        super().__init__()
        self.inodes = KeptInodes()
        self.files: dict[int, int] = {}  # own number of the file of each name
        self.numbers: dict[int, int] = {}  # what a name showed first
        self.names = 0

    def free(self, data: st.DataObject, form: int) -> int:
        used = {own % ARCHIVED for own in self.files.values()}
        return form + data.draw(st.sampled_from(sorted(set(range(len(used) + 2)) - used)))

    @rule(data=st.data(), form=st.sampled_from([0, ARCHIVED]))
    def creates(self, data: st.DataObject, form: int) -> None:
        self.files[self.names] = self.free(data, form)
        self.numbers[self.names] = self.inodes.shown(self.files[self.names])
        self.names += 1

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def removes(self, data: st.DataObject) -> None:
        del self.files[data.draw(st.sampled_from(sorted(self.files)))]

    @precondition(lambda self: self.files)
    @rule(data=st.data(), form=st.sampled_from([0, ARCHIVED]), succeeds=st.booleans())
    def replaces(self, data: st.DataObject, form: int, succeeds: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        old, new = self.files[name], self.free(data, form)
        with self.inodes.replacing(old, new) as done:
            assert self.inodes.shown(old) == self.inodes.shown(new) == self.numbers[name]
            if succeeds:
                done()
                self.files[name] = new

    @invariant()
    def each_name_has_its_own_number(self) -> None:
        shown = {name: self.inodes.shown(own) for name, own in self.files.items()}
        assert shown == {name: self.numbers[name] for name in self.files}
        assert len(set(shown.values())) == len(shown)


def test_each_name_keeps_a_number_of_its_own() -> None:
    run_state_machine_as_test(Replacing, settings=settings(max_examples=25, stateful_step_count=20, deadline=None))


@given(st.booleans())
def test_a_look_up_is_repeated_after_a_replacement(is_later: bool) -> None:
    """A look-up may find the old file before it is replaced, and ask for its number afterwards."""
    inodes = KeptInodes()
    file = 1

    def look() -> int:
        nonlocal file
        found = file
        if file == 1:
            with inodes.replacing(1, 2) as done:
                file = 2
                if is_later:
                    done()
        return inodes.shown(found)

    assert inodes.consistent(look) == 1
    assert not is_later or inodes.consistent(look) == 1
