"""The adversarial user model's fit: its split, its displays, and that it finds a known user."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.environments import known_users
from tfrec import errors, types
from tfrec.environments import lookup
from tfrec.environments.fitted import choice_fitting, choice_model, choice_report
from tfrec.environments.fitted.choice_model_config import ChoiceModelConfig

ITEMS, USERS, STEPS = 12, 300, 12
SPEC = types.DataSpec(
    feedback=(types.FeedbackColumn("click", "binary", "clicks"),),
    num_items=ITEMS,
    num_users=USERS,
    history_length=4,
    max_steps=STEPS,
)
QUICK = ChoiceModelConfig(
    alternatives=0, clicks=2, positions=2, lstm_units=6, item_units=6, hidden_units=16,
    batch_size=16, learning_rate=0.03, max_epochs=8, adversarial_epochs=2, weight_decay=0.01,
)  # fmt: skip


def true_probability(item, last):
    """Users like items of the kind of their last click, .9, and others .1; at first all, .5."""
    same = (item > ITEMS // 2) == (last > ITEMS // 2)
    return np.where(last == 0, 0.5, np.where(same, 0.9, 0.1))


def made_log(seed=0):
    """A session of every user, and the true click probability of every step."""
    rng = np.random.default_rng(seed)
    item = rng.integers(1, ITEMS + 1, [USERS, STEPS]).astype(np.int32)
    probability, click = np.zeros([2, USERS, STEPS])
    last = np.zeros(USERS, int)
    for step in range(STEPS):
        probability[:, step] = true_probability(item[:, step], last)
        click[:, step] = rng.random(USERS) < probability[:, step]
        last = np.where(click[:, step] > 0, item[:, step], last)
    log = types.Episodes(
        user=np.arange(1, USERS + 1, dtype=np.int32),
        history_item=np.zeros([USERS, 4], np.int32),
        history_feedback=np.zeros([USERS, 4, 1], np.float32),
        item=item,
        feedback=click[..., None].astype(np.float32),
        length=np.full(USERS, STEPS, np.int32),
        exited=np.zeros(USERS, bool),
    )
    return log, probability


def shuffled(log):
    """The same answers to the same items, each behind the history of another session."""
    order = np.random.default_rng(5).permutation(USERS * STEPS)
    item, feedback = (
        x.reshape(USERS * STEPS, -1)[order].reshape(x.shape) for x in (log.item, log.feedback)
    )
    return log._replace(item=item, feedback=feedback)


@pytest.mark.parametrize(
    "state", ["position_weights", pytest.param("lstm", marks=pytest.mark.slow)]
)
def test_a_known_user_is_found_and_not_behind_shuffled_histories(state, tmp_path):
    log, probability = made_log()
    config = dataclasses.replace(QUICK, state=state)
    fit = choice_fitting.fit(log, SPEC, config, seed=0, progress=False)
    report = choice_report.report(fit, log, tmp_path)["models"]
    clicked = log.feedback[fit.split.test, :, 0] > 0
    p = probability[fit.split.test]
    truth = np.log(np.where(clicked, p, 1 - p)).mean()
    uniform = np.log(0.5)
    assert report["uniform"]["log_likelihood"]["mean"] == pytest.approx(uniform)
    assert report["popularity"]["log_likelihood"]["mean"] < uniform + 0.02
    for name in ("maximum_likelihood", "adversarial"):
        share = (report[name]["log_likelihood"]["mean"] - uniform) / (truth - uniform)
        assert 0.8 < share < 1.1, (name, share)

    control = choice_fitting.fit(shuffled(log), SPEC, config, seed=0, progress=False)
    report = choice_report.report(control, log, tmp_path)["models"]
    for name in ("maximum_likelihood", "adversarial"):
        assert report[name]["log_likelihood"]["mean"] < uniform + 0.05, name


def known_log():
    return known_users.log(sessions_per_user=2, seed=1)


@pytest.mark.parametrize("scale", [0.0, 0.3])
def test_the_better_start_of_item_embeddings_is_kept(scale, monkeypatch):
    monkeypatch.setattr(choice_fitting, "_START", scale)  # with 0 no product can be learned
    config = dataclasses.replace(QUICK, alternatives=2, max_epochs=2, adversarial_epochs=0)
    fits = {
        start: choice_fitting.fit(
            known_log(),
            known_users.SPEC,
            dataclasses.replace(config, item_start=start),
            seed=4,
            progress=False,
        )
        for start in ("random", "factors", "best")
    }
    losses = {start: fit.stopping_loss for start, fit in fits.items()}
    better = min(("random", "factors"), key=losses.__getitem__)
    assert losses["random"] != losses["factors"]
    assert losses["best"] == losses[better] and fits["best"].item_start == better
    assert scale or better == "random"
    for a, b in zip(fits["best"].model.variables, fits[better].model.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_weight_learns_and_the_seed_decides():
    config = dataclasses.replace(QUICK, alternatives=2, max_epochs=1, adversarial_epochs=1)
    first, again, other = (
        choice_fitting.fit(known_log(), known_users.SPEC, config, seed, progress=False)
        for seed in (4, 4, 5)
    )
    for a, b in zip(first.model.variables, again.model.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.model.reward.item.numpy() != other.model.reward.item.numpy()).any()
    begun = choice_model.ChoiceModel(known_users.SPEC, first.model.config, 4).reward
    networks = (begun, first.maximum_likelihood, first.model.reward)
    for parts in zip(*(network.trainable_variables for network in networks), strict=True):
        before, middle, after = (part.numpy() for part in parts)
        assert (before != middle).any() and (middle != after).any(), parts[0].name
    assert first.model.repeats


def test_users_are_split_and_not_sessions():
    user = known_log().user
    split = choice_fitting.split_users(user, 0.1, seed=3)
    parts = [set(user[part]) for part in split]
    assert [len(part) for part in parts] == [120, 15, 15]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert (sum(part.astype(int) for part in split) == 1).all()
    with pytest.raises(errors.UserError, match="2 users cannot be split"):
        choice_fitting.split_users(np.array([1, 1, 2]), 0.1, seed=3)


def test_alternatives_are_items_that_the_user_was_never_shown():
    log = types.Episodes(
        user=np.array([1, 2], np.int32),
        history_item=np.zeros([2, 2], np.int32),
        history_feedback=np.zeros([2, 2, 1], np.float32),
        item=np.array([[1, 2], [5, 0]], np.int32),
        feedback=np.array([[[1], [0]], [[1], [0]]], np.float32),
        length=np.array([2, 1], np.int32),
        exited=np.zeros(2, bool),
    )
    key, _ = lookup.logged_pairs(log, num_items=5)
    logged = choice_model.logged_steps(types.constants(log), count=2)
    drawn = [
        choice_fitting.displays(logged, tf.constant(key), 5, 3, tf.constant([7, n]))
        for n in range(50)
    ]
    item = np.stack([shown.item.numpy() for shown in drawn])  # [50, L, 1 + K]
    assert (item[:, :, 0] == [1, 2, 5]).all()
    assert drawn[0].clicked.numpy().tolist() == [True, False, True]
    np.testing.assert_array_equal(drawn[0].clicks, [[0, 0], [0, 1], [0, 0]])
    for step, others in enumerate(({3, 4, 5}, {3, 4, 5}, {1, 2, 3, 4})):
        assert set(item[:, step, 1:].ravel()) == others


def test_the_logged_item_is_no_alternative_of_itself():
    """A user who was shown everything: any other item stands beside the logged one."""
    logged = choice_model.LoggedSteps(
        tf.zeros([400, 2], tf.int32), tf.ones([400], tf.int32), tf.fill([400], 2),
        tf.fill([400], True),
    )  # fmt: skip
    pairs = tf.constant([4 + 1, 4 + 2, 4 + 3], tf.int64)
    shown = choice_fitting.displays(logged, pairs, 3, 1, tf.constant([1, 2]))
    assert set(shown.item.numpy()[:, 1]) == {1, 3}


def test_means_of_further_feedback_by_hand():
    log = types.Episodes(
        *[None] * 3,
        item=np.array([[1, 2, 3], [4, 0, 0]]),
        feedback=np.array(
            [[[1, 1, 8], [0, 0, 2], [1, 0, 4]], [[0, 1, 4], [9, 9, 9], [9, 9, 9]]], np.float32
        ),
        length=np.array([3, 1]),
        exited=None,
    )
    np.testing.assert_allclose(choice_fitting.further_means(log), [[0.5, 3], [0.5, 6]])


def test_logs_that_say_nothing_are_rejected():
    log, _ = made_log()
    clicks = log._replace(feedback=np.ones_like(log.feedback))
    with pytest.raises(errors.UserError, match="all 3,600 steps of the log are clicks"):
        choice_fitting.fit(clicks, SPEC, QUICK, seed=0, progress=False)
    with_others = dataclasses.replace(QUICK, alternatives=1)
    one = dataclasses.replace(SPEC, num_items=1)
    with pytest.raises(errors.UserError, match="the log has 1 item; expected at least 2"):
        choice_fitting.fit(log, one, with_others, seed=0, progress=False)
