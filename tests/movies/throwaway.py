"""A kind of movie and a view that only tests have: one object each.

Run as a program, this is the cryofs command with both.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np

from cryofs.errors import FormatError
from cryofs.formats import mrc
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.movies import registry
from cryofs.movies.movie import InMemoryFrame, Movie
from cryofs.movies.provider import Appearance, OpenContext, Provider, ShowOptions, Summary
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs import views
from cryofs.vfs.views import ViewRow

MARK = b"RAW8"
NEGATIVE = "negative"


@dataclass(frozen=True)
class RawMetadata:
    shape: tuple[int, int, int]


def read_metadata(source: LocalFile) -> RawMetadata:
    """A mark, frames, rows and columns as three bytes, then signed pixels."""
    head = source.read(7, 0)
    if head[:4] != MARK or len(head) < 7:
        raise FormatError(f"{source.name}: not a raw movie; copy it again")
    return RawMetadata((head[4], head[5], head[6]))


class RawMovie(Movie):
    def __init__(self, source: LocalFile, negative: bool):
        frames, ny, nx = read_metadata(source).shape
        self.name = source.name
        self._source, self._sign = source, np.int8(-1 if negative else 1)
        self._header = MrcHeader(mrc.new_header((frames, ny, nx), 0, None, "raw"), "<", nx, ny, frames, 0)
        self.layout = Layout.of(self._header)
        self.identity = *source.identity, "raw", negative

    @property
    def mrc_header(self) -> MrcHeader:
        return self._header

    def read_frame(self, index: int, rows: range | None = None) -> InMemoryFrame:
        size = self.layout.frame_bytes
        values = np.frombuffer(self._source.read_exactly(size, 7 + index * size, "frame"), np.int8)
        return InMemoryFrame((values * self._sign).view(np.uint8))

    def read_trailing(self, size: int, offset: int) -> bytes:
        return b""

    def close(self) -> None:
        self._source.close()


class RawProvider(Provider[RawMetadata, None]):
    key = "RAW"
    suffixes = (".raw8",)
    metadata_type = RawMetadata

    def shown_name(self, stored: str) -> str:
        return stored.removesuffix(".raw8") + ".mrc"

    def stored_names(self, shown: str) -> list[str]:
        return [shown.removesuffix(".mrc") + ".raw8"] if shown.endswith(".mrc") else []

    def probe(self, source: LocalFile, read_index: Callable[[LocalFile], None], options: ShowOptions) -> RawMetadata:
        return read_metadata(source)

    def appearance(self, metadata: RawMetadata, options: ShowOptions) -> Appearance:
        return Appearance(1024 + int(np.prod(metadata.shape)))

    def open(self, path: Path, source: LocalFile, context: OpenContext) -> Movie:
        return RawMovie(source, NEGATIVE in context.options.enabled)

    def summarize(self, path: Path) -> Summary:
        with LocalFile.open(path) as source:
            shape = read_metadata(source).shape
            return Summary("raw, {size}", shape, source.stat.st_mtime, source.size, source.size)


RAW = RawProvider()
VIEW = ViewRow("@negative", lambda _, main: replace(main, enabled=main.enabled | {NEGATIVE}))


def write_raw(path: Path, frames: np.ndarray[tuple[int, int, int], np.dtype[np.int8]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MARK + bytes(frames.shape) + frames.tobytes())
    return path


def with_kind() -> "mock._patch[tuple[registry.AnyProvider, ...]]":
    return mock.patch.object(registry, "PROVIDERS", (RAW, *registry.PROVIDERS))


def with_view() -> "mock._patch[tuple[ViewRow, ...]]":
    return mock.patch.object(views, "VIEWS", (*views.VIEWS, VIEW))


if __name__ == "__main__":
    from cryofs.cli import main

    with with_kind(), with_view():
        main()
