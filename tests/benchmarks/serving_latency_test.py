"""The benchmark runs at a tiny size, and its ways answer alike. No time is asserted."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import serving_latency

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("features", [[], ["--features"]])
def test_it_prints_a_line_for_each_way(features, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)  # as where it is not installed
    serving_latency.main(
        ["--items=300", "--batches=1,2", "--width=5", "--rounds=3", "--seconds=0.01", *features]
    )
    captured = capsys.readouterr()
    assert "faiss is left out" in captured.err
    for name in ("rank ", "rank_weights", "float32", "int8", "brute force", "mlp", "read",
                 "mlp over rank", "float32 1.0000 (1.0000)"):  # fmt: skip
        assert name in captured.out
    assert "300 items of 5 numbers (0.0 MB), batch 2, 1 thread(s)" in captured.out


def test_the_searches_find_the_best():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(500, 6)).astype(np.float32)
    query = random.normal(size=(4, 6)).astype(np.float32)
    expected = np.argsort(-(query @ vectors.T), axis=1)[:, :10]
    functions = serving_latency.searches(vectors)
    for name in ("float32", "brute force"):
        assert functions[name](tf.constant(query)).numpy().tolist() == expected.tolist()
    assert functions["int8"](tf.constant(query)).shape == (4, 74)
    shares = serving_latency.recalls(functions, query)
    assert shares["float32"] == (1.0, 1.0)
    assert shares["int8"][1] == 1.0


def test_the_mlp_scores_every_item_once(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    state = tf.random.stateless_normal([2, serving_latency.STATE], [0, 1])
    whole = serving_latency.plain_mlp(vectors)(state).numpy()
    monkeypatch.setattr(serving_latency, "MLP_CHUNK", 14)  # chunks of 7 items for 2 states
    assert serving_latency.plain_mlp(vectors)(state).numpy().tolist() == whole.tolist()


def test_measure_takes_turns_and_stops_with_the_time():
    calls = []
    ways = {
        "fast": serving_latency.Way(lambda: calls.append("fast"), 2),
        "slow": serving_latency.Way(lambda: calls.append("slow")),
    }
    took = serving_latency.measure(ways, seconds=0.0, rounds=9)
    assert calls == ["fast", "slow"] * 4  # once untimed, then three times
    assert took["fast"].rounds == took["slow"].rounds == 3
    assert 0 <= took["slow"].p50 <= took["slow"].p99


@pytest.mark.parametrize("threads", [1, 2])
def test_the_reader_reads_all(threads):
    vectors = np.arange(15, dtype=np.float32).reshape(5, 3)
    for _ in range(2):
        assert serving_latency.reader(vectors, threads)() == 14
