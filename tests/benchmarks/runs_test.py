"""Each benchmark runs at a tiny size and prints its ratio. No time is asserted."""

import json

import numpy as np
import pytest

from benchmarks import features, playing, relabel, timing, warm_start, world_model
from tfgoalrec.config import GoalRecConfig

pytestmark = pytest.mark.slow

TINY = {"num_items": 6, "batch_size": 5}


def test_alternate_runs_each_way_in_turn_and_leaves_the_first_round_out():
    calls = []
    ways = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    took = timing.alternate(ways, repeats=3)
    assert calls == ["a", "b"] * 4
    assert set(took) == {"a", "b"}
    assert all(each.wall >= 0 and each.cpu >= 0 for each in took.values())


def test_show_prints_how_many_times_as_fast_ours_is(capsys):
    took = {"ours": timing.Timing(wall=2.0, cpu=1.0), "plain": timing.Timing(wall=3.0, cpu=4.0)}
    timing.show(took, "ours", "rows", {"ours": 600, "plain": 100})
    ours, plain = (line.split() for line in capsys.readouterr().out.splitlines()[1:3])
    assert ours == ["ours", "300", "600"]
    assert plain == ["plain", "33", "25", "9.00", "24.00"]


def test_relabel(capsys):
    relabel.main(((3, 4),), repeats=1, sessions=8, sessions_per_element=4, **TINY)
    out = capsys.readouterr().out
    assert "batched" in out and "per_element" in out and "ratio" in out


def test_both_ways_of_relabelling_give_the_same_rows():
    ways, counts = relabel.both(3, 4, sessions=8, sessions_per_element=8, **TINY)
    rows = {name: sorted(rows_of(way)) for name, way in ways.items()}
    assert len(rows["batched"]) == counts["batched"] == counts["per_element"]
    np.testing.assert_allclose(rows["batched"], rows["per_element"], atol=2e-3)


def rows_of(way):
    """(history, item, measurement, outcome) of every transition."""
    for batch in way.as_numpy_iterator():
        parts = batch.observation.history_item, batch.item[:, None], batch.measurement
        yield from np.concatenate([*parts, batch.outcome], axis=1).round(3).tolist()


def test_world_model(capsys):
    widths = {"embedding": 4, "frozen_embedding": 2, "item_vector": 2, "goal_units": 3}
    config = GoalRecConfig(units=3, state=4, stream=4, batch=5, **widths)
    world_model.main(((3, 4),), config, updates=2, repeats=1, num_items=6, sessions=8)
    out = capsys.readouterr().out
    for name in ("goalrec", "stock_grus", "bare_grus", "ratio"):
        assert name in out


def test_features(capsys):
    widths = {"embedding": 4, "frozen_embedding": 2, "item_vector": 2, "goal_units": 3}
    config = GoalRecConfig(units=3, state=4, stream=4, batch=5, **widths)
    features.main((6,), config, updates=2, repeats=1, sessions=8, history_length=3, max_steps=4)
    _, title, heading, *rows, _ = capsys.readouterr().out.splitlines()
    assert title.startswith("6 items, batch 5, 35 values an item")
    assert "per CPU second" in heading
    assert [row.split()[0] for row in rows] == ["ids", "features", "crosses"]


def test_playing(capsys):
    playing.main(sessions=12, repeats=1)
    lengths, _, *rows, _ = capsys.readouterr().out.splitlines()
    ways = ["recorded", "totals", "observed"]
    assert all(way in lengths for way in ways)
    assert [row.split()[0] for row in rows] == ways


def test_warm_start(tmp_path, capsys):
    narrow = {
        "embedding": 4, "units": 4, "state": 4, "goal_units": 4, "stream": 4, "item_vector": 4,
        "batch": 16, "updates_per_round": 2, "replay_sessions": 64, "sessions_per_round": 8,
    }  # fmt: skip
    sizes = warm_start.Sizes(
        days=2, users=60, items=30, new_items=3, rounds=1, warm_rounds=1, max_users=8,
        options=tuple(narrow.items()),
    )  # fmt: skip
    folder = tmp_path / "warm_start"
    warm_start.main(sizes, seeds=(0, 1), out=folder)
    out = capsys.readouterr().out
    for name in (warm_start.NOTHING, warm_start.WARM, warm_start.LOW, warm_start.STALE):
        assert f"| {name} |" in out
    assert (folder / "warm_start.png").stat().st_size > 1000
    shares = json.loads((folder / "warm_start.json").read_text())["share of the way"]
    assert np.shape(shares[warm_start.WARM]) == (2, 2)  # seeds, days
