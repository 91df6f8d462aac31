"""The AUC comparison at a tiny size: our side's, and the choice of the best setting."""

import numpy as np
import pytest

from benchmarks import ranking_auc, ranking_rows
from tfrec import types

pytestmark = pytest.mark.slow

SPEC = types.DataSpec((types.FeedbackColumn("click", "binary", "clicks"),), 6, 4, 2, 3)


def episodes(item, length, history=((0, 5),) * 4):
    """Four sessions; even items are clicked, in the history as well."""
    item, history = np.array(item, np.int32), np.array(history, np.int32)

    def click(items):
        return ((items % 2 == 0) & (items > 0)).astype(np.float32)[..., None]

    return types.Episodes(
        user=np.array([1, 2, 3, 4], np.int32),
        history_item=history,
        history_feedback=click(history),
        item=item,
        feedback=click(item),
        length=np.array(length, np.int32),
        exited=np.ones(4, bool),
    )


LOG = episodes([[1, 2, 3], [4, 0, 0], [6, 5, 0], [2, 1, 4]], [3, 1, 2, 3])


def test_rows_hold_what_was_known_before_each_step():
    rows = ranking_rows.rows(LOG)
    assert rows["user"].tolist() == [1, 1, 1, 2, 3, 3, 4, 4, 4]
    assert rows["item"].tolist() == [1, 2, 3, 4, 6, 5, 2, 1, 4]
    assert rows["click"].tolist() == [0, 1, 0, 1, 1, 0, 1, 0, 1]
    assert rows["step"].tolist() == [0, 1, 2, 0, 0, 1, 0, 1, 2]
    assert rows["history_item"][:3].tolist() == [[0, 5], [5, 1], [1, 2]]
    assert rows["history_click"][:3].tolist() == [[0, 0], [0, 0], [0, 1]]
    assert "context_values" not in rows and ranking_rows.observation(rows).context_values == ()
    values = np.array([[1], [2], [3], [4]], np.int32)
    rows = ranking_rows.rows(LOG._replace(context_values=values))
    observation = ranking_rows.observation(rows)
    assert observation.context_values[:, 0].tolist() == [1, 1, 1, 2, 3, 3, 4, 4, 4]


def test_the_epoch_is_chosen_by_the_validation_rows():
    part = {"click": np.array([0, 1, 0, 1]), "user": np.array([1, 1, 2, 2])}
    good, bad = [0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]
    scores = ranking_auc.Scores(np.array([bad, good]), np.array([good, bad]))
    quality = ranking_auc.quality(scores, {"validation": part, "test": part})
    # Of the four pairs of a click and none, `bad` orders one and ties two.
    assert quality == ranking_auc.Quality(epoch=2, validation=1.0, auc=0.5, user_auc=0.5)


def test_the_best_setting_by_validation_is_the_one_that_all_seeds_run(capsys):
    part = {"click": np.array([0, 1]), "user": np.array([1, 1])}
    jobs_run = []

    def train(jobs):
        for setting, seed in jobs:
            jobs_run.append((setting, seed))
            right = setting == ranking_auc.SETTINGS[1]
            score = np.array([[0.0, 1.0] if right else [1.0, 0.0]])
            yield ranking_auc.Scores(score, score)

    parts = {"validation": part, "test": part}
    qualities = ranking_auc.compare({"one": train}, parts, seeds=3)
    assert jobs_run[:3] == [(setting, 0) for setting in ranking_auc.SETTINGS]
    assert jobs_run[3:] == [(ranking_auc.SETTINGS[1], 1), (ranking_auc.SETTINGS[1], 2)]
    assert [q.auc for q in qualities["one"]] == [1.0, 1.0, 1.0]
    assert "1.0000 ±0.0000" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(ranking_auc.OURS))
def test_our_side_scores_every_row_after_every_epoch(name, monkeypatch):
    monkeypatch.setattr(ranking_auc, "BATCH", 3)
    rows = ranking_rows.rows(LOG)
    parts = {"validation": rows, "test": {k: v[:4] for k, v in rows.items()}}
    train = ranking_auc.ours(name, SPEC, LOG, parts, epochs=2)
    small = {"learning_rate": 1e-2, "embedding": 4}
    (one,) = train([(small, 0)])
    assert one.validation.shape == (2, 9) and one.test.shape == (2, 4)
    assert np.isfinite(one.validation).all()
    np.testing.assert_allclose(one.validation[:, :4], one.test, rtol=1e-4, atol=1e-6)
    assert np.abs(one.validation[0] - one.validation[1]).max() > 1e-6
