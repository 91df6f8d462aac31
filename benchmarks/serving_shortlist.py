"""Measures time and recall of a shortlist with a fully connected head.

    python -m benchmarks.serving_shortlist --items=10000,100000 --shortlists=200,500,2000
    python -m benchmarks.serving_shortlist --agent=runs/goalrec/agent --data=runs/data

A GoalRec with that head, with random or trained weights, is saved once with scores of every
item and once for each length of the shortlist, and loaded again. All have the same requests:
random histories or, with --data, those of test users, half of them with random goals and half
with named ones. Printed: seconds to fit the surrogate, p50 of one request and of 16 by the
clock and in processor time, and the share of the exact best ten that was found.
"""

import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from benchmarks import command_line, serving_latency
from tfgoalrec import trained
from tfrec.data import identity, storage
from tfrec.serving import export, requests, surrogate
from tfrec.serving import ranker as ranker_lib

K = 10
BATCH = 16


def random_histories(
    source: ranker_lib.Ranker, random: np.random.Generator, count: int
) -> list[requests.Request]:
    """Histories of random items and feedback."""
    items, spec = source.vocabulary.items, source.spec
    histories = []
    for _ in range(count):
        length = int(random.integers(spec.history_length + 1))
        rows = [
            random.integers(2, size=length)
            if column.kind == "binary"
            else random.exponential(column.scale, length)
            for column in spec.feedback
        ]
        history = tuple(random.choice(items, length).tolist())
        histories.append(requests.Request(history, tuple(zip(*rows, strict=True)), k=K))
    return histories


def logged_histories(
    source: ranker_lib.Ranker,
    data: storage.PreparedData,
    random: np.random.Generator,
    count: int,
) -> list[requests.Request]:
    """Histories of test users, at a random step of a random session."""
    log = data.episodes("test")
    items = source.vocabulary.items.tolist()
    before, shown = np.asarray(log.history_item), np.asarray(log.item)
    feedback = np.concatenate([log.history_feedback, log.feedback], axis=1)  # [E, H + T, F]
    histories = []
    for _ in range(count):
        session = int(random.integers(len(shown)))
        step = int(random.integers(log.length[session]))
        events = np.concatenate([before[session], shown[session, :step]])
        rows = feedback[session, : len(events)]
        history = tuple(items[i - 1] for i in events if i)
        histories.append(
            requests.Request(history, tuple(map(tuple, rows[events > 0].tolist())), step, k=K)
        )
    return histories


def with_goals(
    source: ranker_lib.Ranker, histories: list[requests.Request], random: np.random.Generator
) -> list[requests.Request]:
    """Adds goals to requests, alternately random and named."""
    names, width = list(source.named_goals), len(source.measurements.columns)
    return [
        requests.Request(
            x.history,
            x.feedback,
            x.step,
            goal_name=names[place // 2 % len(names)] if place % 2 else "",
            goal=() if place % 2 else tuple(random.normal(size=width).tolist()),
            k=K,
        )
        for place, x in enumerate(histories)
    ]


def answers(
    signatures: Mapping[str, Callable],
    queries: list[requests.Request],
    dtype: str,
    feedback: int,
) -> tuple[np.ndarray, dict[int, tuple[float, float]]]:
    """Items [Q, K]; p50 wall and CPU seconds of 1 request and of 16."""
    answered, took = [], {}
    for batch in (1, BATCH):
        times = []
        for start in range(0, len(queries) - batch + 1, batch):
            rows = queries[start : start + batch]
            # Rows have one width, so that the timed calls trace no graph.
            named = requests.arrays(rows, "rank", dtype, feedback)
            wall, cpu = time.perf_counter(), time.process_time()
            answer = signatures["rank"](**{n: tf.constant(v) for n, v in named.items()})
            items = answer["item"].numpy()
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
            if batch == BATCH:
                answered.append(items)
        took[batch] = tuple(np.median(times[1:], axis=0).tolist())
    return np.concatenate(answered), took


def compare(
    source: ranker_lib.Ranker, queries: list[requests.Request], shortlists: tuple[int, ...]
) -> None:
    """Prints a line for each length of the shortlist; 0 scores every item."""
    queries = with_goals(source, queries, np.random.default_rng(6))
    start = time.process_time()
    surrogate.fit(source)
    print(
        f"\n{source.spec.num_candidates:,} items, {len(queries)} requests; "
        f"the surrogate took {time.process_time() - start:.0f} s of the processor"
    )
    print(
        f"{'scored':>8}{'one, ms':>10}{'(CPU)':>8}{BATCH:>6}, ms{'(CPU)':>8}{'recall@10':>11}"
    )
    exact = None
    for shortlist in (0, *shortlists):
        signatures = serving_latency.loaded_signatures(source, shortlist)
        items, took = answers(
            signatures, queries, export.check(source), len(source.spec.feedback)
        )
        exact = items if exact is None else exact
        recall = (exact[:, :, None] == items[:, None, :]).any(axis=2).mean()
        print(
            f"{shortlist or 'all':>8}"
            + "".join(f"{1e3 * wall:10.1f}{1e3 * cpu:8.1f}" for wall, cpu in took.values())
            + f"{recall:11.4f}"
        )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    numbers = command_line.separated(command_line.at_least(1))
    parser = command_line.parser(__doc__)
    parser.add_argument("--items", type=numbers, default=(10_000, 100_000))
    parser.add_argument("--agent", default="", help="a trained agent instead")
    parser.add_argument("--data", default="", help="prepared data, for histories of users")
    parser.add_argument("--shortlists", type=numbers, default=(200, 500, 2000))
    parser.add_argument("--requests", type=command_line.at_least(1), default=128)
    options = parser.parse_args(arguments)
    random = np.random.default_rng(5)
    if options.agent:
        source = trained.load(options.agent)
        if source.world_model.bilinear:
            raise SystemExit(f"{options.agent}: its head is bilinear and needs no shortlist")
        if options.data:
            data = storage.PreparedData.open(options.data)
            identity.check(source.origin(options.agent), data.origin)
            queries = logged_histories(source, data, random, options.requests)
        else:
            queries = random_histories(source, random, options.requests)
        compare(source, queries, options.shortlists)
        return
    for items in options.items:
        made = serving_latency.ranker(items, 17, "mlp")
        queries = random_histories(made, random, options.requests)
        compare(made, queries, options.shortlists)


if __name__ == "__main__":
    serving_latency.set_threads(sys.argv[1:])
    main()
