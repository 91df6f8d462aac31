"""The comparison of STAMP at a tiny size: the reference's rows, tuning, our side."""

import numpy as np
import pytest

from benchmarks import stamp_quality, tuned_ranking
from tfrec.data import protocols, sequences

SESSIONS = ([1, 2, 3, 4], [2, 5], [3, 1, 2, 1, 5])


@pytest.fixture
def split():
    offsets = np.cumsum([0, *map(len, SESSIONS)])
    return protocols.leave_one_out(
        sequences.Sequences(np.concatenate(SESSIONS).astype(np.int32), offsets, 5)
    )


def test_the_reference_gets_every_prefix_and_the_latest_items_of_long_ones(split):
    rows = stamp_quality.prefixes(split, 2)
    assert rows["train_items"].tolist() == [[1, 0], [2, 0], [3, 0], [3, 1]]
    assert rows["train_target"].tolist() == [2, 5, 1, 2]
    assert rows["validation_items"].tolist() == [[1, 2], [1, 2]]
    assert rows["validation_target"].tolist() == [3, 1]
    assert rows["test_items"].tolist() == [[2, 3], [2, 1]]
    assert rows["test_target"].tolist() == [4, 5]
    assert rows["num_items"] == 5


def test_all_seeds_run_the_best_setting_by_validation(split, capsys):
    jobs_run = []

    def train(jobs):
        for job in jobs:
            jobs_run.append(job)
            right = job.setting["right"]
            validation = np.array([[3], [4]] if right else [[5], [5]], np.int32)
            yield tuned_ranking.Lists(
                np.pad(validation, [(0, 0), (0, 19)]),
                np.pad(np.array([[4], [5]], np.int32), [(0, 0), (0, 19)]),
            )

    settings = ({"right": False}, {"right": True})
    results = tuned_ranking.compare({"one": (train, settings)}, split, seeds=3)
    assert [(job.setting["right"], job.seed) for job in jobs_run] == [
        (False, 0), (True, 0), (True, 1), (True, 2),
    ]  # fmt: skip
    assert [run.by_user["ndcg@10"].tolist() for run in results["one"]] == [[1.0, 1.0]] * 3
    assert "1.0000 ± 0.0000" in capsys.readouterr().out


@pytest.mark.slow
def test_our_side_lists_unseen_items(tmp_path, monkeypatch):
    log = tmp_path / "log.txt"
    rows = ((user, (3 * user + step) % 25) for user in range(9) for step in range(5))
    log.write_text("".join(f"{user} {item}\n" for user, item in rows))
    monkeypatch.setattr(stamp_quality, "OUR_SETTINGS", stamp_quality.OUR_SETTINGS[:1])
    budget = stamp_quality.Budget(width=4, length=3, epochs=2, patience=1)
    (run,) = stamp_quality.main(str(log), "rows", seeds=1, budget=budget)["ours"]
    assert run.items.shape == (9, 20) and (run.items > 0).all()  # 4 of 25 items are seen
