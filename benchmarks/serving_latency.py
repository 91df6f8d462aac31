"""Measures the time of ranking a whole catalogue, for one request and for 32.

    python -m benchmarks.serving_latency --items=10000,100000,1000000 --width=17 --threads=1
    python -m benchmarks.serving_latency --items=1000000 --features

A GoalRec model with random weights and W - 1 wide item vectors is saved and loaded; k is
10. In turn, in one process, on the same item vectors and queries:

rank, rank_weights   the exported signature: ids as strings, history, goal, answer with raw
                     ids and predicted measurements, on a float32 table
rank of one          the same with one candidate: everything except the search
float32, bfloat16,   only the search: query -> k scores and indices; the reduced tables
int8                 return a shortlist of k + 64, as in their exports
brute force          the same by one TensorFlow product and tf.math.top_k of all scores
float32 call         one search called from Python
empty call           cost of a call of TensorFlow from Python
faiss                IndexFlatIP of faiss-cpu, exact; left out if it cannot be imported
mlp                  a plain network of [state, item]: two layers of 128, then top_k
read                 maximum of the table: cost of one read

Searches run ten in a row inside one graph, since a server runs them without Python; faiss
answers the same ten queries in turn. Printed: p50 and p99 by the clock, median processor
time, queries a second by the median, the median over that of faiss and of read, and the
recall of the reduced tables' first k and of their shortlists against brute force.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks import command_line, random_log
from tfgoalrec import world_model
from tfgoalrec.config import GoalRecConfig
from tfrec import types
from tfrec.data import state_encoding
from tfrec.nn import item_embedding
from tfrec.serving import export, requests, tables
from tfrec.serving import model as serving_model
from tfrec.serving import ranker as ranker_lib

K = 10
HISTORY = 20
STATE = 64  # inputs of the mlp beside the item vector
HIDDEN = 128
IN_A_ROW = 10  # searches of one repetition
MLP_CHUNK = 8192  # pairs of state and item in one product
MLP_PAIRS = 1_000_000  # the mlp is left out for more pairs in a repetition


@dataclasses.dataclass
class Measurements:
    """Four measurements of the serving model."""

    columns: Sequence[str] = ("click@0", "click@1..", "watch@0", "watch@1..")
    size: Any = (1, 1, 1, 1)
    units: Sequence[str] = ("clicks", "clicks", "seconds", "seconds")
    mean: Any = (0.3, 2.0, 10.0, 60.0)
    std: Any = (0.4, 2.0, 20.0, 80.0)


@dataclasses.dataclass
class Vocabulary:
    """Raw item ids."""

    items: np.ndarray
    state_encoder: state_encoding.StateEncoder = state_encoding.StateEncoder()


@dataclasses.dataclass
class Ranker:
    """The parts of an agent that `ServingModel` needs."""

    spec: types.DataSpec
    vocabulary: ranker_lib.Vocabulary
    world_model: ranker_lib.WorldModel
    measurements: ranker_lib.Measurements = dataclasses.field(default_factory=Measurements)
    named_goals: Mapping[str, np.ndarray] = dataclasses.field(
        default_factory=lambda: {"click": np.array([1.0, 0, 0, 0])}
    )
    discarded: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Way(NamedTuple):
    """One variant: the work of a repetition, and its number of answers (batches)."""

    work: Callable[[], object]
    answers: int = 1


class Latency(NamedTuple):
    """Latency of one answer of a variant, seconds; cpu is the median processor time."""

    p50: float
    p99: float
    cpu: float
    rounds: int


def ranker(
    items: int,
    width: int,
    advantage: Literal["bilinear", "mlp"] = "bilinear",
    features: bool = False,
) -> Ranker:
    """A GoalRec model with random weights and item vectors [items, width].

    Args:
      items: N.
      width: numbers in an item vector.
      advantage: the head.
      features: whether it reads 20 columns of features of the items.
    """
    config = GoalRecConfig(item_vector=width - 1, advantage=advantage)
    spec = types.DataSpec(random_log.FEEDBACK, items, 1, history_length=HISTORY, max_steps=30)
    random = np.random.default_rng(0)
    start = random.normal(size=(items + 1, config.embedding)).astype(np.float32)
    if features:
        spec = dataclasses.replace(spec, item_features=random_log.FEATURES)
    model = world_model.WorldModel(config, spec, np.ones(4, int), start)
    if features:
        item_embedding.set_features(model, random_log.features(items, seed=2))
    ids = np.array([f"item-{place:07}" for place in range(items)], dtype=object)
    return Ranker(spec, Vocabulary(ids), model)


def loaded_signatures(source: ranker_lib.Ranker, shortlist: int = 0) -> Mapping[str, Callable]:
    """The signatures of the model, saved and loaded again; `shortlist` as for the export."""
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = pathlib.Path(folder, "items.txt")
        vocabulary.write_text("".join(f"{item}\n" for item in source.vocabulary.items))
        graph = serving_model.ServingModel(
            source, str(vocabulary), tf.as_dtype(export.check(source)), shortlist=shortlist
        )
        saved = str(pathlib.Path(folder, "1"))
        tf.saved_model.save(graph.trackable(), saved, graph.signatures())
        loaded = tf.saved_model.load(saved)
    signatures = dict(loaded.signatures)
    signatures["owner"] = loaded  # keeps its variables alive
    return signatures


def plain_mlp(vectors: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """Searches the best items by a network of [state, item], a chunk at a time."""
    random = np.random.default_rng(1)
    items, width = vectors.shape
    sizes = (STATE + width, HIDDEN, HIDDEN, 1)
    layers = [
        tf.constant(random.normal(size=pair).astype(np.float32) / pair[0] ** 0.5)
        for pair in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    table = tf.constant(vectors)

    @tf.function
    def best(state: tf.Tensor) -> tf.Tensor:  # [B, STATE]
        batch = tf.shape(state)[0]
        chunk = MLP_CHUNK // batch
        chunks = -(-items // chunk)
        scores = tf.TensorArray(tf.float32, chunks, infer_shape=False)
        for place in tf.range(chunks):
            some = table[place * chunk : (place + 1) * chunk]  # [C, W]
            shape = [batch, tf.shape(some)[0]]
            pairs = tf.concat(
                [
                    tf.broadcast_to(state[:, None], [*shape, STATE]),
                    tf.broadcast_to(some[None], [*shape, width]),
                ],
                axis=-1,
            )
            x = tf.reshape(pairs, [-1, sizes[0]])
            for layer in layers[:-1]:
                x = tf.nn.relu(tf.matmul(x, layer))
            x = tf.reshape(tf.matmul(x, layers[-1]), shape)
            scores = scores.write(place, tf.transpose(x))
        return tf.math.top_k(tf.transpose(scores.concat()), k=K).indices

    return best


def reader(vectors: np.ndarray, threads: int) -> Callable[[], object]:
    """Reads the table once with some threads; the maximum was the fastest reduction."""
    parts = np.array_split(vectors.reshape(-1), threads)
    if threads == 1:
        return parts[0].max
    pool = futures.ThreadPoolExecutor(threads)
    return lambda: max(pool.map(np.max, parts))


def faiss_index(vectors: np.ndarray, threads: int) -> Any:
    """An exact index; None, with a message, without faiss."""
    try:
        import faiss
    except ImportError as error:
        print(f"faiss is left out: {error}", file=sys.stderr)
        return None
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def request_ways(
    signatures: Mapping[str, Callable], items: np.ndarray, batch: int
) -> dict[str, Way]:
    """Variants with whole requests."""
    random = np.random.default_rng(2)
    request_batch = [
        requests.Request(
            history=tuple(random.choice(items, HISTORY).tolist()),
            feedback=((1.0, 20.0),) * HISTORY,
            goal=tuple(random.normal(size=4).tolist()),
            weights=(1.0, 1.0, 0.01, 0.01),
            k=K,
        )
        for _ in range(batch)
    ]

    def way(signature, **replaced):
        named = requests.arrays(request_batch, signature, "string", 2) | replaced

        def answer():
            inputs = {name: tf.constant(value) for name, value in named.items()}
            outputs = signatures[signature](**inputs)
            return {name: value.numpy() for name, value in outputs.items()}

        return Way(answer)

    one = np.full((batch, 1), items[0].encode())
    return {
        "rank": way("rank"),
        "rank_weights": way("rank_weights"),
        "rank of one": way("rank", candidates=one),
    }


def searches(vectors: np.ndarray) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
    """Graph code: queries [B, W] -> indices, best first, [B, K or more]."""

    def search(precision):
        table = tables.ItemTable(vectors, precision)
        k = tf.constant(K)
        k = k if precision == "float32" else tables.shortlist(k, len(vectors))

        def best(query):
            no_exclusions = tf.zeros([tf.shape(query)[0], 0], tf.int32)
            return table.best(query, no_exclusions, k)[1]

        return best

    plain = tf.constant(vectors)
    functions = {precision: search(precision) for precision in tables.PRECISIONS}
    functions["brute force"] = lambda query: (
        tf.math.top_k(tf.matmul(query, plain, transpose_b=True), k=K).indices
    )
    return functions


def search_ways(
    functions: Mapping[str, Callable[[tf.Tensor], tf.Tensor]], queries: np.ndarray, index: Any
) -> dict[str, Way]:
    """Ten searches in a row, of the same queries by each; queries [10, B, W]."""
    query_tensor = tf.constant(queries)

    def way(best):
        @tf.function
        def in_a_row():
            total = tf.constant(0)
            for place in tf.range(IN_A_ROW):
                # Depends on the last search, so that searches run one after the other.
                total += best(query_tensor[place] + 0.0 * tf.cast(total, tf.float32))[0, 0]
            return total

        return Way(lambda: in_a_row().numpy(), IN_A_ROW)

    ways = {name: way(best) for name, best in functions.items()}
    once, empty = tf.function(functions["float32"]), tf.function(lambda query: query + 1.0)
    ways["float32 call"] = Way(lambda: once(query_tensor[0]).numpy())
    ways["empty call"] = Way(lambda: empty(query_tensor[0]).numpy())
    if index is not None:
        ways["faiss"] = Way(lambda: [index.search(query, K)[1] for query in queries], IN_A_ROW)
    return ways


def measure(ways: Mapping[str, Way], seconds: float, rounds: int) -> dict[str, Latency]:
    """Runs variants in turn, `rounds` times or until the time limit, at least three times."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for way in ways.values():
        way.work()  # traces the graph
    for _ in range(rounds):
        for name, (work, answers) in ways.items():
            spent = sum(wall for wall, _ in took[name])
            if spent * answers > seconds and len(took[name]) >= 3:
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            took[name].append((wall / answers, cpu / answers))
    latencies = {}
    for name, pairs in took.items():
        wall, cpu = np.array(pairs).T
        p50, p99 = np.percentile(wall, [50, 99])
        latencies[name] = Latency(p50, p99, float(np.median(cpu)), len(pairs))
    return latencies


def recalls(
    functions: Mapping[str, Callable[[tf.Tensor], tf.Tensor]], query: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Share of the exact best K among the first K, and among all results of each search."""
    indices = {name: best(tf.constant(query)).numpy() for name, best in functions.items()}
    exact = indices.pop("brute force")

    def share(some):
        return float((exact[:, :, None] == some[:, None, :]).any(axis=2).mean())

    return {name: (share(index[:, :K]), share(index)) for name, index in indices.items()}


def show(took: Mapping[str, Latency], batch: int) -> None:
    """Prints a line for each variant."""
    print(
        f"{'':14}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'queries/s':>11}{'x faiss':>9}"
        f"{'(CPU)':>8}{'x read':>8}{'rounds':>8}"
    )
    faiss, read = took.get("faiss"), took["read"]
    for name, each in took.items():
        over = f"{each.p50 / faiss.p50:9.2f}{each.cpu / faiss.cpu:8.2f}" if faiss else " " * 17
        print(
            f"{name:14}{1e3 * each.p50:9.2f}{1e3 * each.p99:9.2f}{1e3 * each.cpu:9.2f}"
            f"{batch / each.p50:11,.0f}{over}{each.p50 / read.p50:8.1f}{each.rounds:8}"
        )


def compare(
    items: int, width: int, batches: tuple[int, ...], options: argparse.Namespace
) -> None:
    """Measures all variants on one catalogue."""
    source = ranker(items, width, features=options.features)
    signatures = loaded_signatures(source)
    vectors = source.world_model.item_vectors().numpy()
    random = np.random.default_rng(3)
    mlp = plain_mlp(vectors)
    megabytes = vectors.nbytes / 1e6
    index = faiss_index(vectors, options.threads)
    functions = searches(vectors)
    for batch in batches:
        queries = random.normal(size=(IN_A_ROW, batch, width)).astype(np.float32)
        ways = request_ways(signatures, source.vocabulary.items, batch)
        ways |= search_ways(functions, queries, index)
        state = tf.constant(random.normal(size=(batch, STATE)).astype(np.float32))
        if items * batch <= MLP_PAIRS:
            ways["mlp"] = Way(functools.partial(lambda given: mlp(given).numpy(), state))
        ways["read"] = Way(reader(vectors, options.threads))
        took = measure(ways, options.seconds, options.rounds)
        speed = megabytes / 1e3 / took["read"].p50
        print(
            f"\n{items:,} items of {width} numbers ({megabytes:.1f} MB), batch {batch}, "
            f"{options.threads} thread(s); read at {speed:.1f} GB/s"
        )
        show(took, batch)
        if "mlp" in took:
            mlp_took, rank = took["mlp"], took["rank"]
            print(
                f"mlp over rank: {mlp_took.p50 / rank.p50:.1f} "
                f"(CPU {mlp_took.cpu / rank.cpu:.1f})"
            )
    shares = recalls(functions, queries.reshape(-1, width)[:64])
    print(
        "recall@10 (of the shortlist): "
        + ", ".join(
            f"{name} {first:.4f} ({whole:.4f})" for name, (first, whole) in shares.items()
        )
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = command_line.parser(__doc__)
    parser.add_argument(
        "--items",
        type=command_line.separated(command_line.at_least(1)),
        default=(10_000, 100_000, 1_000_000),
    )
    parser.add_argument(
        "--width", type=command_line.at_least(2), default=17, help="numbers in an item vector"
    )
    parser.add_argument(
        "--batches", type=command_line.separated(command_line.at_least(1)), default=(1, 32)
    )
    parser.add_argument(
        "--features", action="store_true", help="read 20 columns of features of the items"
    )
    parser.add_argument("--threads", type=command_line.at_least(1), default=1)
    parser.add_argument(
        "--seconds",
        type=command_line.at_least(0, float),
        default=1.0,
        help="approximate time of each variant, seconds",
    )
    parser.add_argument(
        "--rounds",
        type=command_line.at_least(1),
        default=200,
        help="largest number of repetitions of each variant",
    )
    options = parser.parse_args(arguments)
    for items in options.items:
        compare(items, options.width, options.batches, options)


def set_threads(arguments: list[str]) -> None:
    """Sets threads, which must precede any use of TensorFlow and the load of OpenMP."""
    [threads] = [
        int(argument.partition("=")[2])
        for argument in arguments
        if argument.startswith("--threads=")
    ] or [1]
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # waiting threads must not take processor time
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


if __name__ == "__main__":
    set_threads(sys.argv[1:])
    main()
