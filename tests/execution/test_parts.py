"""Parts of a run: what the option and the environment mean, and that each name has one part."""

import subprocess
import sys
from pathlib import Path

import pytest

from cryofs.errors import UsageError
from cryofs.execution.parts import WHOLE, Part, part_of

ARRAY = "SLURM_ARRAY_TASK_"
NAMES = [Path("Movies") / f"{number}.mrc.tif" for number in range(400)]


@pytest.mark.parametrize(("text", "part"), [("1/1", WHOLE), ("1/24", Part(1, 24)), ("24/24", Part(24, 24))])
def test_parts_count_from_1(text: str, part: Part) -> None:
    assert part_of(text, {}) == part


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "/4", "1/", "a/b", "1/0", "-1/4", "1/4/2", "", "Auto"])
def test_invalid_parts(text: str) -> None:
    with pytest.raises(UsageError, match="expected I/N with I from 1 to N"):
        part_of(text, {})


MPI = {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"}
PMI = {"PMI_RANK": "0", "PMI_SIZE": "3"}
SLURM_ARRAY = {f"{ARRAY}ID": "7", f"{ARRAY}MIN": "5", f"{ARRAY}MAX": "9", f"{ARRAY}COUNT": "5", f"{ARRAY}STEP": "1"}
SRUN = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        (MPI, Part(3, 4)),
        (PMI, Part(1, 3)),
        (SLURM_ARRAY, Part(3, 5)),
        (SLURM_ARRAY | {f"{ARRAY}MAX": "13", f"{ARRAY}STEP": "2"}, Part(2, 5)),
        ({f"{ARRAY}ID": "3", f"{ARRAY}MIN": "3", f"{ARRAY}MAX": "3", f"{ARRAY}COUNT": "1"}, WHOLE),
        (SRUN, Part(2, 2)),
        (SRUN | {"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0"}, Part(2, 2)),
        # the innermost launcher counts
        (SRUN | SLURM_ARRAY | PMI | MPI, Part(3, 4)),
        (SRUN | SLURM_ARRAY | PMI, Part(1, 3)),
        (SRUN | SLURM_ARRAY, Part(3, 5)),
        # a rank without a number of ranks says nothing
        ({"OMPI_COMM_WORLD_RANK": "2"} | SRUN, Part(2, 2)),
    ],
)
def test_the_environment_gives_the_part(environment: dict[str, str], part: Part) -> None:
    assert part_of("auto", environment) == part


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({}, "no rank of MPI"),
        # as in a batch script
        ({"SLURM_PROCID": "0"}, "no rank of MPI"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "17"}, "a batch script"),
        ({"OMPI_COMM_WORLD_RANK": "4", "OMPI_COMM_WORLD_SIZE": "4"}, "expected below 4"),
        ({"OMPI_COMM_WORLD_RANK": "x", "OMPI_COMM_WORLD_SIZE": "4"}, "expected a number"),
        # --array=1,3,7
        ({f"{ARRAY}ID": "3", f"{ARRAY}MIN": "1", f"{ARRAY}MAX": "7", f"{ARRAY}COUNT": "3"}, "has gaps"),
        (SLURM_ARRAY | {f"{ARRAY}STEP": "2"}, "has gaps"),
    ],
)
def test_an_environment_without_a_part_is_refused(environment: dict[str, str], text: str) -> None:
    with pytest.raises(UsageError, match=f"{text}.* --part I/N"):
        part_of("auto", environment)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 24])
def test_each_name_has_one_part_and_parts_are_similar(count: int) -> None:
    parts = [Part(number, count) for number in range(1, count + 1)]
    shares = [[name for name in NAMES if part.has(name)] for part in parts]
    assert sorted(name for share in shares for name in share) == sorted(NAMES)
    assert max(map(len, shares)) <= 2 * len(NAMES) / count


def test_names_numbered_in_sequence_are_dealt_in_turn() -> None:
    shares = [[name for name in NAMES if Part(number, 24).has(name)] for number in range(1, 25)]
    assert {len(share) for share in shares} == {16, 17}
    assert Part(1, 2).has(Path("a-9.mrc")) != Part(1, 2).has(Path("a-10.mrc"))


def test_names_that_differ_elsewhere_are_spread() -> None:
    names = [Path(f"FoilHole_{30 * number}_Data_7_{number % 4 * 24}_fractions_0.mrc") for number in range(400)]
    shares = [[name for name in names if Part(number, 4).has(name)] for number in range(1, 5)]
    assert min(map(len, shares)) > 60


def test_another_process_finds_the_same_part() -> None:
    program = (
        "from cryofs.execution.parts import Part; from pathlib import Path; print(Part(2, 5).has(Path('a/b.mrc')))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{Part(2, 5).has(Path('a/b.mrc'))}\n"}
