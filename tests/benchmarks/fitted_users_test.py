"""The comparison of fitted users with simple models, on logs with known answers."""

import numpy as np
import pytest

import tfrec
from benchmarks import fitted_users
from tfrec import types
from tfrec.environments.fitted import calibration, choice_model, recurrent_model
from tfrec.errors import UserError


def log(users, taste, leave, seed):
    """Sessions of at most 12 steps with 20 items, after a history of two events.

    Args:
      users: users of two kinds, who click the even or the odd items more often.
      taste: a click has probability .5 + taste or .5 - taste.
      leave: probability of leaving after an item of the user's taste, and after another one.
      seed: seed of kinds, items and responses.
    """
    rng = np.random.default_rng(seed)
    item = rng.integers(1, 21, [users, 14])
    likes = item % 2 == rng.integers(0, 2, [users, 1])
    click = rng.random(item.shape) < np.where(likes, 0.5 + taste, 0.5 - taste)
    leaves = rng.random([users, 12]) < np.where(likes[:, 2:], *leave)
    leaves[:, -1] = True
    length = 1 + leaves.argmax(axis=1)
    live = np.arange(14) < 2 + length[:, None]
    item, click = (item * live).astype(np.int32), (click * live).astype(np.float32)[..., None]
    return types.Episodes(
        user=np.arange(1, users + 1, dtype=np.int32),
        history_item=item[:, :2],
        history_feedback=click[:, :2],
        item=item[:, 2:],
        feedback=click[:, 2:],
        length=length.astype(np.int32),
        exited=length < 12,
    )


def splits(taste, leave=(0.1, 0.1)):
    sizes = {"train": 800, "validation": 100, "test": 300}
    return {name: log(n, taste, leave, seed) for seed, (name, n) in enumerate(sizes.items())}


def test_rows_of_sessions():
    episodes = types.Episodes(
        user=np.array([4, 9]),
        history_item=np.zeros([2, 1], int),
        history_feedback=np.zeros([2, 1, 1]),
        item=np.array([[5, 6], [7, 0]]),
        feedback=np.array([[[1.0], [0.0]], [[0.0], [0.0]]]),
        length=np.array([2, 1]),
        exited=np.array([False, True]),
    )
    rows = fitted_users.rows(episodes)
    assert rows.user.tolist() == [4, 4, 9] and rows.session.tolist() == [0, 0, 1]
    assert rows.step.tolist() == [0, 1, 0] and rows.item.tolist() == [5, 6, 7]
    assert rows.clicked.tolist() == [True, False, False]
    assert rows.exited.tolist() == [False, False, True]


def test_tastes_lower_the_loss_of_factors_alone():
    episodes = splits(taste=0.35)
    test = fitted_users.rows(episodes["test"])
    found = fitted_users.references(episodes, num_items=20, rank=2)
    loss = {n: fitted_users.log_loss(p, test.clicked).mean() for n, p in found.click.items()}
    assert loss["factors"] < loss["user + item"] - 0.03
    assert abs(loss["user + item"] - loss["item"]) < 0.01
    for parts in found.shares.values():
        assert sum(parts.values()) == pytest.approx(1.0)
    assert found.shares["prior of the factors"]["interaction"] > 0.7
    state = found.shares["states of test users"]
    assert state["user_item"] + state["state_item"] > 0.7
    # Users leave with the same probability after each step and item.
    exits = {n: fitted_users.log_loss(p, test.exited).mean() for n, p in found.leave.items()}
    assert max(exits.values()) - min(exits.values()) < 0.01
    assert all(abs(value) < 4 * error for value, error in found.of_exit.values())
    assert set(found.of_exit) == {"intercept", "click", "user", "item", "interaction"}


def test_exits_after_items_against_the_taste_are_found():
    episodes = splits(taste=0.4, leave=(0.02, 0.25))
    test = fitted_users.rows(episodes["test"])
    found = fitted_users.references(episodes, num_items=20, rank=1)
    value, error = found.of_exit["interaction"]
    assert value < -4 * error
    loss = {n: fitted_users.log_loss(p, test.exited).mean() for n, p in found.leave.items()}
    assert loss["step + terms"] < loss["step + item"] - 0.01


def test_without_tastes_factors_gain_nothing():
    episodes = splits(taste=0.0)
    test = fitted_users.rows(episodes["test"])
    found = fitted_users.references(episodes, num_items=20, rank=2)
    loss = {n: fitted_users.log_loss(p, test.clicked).mean() for n, p in found.click.items()}
    assert max(loss.values()) - min(loss.values()) < 0.01


def test_the_table_has_losses_and_differences_over_users():
    happened, user = np.array([True, False, True]), np.array([3, 3, 8])
    predictions = {"half": np.full(3, 0.5), "sure": np.array([0.75, 0.25, 0.75])}
    lines = fitted_users.loss_table("click", predictions, happened, user, "half").splitlines()
    assert lines[2] == "| half | 0.69315 |  |"
    # log 2 + log .75 = .40547 is saved at every row, so users do not differ
    assert lines[3] == "| sure | 0.28768 | 0.40547 [0.40547, 0.40547] |"


@pytest.fixture
def data(tmp_path):
    return tfrec.embedded(tmp_path / "data", num_users=60, num_items=20, max_steps=8)[0]


def test_a_world_stands_beside_the_references(tmp_path, data, capsys):
    world = str(tmp_path / "users")
    config = recurrent_model.RecurrentModelConfig(hidden_units=4, head_units=4, repeats=True)
    model = recurrent_model.RecurrentModel(data.spec, config)
    model.save(tmp_path / "users" / "model", data.origin)
    found = fitted_users.main(str(data.directory), [world], factors=1)
    test = data.episodes("test")
    expected = calibration.expectations(model, test)
    np.testing.assert_array_equal(found.click[world], expected[0].expected)
    np.testing.assert_array_equal(found.leave[world], expected[-1].expected)
    out = capsys.readouterr().out
    assert out.startswith(f"{test.length.sum():,} steps of ")
    loss = fitted_users.log_loss(found.click[world], expected[0].observed > 0).mean()
    assert f"| {world} | {loss:.5f} |" in out
    assert "| step + terms |" in out and "logit of the exit, click: " in out
    assert "variance of the click's logit, states of test users: user " in out


def test_adversarial_users_are_rejected(tmp_path, data):
    model = choice_model.ChoiceModel(data.spec, choice_model.ChoiceModelConfig(repeats=True))
    model.save(tmp_path / "users" / "model", data.origin)
    with pytest.raises(UserError, match="users is an adversarial model; expected a recurrent"):
        fitted_users.main(str(data.directory), [str(tmp_path / "users")], factors=1)
