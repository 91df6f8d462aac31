"""Times several ways in alternating rounds: medians of wall and CPU seconds."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf


class Timing(NamedTuple):
    """The median round.

    Attributes:
      wall: seconds on the clock.
      cpu: seconds of processor time, of all threads. On a machine that does other work
        too it is the steadier of the two.
    """

    wall: float
    cpu: float


def one_thread() -> None:
    """Keeps every operation on one thread; call it before TensorFlow does anything.

    Small operations gain nothing from a second thread but wait for it, and how long depends
    on what else the machine does: ratios of one thread can be compared between machines.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def alternate(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Runs each way in turn, `repeats` times, after one round that is not counted.

    In turn, because the speed of a machine drifts: both sides of a ratio then drift alike.
    The first round traces graphs and fills caches.

    Args:
      ways: name -> one round of work; it must not return before the work is done.
      repeats: counted rounds of each.
    """
    rounds: dict[str, list[Timing]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, work in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            took = Timing(time.perf_counter() - wall, time.process_time() - cpu)
            if repeat:
                rounds[name].append(took)
    return {
        name: Timing(*(statistics.median(column) for column in zip(*took, strict=True)))
        for name, took in rounds.items()
    }


def show(took: Mapping[str, Timing], ours: str, unit: str, units: Mapping[str, int]) -> None:
    """Prints the speed of each way, and ours as a multiple of each other one.

    Args:
      took: from `alternate`.
      ours: the way that the ratios are of.
      unit: what is counted, e.g. `examples`.
      units: how many of them a round of each way works through.
    """
    wall = {name: units[name] / timing.wall for name, timing in took.items()}
    cpu = {name: units[name] / timing.cpu for name, timing in took.items()}
    print(f"{'':16}{unit + '/s':>18}{'per CPU second':>18}{'ratio':>10}{'CPU ratio':>11}")
    for name in took:
        ratios = f"{wall[ours] / wall[name]:10.2f}{cpu[ours] / cpu[name]:11.2f}"
        print(f"{name:16}{wall[name]:18,.0f}{cpu[name]:18,.0f}{'' if name == ours else ratios}")
    print(f"ratio: how many times as fast {ours} is")
