"""Training: both parts, resuming, and a graph that tells which items belong together."""

import numpy as np
import pytest

from tests.tfrec.baselines.paths import village
from tfrec.baselines.paths import learner, pgpr, walking_graph
from tfrec.baselines.paths.config import PgprKgConfig
from tfrec.baselines.sequential import controls
from tfrec.data import protocols
from tfrec.errors import UserError
from tfrec.evaluation import next_items, path_lists
from tfrec.training import loop
from tfrec.training import run as runs

TINY = {
    "width": 8, "hidden": (16,), "keys": 4, "beam": (4, 3, 1), "max_acts": 20, "batch": 16,
    "embedding_batch": 32, "embedding_epochs": 2, "epochs": 2,
}  # fmt: skip


def make(log, graph, validate=None, **options):
    joint = walking_graph.joined(log, graph)
    config = PgprKgConfig(**TINY | options)
    model = pgpr.PathModel(config, joint, 0)
    return learner.PathLearner(model, joint, validate or (lambda lists: 0.5), 0)


def values(variables):
    return [variable.numpy() for variable in variables]


def test_first_the_embeddings_move_and_then_the_policy():
    taught = make(*village.tastes(20, 3, 5, 0))
    model = taught.model
    before = values(model.translations.trainable_variables)
    policy = values(model.policy.trainable_variables)
    numbers = taught.advance()
    assert numbers.keys() == {"embedding_loss", "validation_ndcg@10"}
    for one, other in zip(before, model.translations.trainable_variables, strict=True):
        assert not np.array_equal(one, other), other.name
    assert all(map(np.array_equal, policy, values(model.policy.trainable_variables)))
    assert not model.translations.node[0].numpy().any()
    taught.advance()
    assert np.abs(model.edges.score.numpy()).max() > 0  # the policy begins
    embeddings = values(model.translations.trainable_variables)
    numbers = taught.advance()
    assert {"reward", "entropy", "actor_loss", "critic_loss"} <= numbers.keys()
    for one, other in zip(policy, model.policy.trainable_variables, strict=True):
        assert not np.array_equal(one, other), other.name
    assert all(map(np.array_equal, embeddings, values(model.translations.variables)))
    assert not taught.finished
    taught.advance()
    assert taught.finished


def test_each_part_ends_with_the_weights_of_its_best_epoch():
    scores = iter([0.3, 0.1, 0.2, 0.1])
    taught = make(*village.tastes(20, 3, 5, 0), lambda lists: next(scores))
    taught.advance()
    best = values(taught.model.translations.variables)
    taught.advance()
    assert all(map(np.array_equal, best, values(taught.model.translations.variables)))
    # The validations of the embeddings are not those of the policy.
    assert float(taught.best_score) == -1.0
    taught.advance()
    best = values(taught.model.policy.variables)
    taught.advance()
    assert (float(taught.best_score), int(taught.best_epoch)) == (pytest.approx(0.2), 3)
    taught.use_best()
    assert all(map(np.array_equal, best, values(taught.model.policy.variables)))


def test_the_last_epoch_of_the_embeddings_is_validated():
    taught = make(*village.tastes(20, 3, 5, 0), validate_every=5)
    before = values(taught.model.translations.variables)
    assert "validation_ndcg@10" not in taught.advance()
    assert "validation_ndcg@10" in taught.advance()
    assert not any(map(np.array_equal, before, values(taught.model.translations.variables)))


@pytest.mark.slow
def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path):
    log, graph = village.tastes(20, 3, 5, 0)

    def train(folder, epochs):
        taught = make(log, graph)
        run = runs.Run.open(folder, taught.model.config, 0)
        loop.train(taught, run, epochs, save_every=1)
        return taught

    whole = train(tmp_path / "whole", 4)
    for epochs in (1, 3):
        train(tmp_path / "parts", epochs)
    resumed = train(tmp_path / "parts", 4)
    for one, other in zip(whole.variables, resumed.variables, strict=True):
        assert np.array_equal(one, other), one.name


def test_a_log_without_training_events_is_refused(tmp_path):
    graph = walking_graph.joined(
        village.of_rows([[], []], 2), village.knowledge([(1, 0, 3)], ["x"], ["r"])
    )
    config = PgprKgConfig(**TINY)
    with pytest.raises(UserError, match="no user has a training event"):
        learner.fit(config, graph, lambda lists: 0.5, tmp_path / "run", 0, 1, {}, {})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shuffled", [False, True])
def test_paths_find_the_author_that_a_user_reads(shuffled):
    """The graph tells which items belong together; with its edges shuffled it does not."""
    log, graph = village.tastes(60, 6, 30, 0, shuffled)
    split = protocols.leave_one_out(log)
    taught = make(
        split.train,
        graph,
        path_lists.validation(split.validation, 60, 0),
        embedding_epochs=15,
        embedding_rate=0.3,
        epochs=6,
        learning_rate=3e-3,
        beam=(4, 4, 8),
        max_acts=40,
    )
    while not taught.finished:
        taught.advance()
    taught.use_best()
    author = (split.test.history.items[split.test.history.offsets[:-1]] - 1) // 30
    lists = taught.model.lists(split.test.users, split.test.history, 10)
    share = ((lists.items - 1) // 30 == author[:, None]).mean()
    popular = next_items.rank(controls.Popularity(split.train), split.test.history, 10)
    by_popularity = ((popular - 1) // 30 == author[:, None]).mean()
    assert by_popularity < 0.35
    if shuffled:
        assert share < 0.45
    else:
        assert share > 0.8
        assert lists.with_path.mean() > 0.75
