"""`make torture`: kills, full disks, damaged files, readers of a changing archive, for an hour, reproducible by a seed.

    python -m tests.torture [PART...] [--kills 500] [--damaged 1000] [--minutes 20] [--readers 16] [--stress 300]
                            [--seed 0] [--small]

Prints the figures as a table. A run of all parts writes the table to docs/reliability.md. Exit code 1 if anything was
lost or wrong.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.corpus.run import damage_run
from tests.torture.disk import fill_disk
from tests.torture.figures import Figures, row, table, write_into
from tests.torture.ingest_kills import kill_ingest
from tests.torture.kills import kill_compare, kill_compress, kill_estimation, kill_mount
from tests.torture.readers import read_while_replaced
from tests.torture.stressors import STRESSORS, stress
from tests.torture.writing_kills import kill_writing

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
# Kills of ingest, and of a writable mount and its writers, besides the others.
_INGEST = _WRITING = 0.6
# Shares of the kills; compress has the most states in which it can be killed.
_OF_COMPRESS, _OF_COMPARE, _OF_ESTIMATION = 0.5, 0.15, 0.2


def parts(
    kills: int, damaged: int, minutes: float, readers: int, seed: int, stressed: int
) -> dict[str, Callable[[Path], Figures]]:
    """Return the parts by name, each called with a folder of its own; another part is one more line here."""
    of_compress, of_compare, of_estimation = (
        round(share * kills) for share in (_OF_COMPRESS, _OF_COMPARE, _OF_ESTIMATION)
    )
    of_mount = kills - of_compress - of_compare - of_estimation
    return {
        "compress": lambda place: kill_compress(place, of_compress, seed),
        "compare": lambda place: kill_compare(place, of_compare, seed),
        "estimate": lambda place: kill_estimation(place, of_estimation, seed),
        "ingest": lambda place: kill_ingest(place, round(_INGEST * kills), seed),
        "mount": lambda place: kill_mount(place, of_mount, seed),
        "writing": lambda place: kill_writing(place, round(_WRITING * kills), seed),
        # a movie has one or two steps per frame
        "disk": lambda place: fill_disk(place, frames=min(kills, 100)),
        "damage": lambda place: read_damaged(place, damaged, seed),
        "readers": lambda place: read_while_replaced(place, 60 * minutes, readers, seed),
    } | {
        stressor.program: partial(stress, stressor=stressor, seconds=stressed, seed=seed)
        for stressor in STRESSORS
        if stressed
    }


def run(chosen: dict[str, Callable[[Path], Figures]], folder: Path) -> list[Figures]:
    """Run parts one after the other."""
    found = []
    for name, part in chosen.items():
        (folder / name).mkdir()
        print(f"torture: {name}", file=sys.stderr)
        found.append(part(folder / name))
        print(f"torture: {row(found[-1])}", file=sys.stderr)
    return found


def read_damaged(folder: Path, count: int, seed: int) -> Figures:
    """Read damaged files of all kinds in all ways; a violated guarantee counts as a lost file."""
    damage = damage_run(count, seed, folder)
    for problem in damage.problems:
        print(f"torture: {problem}", file=sys.stderr)
    return Figures(
        "damaged files, read in all ways",
        damage.files,
        "files",
        wrong_bytes=damage.wrong_bytes,
        lost=damage.broken,
        crashes=damage.crashes,
        hung=damage.hangs,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help="parts to run without changing the page; all by default"
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=500,
        help="total kills of compress, compare, estimate-gain and mounts; those of ingest and of writing come on top",
    )
    parser.add_argument("--damaged", type=int, default=1000, help="number of damaged files")
    parser.add_argument("--minutes", type=float, default=20, help="duration of reading while files are replaced")
    parser.add_argument("--readers", type=int, default=16)
    parser.add_argument("--stress", type=int, default=300, help="seconds of each stressor; 0 for none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="run as in `make test`, without changing the page")
    options = parser.parse_args()
    if options.small:
        options.kills, options.damaged, options.minutes, options.readers, options.stress = 8, 40, 0.1, 8, 0
    with tempfile.TemporaryDirectory(prefix="cryofs-torture-") as folder:
        chosen = parts(options.kills, options.damaged, options.minutes, options.readers, options.seed, options.stress)
        if unknown := set(options.parts) - set(chosen):
            parser.error(f"unknown part: {', '.join(sorted(unknown))} (choose from {', '.join(chosen)})")
        found = run({name: chosen[name] for name in options.parts or chosen}, Path(folder))
    print(table(found))
    if not (options.small or options.parts):
        write_into(PAGE, table(found))
    return 0 if all(one.good for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
