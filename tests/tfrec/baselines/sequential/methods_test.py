"""What holds for every sequential method: rows, padding, causality, resuming, learning."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.baselines.sequential import walks
from tfrec.baselines.sequential import batches, controls, learner, methods, next_item_model
from tfrec.data import protocols
from tfrec.evaluation import next_items
from tfrec.training import finite, loop
from tfrec.training import run as runs

LENGTH = 6
SMALL = {
    "width": 8, "length": LENGTH, "batch": 16, "learning_rate": 0.02,
    "inner": 8, "blocks": 1, "hidden": 8, "concepts": 4, "bank": 8,
    "warm_up": 1, "kept": 1.0, "replacement": "random",
    "num_categories": 3, "memory": 24, "neighbours": 2,
}  # fmt: skip
# Anchor and sampler take twice as long to trace as another method.
METHODS = tuple(
    pytest.param(name, marks=pytest.mark.slow) if name.startswith("casr") else name
    for name in methods.METHODS
)


def build(name, num_items=walks.NUM_ITEMS, **changed):
    parts = methods.METHODS[name]()
    fields = {field.name for field in dataclasses.fields(parts.config)}
    given = {key: value for key, value in SMALL.items() if key in fields}
    categories = [np.arange(num_items) % 3] if parts.categories else []
    return parts.build(parts.config(**given | changed), num_items, 0, *categories)


@pytest.mark.parametrize("name", methods.METHODS)
def test_each_choice_of_a_space_is_permitted(name):
    parts = methods.METHODS[name]()
    assert 2 <= len(parts.space) <= 5
    defaults = dataclasses.asdict(parts.config())
    for field, choices in parts.space.items():
        assert field in defaults and len(set(choices)) > 1
        for value in choices:
            parts.config(**{field: value})


@pytest.mark.parametrize("name", METHODS)
def test_scores_do_not_depend_on_other_rows_and_an_empty_history_has_equal_ones(name):
    net, log = build(name), walks.cycles(9, 2)
    together = net.scores(log)
    alone = np.concatenate([net.scores(log.select(np.array([u]))) for u in (0, 8)])
    assert together[[0, 8]] == pytest.approx(alone, abs=1e-5)
    assert len(np.unique(together)) > 9
    assert np.unique(net.scores(walks.of_rows([[]]))).tolist() == [0.0]


@pytest.mark.parametrize("name", METHODS)
def test_padding_of_an_observation_changes_nothing(name):
    net, rows = build(name), [[3, 1, 4], [5], [9, 2, 6, 5, 3, 7]]
    log = walks.of_rows(rows)
    tight = net.scores_of(batches.observed_inputs(tf.constant(log.padded(LENGTH)), LENGTH))
    wide = net.scores_of(batches.observed_inputs(tf.constant(log.padded(LENGTH + 5)), LENGTH))
    assert np.allclose(tight, net.scores(log), atol=1e-5)
    assert np.allclose(wide, tight, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_later_item_does_not_change_an_earlier_prediction(name):
    net = build(name)
    if not isinstance(net, next_item_model.NextItemModel):
        pytest.skip("has no prediction for each event of a row")
    rng = np.random.default_rng(0)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.5)
    one, _ = batches.scoring_inputs(walks.of_rows([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]), LENGTH)
    other, _ = batches.scoring_inputs(
        walks.of_rows([[1, 2, 3, 11, 5], [6, 7, 8, 9, 12]]), LENGTH
    )
    same = np.isclose(net.hidden(one, None), net.hidden(other, None), atol=1e-6).all(axis=1)
    assert same.tolist() == [True] * 3 + [False] * 2 + [True] * 4 + [False]


@pytest.mark.parametrize("name", METHODS)
def test_every_variable_moves_in_two_steps(name):
    """The first one fills the memories of the methods that have one."""
    net = build(name)
    taught = learner.SequenceLearner(net, walks.cycles(16, 1), lambda model: 0.5, 0)
    before = [variable.numpy() for variable in net.trainable_variables]
    batch = next(iter(batches.epoch(walks.cycles(16, 1), 16, LENGTH, "last", 0, 0)))
    for _ in range(2):
        taught.update(batch)
    for variable, value in zip(net.trainable_variables, before, strict=True):
        assert not np.array_equal(variable, value), variable.name


def test_a_nan_in_any_gradient_changes_no_weight(monkeypatch):
    """Layers of equal names: the first block's gradients are checked, too."""
    net = build("sasrec", blocks=2)
    taught = learner.SequenceLearner(net, walks.cycles(16, 1), lambda model: 0.5, 0)
    batch = next(iter(batches.epoch(walks.cycles(16, 1), 16, LENGTH, "last", 0, 0)))
    spoiled = next(i for i, v in enumerate(net.trainable_variables) if "inner" in v.name)
    names = [v.name for v in net.trainable_variables]
    assert names.count(names[spoiled]) == 2
    exact = tf.GradientTape.gradient

    def gradient(tape, loss, variables):
        found = exact(tape, loss, variables)
        return [g * np.nan if i == spoiled else g for i, g in enumerate(found)]

    monkeypatch.setattr(tf.GradientTape, "gradient", gradient)
    before = [variable.numpy() for variable in net.trainable_variables]
    _, bad = taught.update(batch)
    with pytest.raises(finite.NonFiniteError, match=rf"gradient of inner {spoiled} "):
        finite.check(taught._names, bad, batch)
    assert all(map(np.array_equal, before, [v.numpy() for v in net.trainable_variables]))


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_weight_has_a_gradient_with_each_choice_of_a_space(name):
    batch = next(iter(batches.epoch(walks.cycles(16, 1), 16, LENGTH, "last", 0, 0)))
    space = methods.METHODS[name]().space
    choices = [{field: value} for field, values in space.items() for value in values]
    choices += [each.fixed for each in methods.ABLATIONS.values() if each.method == name]
    for changed in choices:
        net = build(name, **changed)
        with tf.GradientTape() as tape:
            loss = net.loss(batch, tf.constant([0, 0]))
        gradients = tape.gradient(loss, net.trainable_variables)
        for variable, gradient in zip(net.trainable_variables, gradients, strict=True):
            assert gradient is not None, (changed, variable.name)


@pytest.mark.slow
@pytest.mark.parametrize("averaging", [0.0, 0.9])
@pytest.mark.parametrize("name", METHODS)
def test_an_interrupted_run_ends_as_one_that_was_not(name, averaging, tmp_path):
    def train(folder, epochs):
        net = build(name, epochs=3, averaging=averaging)
        taught = learner.SequenceLearner(net, walks.cycles(20, 1), lambda model: 0.5, 0)
        run = runs.Run.open(folder, net.config, 0)
        loop.train(taught, run, epochs, save_every=1)
        return taught

    whole = train(tmp_path / "whole", 3)
    train(tmp_path / "parts", 1)
    resumed = train(tmp_path / "parts", 3)
    for one, other in zip(whole.variables, resumed.variables, strict=True):
        assert np.array_equal(one, other), one.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sasrec", {"loss": "bce", "dropout": 0.0}),
        ("sasrec", {"loss": "softmax", "dropout": 0.0}),
        ("hstu", {"dropout": 0.0}),
    ],
)
def test_order_is_learned_where_controls_see_none(name, options):
    split = protocols.leave_one_out(walks.cycles(200, 3))
    net = build(name, **options)
    taught = learner.SequenceLearner(
        net, split.train, lambda model: next_items.ndcg_at_10(model, split.validation), 0
    )
    for _ in range(12):
        taught.advance()

    def first(ranker):
        return next_items.evaluate(ranker, split.test, split.train, (1,)).by_user["recall@1"]

    assert first(net).mean() > 0.9
    assert first(controls.Ease(split.train, 1.0)).mean() < 0.7
