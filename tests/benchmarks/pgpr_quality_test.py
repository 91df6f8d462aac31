"""The comparison of PGPR at a tiny size: the events of the reference, our side."""

import numpy as np
import pytest

from benchmarks import pgpr_quality
from tfrec.data import sequences


def test_the_reference_gets_user_and_item_of_each_event():
    events = sequences.Sequences(np.array([3, 1, 2], np.int32), np.array([0, 2, 3]), 3)
    assert pgpr_quality.pairs(np.array([4, 7]), events).tolist() == [[4, 3], [4, 1], [7, 2]]


@pytest.mark.slow
def test_our_side_lists_unseen_items(tmp_path, monkeypatch):
    log, graph = tmp_path / "log.txt", tmp_path / "graph.csv"
    rows = ((user, (3 * user + step) % 25) for user in range(9) for step in range(5))
    log.write_text("".join(f"{user} {item}\n" for user, item in rows))
    edges = (f"{item},kind,k{item % 5}" for item in range(25))
    graph.write_text("\n".join(["head,relation,tail", *edges]) + "\n")
    monkeypatch.setattr(pgpr_quality, "OUR_SETTINGS", pgpr_quality.OUR_SETTINGS[:1])
    budget = pgpr_quality.Budget(
        width=4, embedding_epochs=2, epochs=2, validate_every=1, checked=5
    )
    (run,) = pgpr_quality.main(str(log), str(graph), seeds=1, budget=budget)["ours"]
    assert run.items.shape == (9, 20) and (run.items > 0).all()
