"""Read a damaged packed movie, and a damaged movie that is multiplied with its gain reference."""

import json
import re
from pathlib import Path

from cryofs.formats.archive_names import archived_name
from cryofs.movies.registry import open_movie
from tests.corpus.changes import has_footer
from tests.corpus.finding import (
    Finding,
    mounted,
    one_command,
    others_are_intact,
    read_whole,
    small_settings,
)
from tests.corpus.mutants import Mutant
from tests.corpus.specimen import ADOPTED, whole
from tests.corpus.unpacked_specimens import NORMALISED
from tests.support import listed_in


def read_packed(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    """Check that a packed movie gives its bytes or an error, and that compress stores it or copies the file."""
    specimen, data = mutant.specimen, mutant.data
    assert data is not None
    path, named = folder / specimen.file, re.escape(specimen.file)
    # programs read the file after another one, too
    right = [specimen.shown[specimen.victim] * times for times in (1, 2)]

    def expect(found: bytes, what: str) -> None:
        finding.expect_bytes(found, found if found in right else right[0], what)

    with mounted(folder, small_settings()) as files:
        finding.expect_bytes(read_whole(files, f"/{specimen.file}"), data, specimen.file)
        finding.expect(files.attributes(specimen.victim).size > 0, "stat shows an empty file")
        with finding.reporting("unpacked", named):
            expect(read_whole(files, specimen.victim), "unpacked")
        others_are_intact(files, specimen, finding, {specimen.victim, f"/{specimen.file}"})
    described, text = one_command(finding, ["info", path, "--json"], named)
    if described:
        finding.expect(json.loads(text)["shape"][0] > 0, "info reports no frames")
    with finding.reporting("open", named), open_movie(path) as movie:
        expect(whole(movie), "opened")
    for options in ((), ("--unpack",)):
        archive = out / f"archive{len(options)}"
        done, _ = one_command(finding, ["compress", path, "-o", archive, "--jobs", 1, *options], named)
        finding.expect(done, "compress fails")
        good, _ = one_command(finding, ["verify", archive, "--jobs", 1])
        finding.expect(good, "verify rejects what was just stored")
        if (archive / specimen.file).exists():
            finding.expect_bytes((archive / specimen.file).read_bytes(), data, "copied")
        else:
            stored = archive / archived_name("movie.mrc")
            one_command(finding, ["extract", stored, "-o", out / "extracted", "--jobs", 1])
            expect((out / "extracted" / "movie.mrc").read_bytes(), "extracted")


def read_normalised(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    """Check that a movie that is multiplied gives its values or an error, as long as it has its record."""
    specimen, named = mutant.specimen, r"movie\.tif|gain reference|gain-reference"
    movie_data = (folder / ADOPTED).read_bytes()
    # without a record, any pixels are acceptable
    has_record = has_footer(movie_data)
    changed = {"/movie.mrc", f"/{ADOPTED}"} if specimen.kind == "normalised" else set()
    read = False
    with mounted(folder, small_settings()) as files:
        others_are_intact(files, specimen, finding, {NORMALISED} | changed)
        # a view shows nothing of a file that is damaged as a whole
        if "movie.mrc" in [name for name, _ in listed_in(files, "/@normalised")]:
            with finding.reporting("multiplied", named):
                found = read_whole(files, NORMALISED)
                read = True
                if has_record:
                    finding.expect_bytes(found, specimen.shown[NORMALISED], NORMALISED)
    with finding.reporting("open", named), open_movie(folder / ADOPTED, normalised=True) as movie:
        found = whole(movie)
        finding.expect(read, "the library reads what a mount does not")
        if has_record:
            finding.expect_bytes(found, specimen.shown[NORMALISED], "opened")
    if specimen.kind == "normalised gain":
        finding.expect(not read, "a wrong gain reference was accepted")
