"""Executors: every task has one outcome, progress adds up, and a run that is closed stops its tasks."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cryofs.errors import ArchiveError
from cryofs.execution.executor import Executor, Report, results
from cryofs.execution.messages import Done, Failed, Progress
from cryofs.execution.processes import DiedError, Processes
from cryofs.execution.threads import InTurn, Pooled, Threads

pytestmark = pytest.mark.timeout(60)

EXECUTORS: dict[str, Executor] = {
    "in turn": InTurn(),
    "threads": Threads(3),
    "threads, as they finish": Threads(3, in_order=False),
    "pooled": Pooled(ThreadPoolExecutor(3)),
    "processes": Processes(2),
}


def halve(number: int, report: Report) -> int:
    report(1)
    report(number)
    if number % 2:
        raise ArchiveError(f"{number}: odd")
    if number == 4:
        raise OSError(5, "Input/output error", "four")
    return number // 2


@pytest.mark.parametrize("name", EXECUTORS)
def test_each_task_has_one_outcome_and_all_progress_is_reported(name: str) -> None:
    progress: list[Progress] = []
    outcomes = dict(EXECUTORS[name].run(halve, range(12), progress.append))
    assert sorted(outcomes) == list(range(12))
    for number, outcome in outcomes.items():
        if number % 2:
            assert isinstance(outcome, Failed)
            assert isinstance(outcome.error, ArchiveError)
            assert str(outcome.error) == f"{number}: odd"
        elif number == 4:
            assert isinstance(outcome, Failed)
            assert isinstance(outcome.error, OSError)
            assert outcome.error.filename == "four"
        else:
            assert outcome == Done(number // 2)
    assert sum(message.count for message in progress) == 12 + sum(range(12))


@pytest.mark.parametrize("name", ["in turn", "threads", "pooled"])
def test_outcomes_come_in_the_order_of_the_tasks(name: str) -> None:
    tasks = [number * 7 % 32 for number in range(32)]
    assert [task for task, _ in EXECUTORS[name].run(halve, tasks, lambda _: None)] == tasks


@pytest.mark.parametrize("name", ["in turn", "threads", "threads, as they finish", "pooled"])
def test_an_error_that_no_task_should_raise_ends_the_run(name: str) -> None:
    def divide(number: int, _: Report) -> float:
        return 1 / number

    with pytest.raises(ZeroDivisionError):
        list(EXECUTORS[name].run(divide, [1, 0, 2], lambda _: None))


def test_results_of_tasks_that_belong_together() -> None:
    executor = Threads(2)
    assert list(results(executor.run(halve, [0, 2, 6]))) == [0, 1, 3]
    with pytest.raises(ArchiveError, match="3: odd"):
        list(results(executor.run(halve, [2, 3, 6])))


def test_results_are_yielded_as_they_finish() -> None:
    second_is_done = threading.Event()

    def wait(number: int, _: Report) -> int:
        if number == 0:
            assert second_is_done.wait(30)
        return number

    finished = []
    for task, _ in Threads(2, in_order=False).run(wait, [0, 1]):
        finished.append(task)
        second_is_done.set()
    assert finished == [1, 0]


@pytest.mark.parametrize("in_order", [True, False])
def test_tasks_are_taken_as_they_are_needed(in_order: bool) -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken = number
            yield number

    outcomes = Threads(2, in_order=in_order).run(lambda number, _: number, tasks())
    next(outcomes)
    outcomes.close()
    assert taken <= 5


@pytest.mark.parametrize("name", ["threads", "pooled"])
def test_a_closed_run_stops_its_threads_at_the_next_report(name: str) -> None:
    running, abandoned = threading.Event(), threading.Event()

    def endless(number: int, report: Report) -> None:
        if number == 0:
            assert running.wait(30)
            return
        try:
            while True:
                running.set()
                report(1)
        finally:
            abandoned.set()

    outcomes = EXECUTORS[name].run(endless, range(100), lambda _: None)
    assert next(outcomes)[0] == 0
    outcomes.close()
    assert abandoned.is_set()


def die(path: Path, report: Report) -> str:
    """Kill the own process: always, or only if it is the first one to carry out the task."""
    report(3)
    if path.name == "always" or not path.exists():
        path.touch()
        os._exit(1)
    return path.name


def test_a_task_whose_process_died_is_tried_once_more(tmp_path: Path) -> None:
    tasks = [tmp_path / name for name in ("once", "always")]
    done = tmp_path / "done"
    done.touch()
    progress: list[Progress] = []
    outcomes = dict(Processes(2).run(die, [*tasks, done], progress.append))
    assert outcomes[done] == Done("done")
    assert outcomes[tasks[0]] == Done("once", attempts=2)
    failed = outcomes[tasks[1]]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, DiedError)
    assert failed.attempts == 2
    # progress of dead processes is taken back
    assert sum(message.count for message in progress) == 2 * 3


def test_a_closed_run_ends_its_processes(tmp_path: Path) -> None:
    outcomes = Processes(2).run(count_until_stopped, [tmp_path / "a", tmp_path / "b", tmp_path / "ready"])
    assert next(outcomes)[1] == Done(None)
    assert multiprocessing.active_children()
    outcomes.close()
    assert not multiprocessing.active_children()


def count_until_stopped(path: Path, report: Report) -> None:
    """Report until the run ends; only "a" returns by itself."""
    path.touch()
    while path.name != "a":
        report(1)
