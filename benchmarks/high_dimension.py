"""Cost of the high-dimensional setting: 30,000 state columns x 10,000 candidates.

    python -m benchmarks.high_dimension --method=goalrec

vanilla   1,000 candidates, a state without crosses
wide      10,000 candidates, feature crosses hashed to 30,000 columns

The log has 10,000 items in both, in any history. Timed, at the method's defaults:

update    one gradient step on a batch of the replay, of many in one graph
act       the item with the highest score for each of 512 users
play      the same with the exploration of training

Printed: medians over alternating repetitions of one run in ms, wide over vanilla, and the peak
memory (resident set) of a process that does one setting's repetitions and nothing else.
"""

import argparse
import dataclasses
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import command_line, isolated, random_log, timing
from tfgoalrec import acting
from tfgoalrec import agent as goalrec_agent
from tfgoalrec import config as goalrec_config
from tfgoalrec import learner as goalrec_learner
from tfgoalrec import measurements as goalrec_measurements
from tfrec import types
from tfrec.environments import contract

METHODS = ("goalrec", "wide_and_deep", "dien", "dyna_q", "rainbow", "td3")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of both settings, which differ only in candidates and columns."""

    items: int = 10_000
    candidates: tuple[int, int] = (1_000, 10_000)  # vanilla, wide
    columns: int = 30_000
    sessions: int = 2_048
    history_length: int = 30
    max_steps: int = 60
    users: int = 512
    updates: int = 10
    batch: int = 256


class NoWorld:
    """Placeholder for a simulator: the learner can play, but does not here."""

    def __init__(self, spec: types.DataSpec):
        self.spec, self.repeats = spec, False


def learner_of(method: str, spec: types.DataSpec, log: types.Episodes, **fields: Any) -> Any:
    """A learner of a method with its defaults, except for `fields` of its configuration."""
    width = 64
    vectors = np.random.default_rng(1).normal(0, 0.1, [spec.num_items + 1, width])
    fields |= {"replay_sessions": len(log.length), "sessions_per_round": len(log.length)}
    if method == "goalrec":
        config = goalrec_config.GoalRecConfig(**fields)
        measurements = goalrec_measurements.Measurements(
            config.measurements, spec, vectors[:, : config.frozen_embedding]
        )
        measurements.fit(log)
        agent = goalrec_agent.GoalRecAgent(config, spec, measurements, vectors, seed=0)
        return goalrec_learner.GoalRecLearner(agent, log)
    # TF-Agents takes seconds to import: only with the method that needs it.
    parts: Any
    if method == "wide_and_deep":
        from tfrec.baselines import wide_and_deep

        parts = wide_and_deep.WideAndDeepConfig, wide_and_deep.WideAndDeepLearner
    elif method == "dien":
        from tfrec.baselines import dien_ranker

        parts = dien_ranker.DienConfig, dien_ranker.DienLearner
    elif method == "dyna_q":
        from tfrec.baselines import dyna_q

        parts = dyna_q.DynaQConfig, dyna_q.DynaQLearner
    elif method == "rainbow":
        from tfrec.baselines import rainbow

        parts = rainbow.RainbowConfig, rainbow.RainbowLearner
    elif method == "td3":
        from tfrec.baselines import td3

        parts = td3.Td3Config, td3.Td3Learner
    else:
        raise ValueError(f"no method {method!r}; expected one of {', '.join(METHODS)}")
    config_class, learner_class = parts
    return learner_class(config_class(**fields), spec, log, NoWorld(spec), vectors, 0)


def work_of(method: str, wide: bool, sizes: Sizes) -> dict[str, Callable[[], object]]:
    """The timed work of one setting: name -> one repetition."""
    spec = types.DataSpec(
        random_log.FEEDBACK,
        sizes.items,
        sizes.sessions,
        sizes.history_length,
        sizes.max_steps,
        candidates=sizes.candidates[wide],
    )
    log = random_log.episodes(spec, sizes.sessions, seed=0)
    columns = sizes.columns if wide else 0
    learner = learner_of(method, spec, log, crossed=columns, batch=sizes.batch)
    if method == "goalrec":
        config, agent = learner.agent.config, learner.agent
        goal = next(iter(agent.named_goals.values()))
        playing = acting.explore(
            agent.averaged, goal, config.action_epsilon, config.action_pool
        )
    else:
        playing = learner.explore(tf.constant(0.2))
    timestep = contract.history_timestep(
        types.Observation(
            tf.constant(log.history_item[: sizes.users]),
            tf.constant(log.history_feedback[: sizes.users]),
            tf.zeros([sizes.users], tf.int32),
        ),
        tf.constant([0, 1]),
        tf.zeros([sizes.users, spec.num_candidates], tf.bool),
    )
    greedy = learner.policy()
    # Arguments, so that nothing is constant-folded while tracing.
    act = tf.function(lambda timestep: greedy(timestep))
    play = tf.function(lambda timestep: playing(timestep))
    updates = tf.constant(sizes.updates)
    return {
        "update": lambda: tf.nest.map_structure(np.asarray, learner._learn(updates)[1]),
        "act": lambda: act(timestep).numpy(),
        "play": lambda: play(timestep).numpy(),
    }


def peak_memory(method: str, wide: bool, sizes: Sizes) -> float:
    """Peak resident set in MiB of a new process that runs each work once (Linux)."""
    flags = [
        f"--{field}={','.join(map(str, np.atleast_1d(value)))}"
        for field, value in dataclasses.asdict(sizes).items()
    ]
    command = [sys.executable, "-m", "benchmarks.high_dimension", f"--method={method}"]
    done = subprocess.run(
        [*command, f"--memory={int(wide)}", *flags], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def measure(method: str, sizes: Sizes, repeats: int) -> dict[str, timing.Timing]:
    """Medians of all repetitions of both settings, by `setting work`."""
    ways = {
        f"{setting} {name}": work
        for wide, setting in enumerate(("vanilla", "wide"))
        for name, work in work_of(method, bool(wide), sizes).items()
    }
    return timing.alternate(ways, repeats)


def main(
    methods: Sequence[str] = ("goalrec",), sizes: Sizes | None = None, repeats: int = 7
) -> None:
    """Measures and prints a table for each method."""
    sizes = sizes or Sizes()
    for method in methods:
        took = measure(method, sizes, repeats)
        memory = [peak_memory(method, wide, sizes) for wide in (False, True)]
        print(
            f"\n{method}: {sizes.candidates[0]:,} candidates, no crosses, against "
            f"{sizes.candidates[1]:,} and {sizes.columns:,} columns"
        )
        print(f"{'':8}{'vanilla':>18}{'wide':>14}{'ratio':>9}{'CPU ratio':>11}")
        for name in ("update", "act", "play"):
            count = sizes.updates if name == "update" else 1
            plain, wide = took[f"vanilla {name}"], took[f"wide {name}"]
            print(
                f"{name:8}{1e3 * plain.wall / count:15.1f} ms{1e3 * wide.wall / count:11.1f} ms"
                f"{wide.wall / plain.wall:9.2f}{wide.cpu / plain.cpu:11.2f}"
            )
        print(
            f"{'memory':8}{memory[0]:14.0f} MiB{memory[1]:10.0f} MiB"
            f"{memory[1] / memory[0]:9.2f}"
        )


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line: method, repeats, memory, and a number for each field of `Sizes`."""
    parser = command_line.parser(__doc__)
    methods = command_line.one_of(*METHODS, "all")
    parser.add_argument("--method", type=methods, default="goalrec")
    parser.add_argument("--repeats", type=command_line.at_least(1), default=7)
    parser.add_argument("--memory", type=int, choices=(0, 1), help=argparse.SUPPRESS)
    number = command_line.at_least(1)
    for field in dataclasses.fields(Sizes):
        several = isinstance(field.default, tuple)
        kind = command_line.separated(number, exactly=2) if several else number
        parser.add_argument(f"--{field.name}", type=kind, default=field.default)
    return parser.parse_args(arguments)


def run(arguments: Sequence[str]) -> None:
    """The command line: a table, or with --memory one setting's peak memory in MiB."""
    parsed = options(arguments)
    method, repeats, setting = parsed.method, parsed.repeats, parsed.memory
    names = [field.name for field in dataclasses.fields(Sizes)]
    sizes = Sizes(**{name: getattr(parsed, name) for name in names})
    if setting is None:
        main(METHODS if method == "all" else (method,), sizes, repeats)
        return
    for work in work_of(method, bool(setting), sizes).values():
        work()
    print(1e9 * isolated.peak() / 2**20)


if __name__ == "__main__":
    timing.one_thread()
    run(sys.argv[1:])
