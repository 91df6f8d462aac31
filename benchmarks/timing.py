"""Times variants in alternating rounds: medians of wall and CPU seconds."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf


class Timing(NamedTuple):
    """The median repetition.

    Attributes:
      wall: seconds on the clock.
      cpu: seconds of processor time, of all threads; it varies less on a busy machine.
    """

    wall: float
    cpu: float


def one_thread() -> None:
    """Limits every operation to one thread; call it before any use of TensorFlow.

    Small operations gain nothing from a second thread, and the time that they wait for it
    depends on the load: ratios of one thread can be compared between machines.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def alternate(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Runs all variants in turn, `repeats` times, after one repetition that is not counted.

    They alternate because the speed of a machine drifts, which then affects both sides of a
    ratio. The first repetition traces graphs and fills caches.

    Args:
      ways: name -> one repetition of work, which must return only when the work is complete.
      repeats: counted repetitions of each.
    """
    timings: dict[str, list[Timing]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, work in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            took = Timing(time.perf_counter() - wall, time.process_time() - cpu)
            if repeat:
                timings[name].append(took)
    return {
        name: Timing(*(statistics.median(column) for column in zip(*took, strict=True)))
        for name, took in timings.items()
    }


def show(took: Mapping[str, Timing], ours: str, unit: str, units: Mapping[str, int]) -> None:
    """Prints the speed of each variant, and that of `ours` over the others.

    Args:
      took: result of `alternate`.
      ours: name of the variant in the numerator of the ratios.
      unit: unit of work, e.g. `examples`.
      units: number of units in a repetition of each variant.
    """
    wall = {name: units[name] / timing.wall for name, timing in took.items()}
    cpu = {name: units[name] / timing.cpu for name, timing in took.items()}
    print(f"{'':16}{unit + '/s':>18}{'per CPU second':>18}{'ratio':>10}{'CPU ratio':>11}")
    for name in took:
        ratios = f"{wall[ours] / wall[name]:10.2f}{cpu[ours] / cpu[name]:11.2f}"
        print(f"{name:16}{wall[name]:18,.0f}{cpu[name]:18,.0f}{'' if name == ours else ratios}")
    print(f"ratio: how many times as fast {ours} is")
