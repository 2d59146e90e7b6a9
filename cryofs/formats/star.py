"""Read, edit and write STAR files of RELION, which consist of named blocks with pairs and tables.

Unchanged values keep their text and quotes. Comments are dropped, except the line with the version of RELION.
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
    """A STAR file in memory.

    Parameters
    ----------
    text : str
        Text of the file.
    name : str
        Name of the file, for messages.

    Raises
    ------
    FormatError
        The text is not a valid STAR file.
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
        """Read the STAR file at a path.

        Raises
        ------
        FormatError
            The file is not a valid STAR file.
        """
        try:
            return cls(path.read_text("utf-8-sig"), str(path))
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: not a text file; pass a STAR file") from error

    def has(self, block: str) -> bool:
        """Return True if the file has a block with this name."""
        return any(found.name == block for found in self._document)

    def value(self, block: str, tag: str) -> str | None:
        """Return the first value of a tag in a block, without quotes, or None if the tag is missing."""
        values = self.column(block, tag)
        return values[0] if values else None

    def column(self, block: str, tag: str) -> list[str]:
        """Return the values of a tag in a block, without quotes: a column, the value of a pair, or an empty list."""
        if not self.has(block):
            return []
        return [gemmi.cif.as_string(value) for value in self._block(block).find_values(_tag(tag))]

    def every(self, tag: str) -> list[str]:
        """Return the values of a tag in all blocks, without quotes."""
        return [gemmi.cif.as_string(value) for block in self._document for value in block.find_values(_tag(tag))]

    def set_value(self, block: str, tag: str, value: str) -> None:
        """Set the value of a tag with one value, or add the tag as a pair."""
        values = self._block(block).find_values(_tag(tag))
        if len(values) == 1:
            values[0] = _quoted(value)
        else:
            self._block(block).set_pair(_tag(tag), _quoted(value))

    def set_rows(self, block: str, rows: Sequence[int], columns: Mapping[str, Sequence[str]]) -> None:
        """Replace the rows of the table that contains the given columns.

        Parameters
        ----------
        rows : sequence of int
            Index of the old row to copy, for each new row.
        columns : mapping
            New values of some columns, one value for each new row.
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
        """Remove the block with this name if it exists."""
        for place, found in enumerate(self._document):
            if found.name == block:
                del self._document[place]
                return

    def text(self) -> str:
        """Return the contents of the file as RELION writes them."""
        version = f"{self._version}\n\n" if self._version else ""
        return "".join(f"\n{version}{_block_text(block)}\n" for block in self._document)

    def _block(self, name: str) -> gemmi.cif.Block:
        for block in self._document:
            if block.name == name:
                return block
        raise FormatError(f"{self.name}: missing block data_{name}; pass a STAR file that RELION wrote")


def _quoted(value: str) -> str:
    """Return a value, quoted only if necessary, because RELION 3 treats quotes as part of the value."""
    plain = _PLAIN.fullmatch(value) and value.casefold() not in _RESERVED
    return value if plain else gemmi.cif.quote(value)


def _tag(name: str) -> str:
    return f"_{name}"


def _block_text(block: gemmi.cif.Block) -> str:
    lines = [f"data_{block.name}", ""]
    for item in block:
        # a pair is a tuple of tag and value
        if isinstance(item.pair, tuple | list):
            lines.append(" ".join(item.pair))
        elif (table := item.loop) is not None:
            lines += ["loop_", *(f"{tag} #{number}" for number, tag in enumerate(table.tags, 1))]
            width = range(table.width())
            lines += [" ".join(table[row, column] for column in width) for row in range(table.length())]
    return "\n".join([*lines, ""])
