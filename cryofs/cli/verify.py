"""`cryofs verify`: does an archive still give back every original."""

from pathlib import Path
from typing import Annotated

import typer

from cryofs.cli.output import Reporter, print_json
from cryofs.errors import ArchiveError
from cryofs.system.resources import usable_cores

NAME = "verify"


def command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", readable=False, help="Archived movies, lists, or whole archives.")
    ],
    jobs: Annotated[int, typer.Option(min=1, help="Threads.", show_default="all cores")] = usable_cores(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Decode archived movies and check them against the sums of their originals.

    Example: cryofs verify /archive/session
    """
    from cryofs.archive.verify import verify

    with Reporter() as reporter:

        def tell(path: Path, error: Exception | None) -> None:
            if error is None:
                reporter.line(f"{path}: good")
            else:
                reporter.error(error)

        checked = verify(paths, jobs, tell, reporter.begin, reporter.advance)
    if as_json:
        print_json(vars(checked))
    else:
        print(f"{checked.movies} movies good, {checked.failed} failed")
        if checked.eer:
            print(f"{checked.eer} EER movies were not checked; they are copies, of which there are no sums")
        if checked.without_record:
            print(
                f"{checked.without_record} TIFF movies without a record were not checked; cryofs adopt gives them one"
            )
    if not checked.movies + checked.failed + checked.without_record + checked.eer:
        # a path that is wrong must not pass for an archive that is right
        raise ArchiveError(
            "no archived movie was found; name the folder that cryofs compress was given by -o, not a mount"
        )
    raise typer.Exit(1 if checked.failed else 0)
