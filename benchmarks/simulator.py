"""Steps thousands of simulated users at once, beside a plain loop over one user at a time.

    python -m benchmarks.simulator --users=4096 --candidates=1000 --repeats=5

Both use the same user model with the feedback click and watch time. One step computes
the expected feedback of each user to all candidates, the best candidate that was not yet shown,
the user's feedback to it, and the next state. Ours steps all users in one compiled graph. The
loop steps one user in each call: eagerly (`loop, eager`), in a traced graph (`loop, graph`) or,
to show the effect of compilation, in a compiled one (`loop, compiled`); `ours, graph` is not
compiled. Printed: user-steps per second, by the median repetition, and the ratio of ours to the
others.
"""

from collections.abc import Mapping

import numpy as np
import rich
import tensorflow as tf
from rich import table as rich_table

from benchmarks import command_line, timing
from tfrec import types
from tfrec.environments.fitted import recurrent_model
from tfrec.ops import selection

STEPS = 4  # steps of all users in a repetition
LOOP_STEPS = 100  # steps of one user in a repetition of a loop
EAGER_STEPS = 20


def starts(spec: types.DataSpec, users: int, seed: int = 0) -> types.Starts:
    """Users with full random histories."""
    rng = np.random.default_rng(seed)
    shape = (users, spec.history_length)
    feedback = np.stack([rng.random(shape) < 0.4, rng.exponential(30.0, shape)], axis=-1)
    return types.Starts(
        tf.constant(rng.integers(1, spec.num_users + 1, users), tf.int32),
        tf.constant(rng.integers(1, spec.num_items + 1, shape), tf.int32),
        tf.constant(feedback * feedback[..., :1], tf.float32),
    )


def main(users: int, candidates: int, repeats: int) -> None:
    """Measures all in turn and prints a table."""
    spec = types.DataSpec(
        feedback=(
            types.FeedbackColumn("click", "binary", "clicks"),
            types.FeedbackColumn("watch_seconds", "amount", "seconds", scale=30.0),
        ),
        num_items=candidates,
        num_users=users,
        history_length=20,
        max_steps=30,
    )
    model = recurrent_model.RecurrentModel(
        spec, recurrent_model.RecurrentModelConfig(repeats=False)
    )
    items = tf.range(1, candidates + 1)

    def advance(state, shown, seed):
        expected = model.responses(state, items)
        item = selection.best_item(expected.feedback[..., 0] - expected.exit, shown)
        state, feedback, left = model.step(state, item, seed)
        return state, shown | tf.one_hot(item - 1, candidates, True, False), feedback, left

    compiled = tf.function(advance, jit_compile=True)
    graph = tf.function(advance)
    reset = tf.function(model.reset)
    all_users, one_user = reset(starts(spec, users)), reset(starts(spec, 1))

    def play(step, state, steps):
        """Takes `steps` steps and waits for the last feedback."""
        shown = tf.zeros([len(state.step), candidates], tf.bool)
        for number in range(steps):
            state, shown, feedback, _ = step(state, shown, tf.constant([0, number]))
        return feedback.numpy()

    ways = {
        "ours": lambda: play(compiled, all_users, STEPS),
        "ours, graph": lambda: play(graph, all_users, STEPS),
        "loop, compiled": lambda: play(compiled, one_user, LOOP_STEPS),
        "loop, graph": lambda: play(graph, one_user, LOOP_STEPS),
        "loop, eager": lambda: play(advance, one_user, EAGER_STEPS),
    }
    user_steps = {
        name: users * STEPS if name.startswith("ours") else LOOP_STEPS for name in ways
    }
    user_steps["loop, eager"] = EAGER_STEPS
    timings = timing.alternate(ways, repeats)
    title = f"{users:,} users x {candidates:,} candidates, median of {repeats}"
    show(timings, user_steps, title)


def show(
    timings: Mapping[str, timing.Timing], user_steps: Mapping[str, int], title: str
) -> None:
    """Prints user-steps per second of each variant, and the ratio of ours to it."""
    ours = timings["ours"]
    table = rich_table.Table(title=title)
    for heading in ("", "user-steps/s", "per CPU second", "ours is faster (CPU)"):
        table.add_column(heading, justify="right")
    for name, took in timings.items():
        faster = user_steps["ours"] / ours.wall / (user_steps[name] / took.wall)
        of_cpu = user_steps["ours"] / ours.cpu / (user_steps[name] / took.cpu)
        table.add_row(
            name,
            f"{user_steps[name] / took.wall:,.0f}",
            f"{user_steps[name] / took.cpu:,.0f}",
            f"{faster:.0f}x ({of_cpu:.0f}x)",
        )
    rich.print(table)


if __name__ == "__main__":
    parser = command_line.parser(__doc__)
    for name, default in (("users", 4096), ("candidates", 1000), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=command_line.at_least(1), default=default)
    main(**vars(parser.parse_args()))
