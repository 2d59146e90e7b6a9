"""The provider of EER files, which a mount shows as MRC movies of fractions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryofs.errors import FormatError
from cryofs.formats import eer
from cryofs.formats.archive_names import EER_SUFFIXES, eer_names, fractions_name
from cryofs.formats.eer import EerIndex
from cryofs.movies import eer_dose
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_findings import Findings
from cryofs.movies.eer_rendering import (
    EerFacts,
    fingerprint,
    fraction_header,
    runs_of,
)
from cryofs.movies.provider import Appearance, InfoOptions, OpenContext, Provider, ShowOptions, Summary
from cryofs.storage.byte_source import LocalFile


class EerProvider(Provider[EerFacts, EerIndex]):
    """An EER file, shown as an MRC movie of fractions beside the stored file."""

    key = "FRACTIONS"
    suffixes = EER_SUFFIXES
    metadata_type = EerFacts
    lists_damaged = False
    is_rendered = True
    checks_take_time = True
    has_details = True

    def shown_name(self, stored: str) -> str | None:
        """Return the name of the movie of fractions, or None if the stored name is not that of an EER file."""
        return fractions_name(stored)

    def stored_names(self, shown: str) -> list[str]:
        """Return the possible names of the EER file."""
        return eer_names(shown)

    def read_index(self, source: LocalFile) -> EerIndex:
        """Read the directories of all frames."""
        return eer.read_index(source)

    def metadata_key(self, options: ShowOptions) -> str:
        """Return a separate key for metadata with a counted dose."""
        rendering = options.rendering
        is_counted = rendering.dose_per_fraction is not None and rendering.dose is None
        return f"{self.table}, counted" if is_counted else self.table

    def probe(self, source: LocalFile, read_index: Callable[[LocalFile], EerIndex], options: ShowOptions) -> EerFacts:
        """Return the metadata from the directories of all frames; count electrons if the grouping depends on them."""
        return eer_dose.facts_for(source, read_index(source), options.rendering)

    def appearance(self, metadata: EerFacts, options: ShowOptions) -> Appearance:
        """Return the attributes of the movie of fractions, without a size if the rendering does not fit the file."""
        try:
            return Appearance(fraction_header(metadata, options.rendering, "").data_end)
        except FormatError:
            return Appearance(None)

    def open(self, path: Path, source: LocalFile, context: OpenContext) -> EerMovie:
        """Open the movie of fractions."""
        index = context.index(self, source)
        findings = context.findings(source)
        return EerMovie(path, context.options.rendering, context.eer_gains, index, source, findings)

    def bytes_key(self, options: ShowOptions) -> str:
        """Return the key of the rendering."""
        return fingerprint(options.rendering)

    def details(self, metadata: EerFacts, options: ShowOptions, name: str, findings: Findings) -> dict[str, Any]:
        """Return the rendering of the movie, and what reading its fractions showed so far."""
        rendering = options.rendering
        dose = metadata.frame_dose(rendering)
        return {
            "source_frames": metadata.frames,
            "fractions": fraction_header(metadata, rendering, name).nz,
            "grouping": metadata.grouping(rendering, name),
            "fraction_frames": runs_of(metadata.fractions(rendering, name)),
            "frame_dose": dose and dose[0],
            "upsampling": rendering.upsampling,
            "crop": rendering.crop,
            "scale": metadata.scale(rendering, name),
            "overflow_bits": findings.code and findings.code.long_bits,
            "damaged_frames": findings.damaged_frames,
            "saturated_values": findings.saturated_values,
        }

    def describe(self, movie: EerMovie, path: Path, options: InfoOptions) -> dict[str, Any]:
        """Return the facts that `cryofs info` prints about the camera frames, including the number of events."""
        # a late import, because only this method needs the compiled code
        from cryofs.movies.eer_info import describe_eer

        return describe_eer(path, options.jobs, options.rendering)

    def damage(self, path: Path, *, every_frame: bool = False) -> FormatError | None:
        """Return the reason why the frames of a file cannot be read, or None; fractions skip damaged frames."""
        with LocalFile.open(path) as source:
            try:
                index = self.read_index(source)
            except FormatError as error:
                return error
        bad = index.frames - int(index.intact.sum())
        text = f"{path}: {bad} of {index.frames} frames are damaged or missing; copy the file again"
        return FormatError(text) if bad and every_frame else None

    def load_compiled(self) -> None:
        """Load the kernels that decode events."""
        from cryofs.kernels import eer_events

        eer_events.load()

    def summarize(self, path: Path) -> Summary | None:
        """Return the facts for the report, from the directories of the file."""
        with LocalFile.open(path) as source:
            index, found = self.read_index(source), source.stat
        shape = index.frames, index.ny, index.nx
        return Summary("EER, {size}", shape, found.st_mtime, found.st_size, found.st_size)


EER = EerProvider()
