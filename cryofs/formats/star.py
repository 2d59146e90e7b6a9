"""STAR files as RELION writes them: named blocks of pairs and of tables with columns.

Values that are not changed keep their text and quotes. Comments are dropped, except RELION's line with its version.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import gemmi

from cryofs.errors import FormatError

_VERSION = re.compile(r"^# version \d+\s*$", re.MULTILINE)

# values that need no quotes
_PLAIN = re.compile(r"(?!data_|save_)[^\s_#$'\"\[\];]\S*", re.IGNORECASE)
_RESERVED = ("loop_", "global_", "stop_")


class StarFile:
    """The blocks of a STAR file.

    Raises
    ------
    FormatError
        Not a STAR file.
    """

    def __init__(self, text: str, name: str):
        self.name = name
        found = _VERSION.search(text)
        self._version = found.group().rstrip() if found else None
        try:
            self._document = gemmi.cif.read_string(text)
        except (ValueError, RuntimeError) as error:
            raise FormatError(f"{name}: not a valid STAR file ({error}); export it again") from error

    @classmethod
    def read(cls, path: Path) -> "StarFile":
        """Read a file; errors as those of the class."""
        try:
            return cls(path.read_text("utf-8-sig"), str(path))
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: not a text file; pass a STAR file") from error

    def has(self, block: str) -> bool:
        """Return True if the file has a block of this name."""
        return any(found.name == block for found in self._document)

    def value(self, block: str, tag: str) -> str | None:
        """Return the value of a tag that occurs once, without quotes; None if it is missing."""
        values = self.column(block, tag)
        return values[0] if values else None

    def column(self, block: str, tag: str) -> list[str]:
        """Return the values of a column, or of a pair as a column of one; empty if it is missing."""
        if not self.has(block):
            return []
        return [gemmi.cif.as_string(value) for value in self._block(block).find_values(_tag(tag))]

    def every(self, tag: str) -> list[str]:
        """Return the values of a tag in all blocks."""
        return [gemmi.cif.as_string(value) for block in self._document for value in block.find_values(_tag(tag))]

    def set_value(self, block: str, tag: str, value: str) -> None:
        """Set the only value of a tag, which is added if it is missing."""
        values = self._block(block).find_values(_tag(tag))
        if len(values) == 1:
            values[0] = _quoted(value)
        else:
            self._block(block).set_pair(_tag(tag), _quoted(value))

    def set_rows(self, block: str, rows: Sequence[int], columns: Mapping[str, Sequence[str]]) -> None:
        """Replace the rows of a table.

        Parameters
        ----------
        rows : sequence of int
            For each new row, the old row whose values it takes.
        columns : mapping
            New values of some columns.
        """
        table = self._block(block).find_loop(_tag(next(iter(columns)))).get_loop()
        old = [[table[row, column] for column in range(table.width())] for row in range(table.length())]
        new = [list(old[row]) for row in rows]
        for name, values in columns.items():
            place = table.tags.index(_tag(name))
            for row, value in zip(new, values, strict=True):
                row[place] = _quoted(value)
        table.set_all_values([list(column) for column in zip(*new, strict=True)])

    def remove(self, block: str) -> None:
        """Remove a block, if it exists."""
        for place, found in enumerate(self._document):
            if found.name == block:
                del self._document[place]
                return

    def text(self) -> str:
        """Return the file as text."""
        version = f"{self._version}\n\n" if self._version else ""
        return "".join(f"\n{version}{_block_text(block)}\n" for block in self._document)

    def _block(self, name: str) -> gemmi.cif.Block:
        for block in self._document:
            if block.name == name:
                return block
        raise FormatError(f"{self.name}: no data block data_{name}; pass a STAR file that RELION wrote")


def _quoted(value: str) -> str:
    """Return a value as it is written; RELION 3 does not remove quotes, so only values that need them get them."""
    plain = _PLAIN.fullmatch(value) and value.casefold() not in _RESERVED
    return value if plain else gemmi.cif.quote(value)


def _tag(name: str) -> str:
    return f"_{name}"


def _block_text(block: gemmi.cif.Block) -> str:
    lines = [f"data_{block.name}", ""]
    for item in block:
        # a tuple of tag and value
        if isinstance(item.pair, tuple | list):
            lines.append(" ".join(item.pair))
        elif (table := item.loop) is not None:
            lines += ["loop_", *(f"{tag} #{number}" for number, tag in enumerate(table.tags, 1))]
            width = range(table.width())
            lines += [" ".join(table[row, column] for column in width) for row in range(table.length())]
    return "\n".join([*lines, ""])
