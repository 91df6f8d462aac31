import dataclasses
import hashlib
import math

import numpy as np
import polars as pl
import pytest

from tfrec.data import schema, synthetic
from tfrec.data.synthetic import BAIT, CALM, DEEP

CONFIG = synthetic.SyntheticConfig(
    num_users=400, sessions_per_user=4, num_items=30, num_tastes=3, max_steps=12
)


TYPED = {"fatigue_steps": (2, -1, 1, 0, 2, -1), "suited_fatigue": -1, "exit_match": -1.5}


@pytest.fixture(
    scope="module",
    params=[{}, {"new_items": 12}, TYPED, {"day_parts": 4}],
    ids=["all items", "12 new items", "two types", "four parts of the day"],
)
def log(request):
    """The log with the hidden state of each row, recomputed from the shown items."""
    config = dataclasses.replace(CONFIG, **request.param)
    table, _ = synthetic.read(config)
    truth = synthetic.truth(config)
    item = table["item"].str.slice(1).cast(pl.Int64).to_numpy() - 1
    user = table["user"].str.slice(1).cast(pl.Int64).to_numpy() - 1
    day = table["time_ms"].to_numpy() // 86_400_000
    first = np.append(True, (np.diff(user) != 0) | (np.diff(day) != 0))
    hour = table["time_ms"].to_numpy() // 3_600_000 % 24
    taste = truth.taste[user]
    if config.day_parts == 4:  # own, taste 0, own, taste 1
        taste = np.select([hour < 6, hour < 12, hour < 18], [taste, 0, taste], 1)
    suits, types = truth.cluster[item] == taste, truth.user_type[user]
    fatigue, level = np.zeros(len(item), np.int64), 0
    for row in range(len(item)):
        fatigue[row] = level = 0 if first[row] else level
        hidden = (truth.kind[item[row]], types[row], suits[row])
        level = int(synthetic.next_fatigue(config, level, *hidden))
    probability = synthetic.click_probability(config, truth, taste, fatigue)
    after = synthetic.next_fatigue(config, fatigue, truth.kind[item], types, suits)
    return {
        "table": table, "new": synthetic.new_items(config, truth), "item": item,
        "probability": probability, "after": after, "config": config,
        "exit": synthetic.exit_probability(config, after, suits),
        "kind": truth.kind[item], "first": first, "last": np.append(first[1:], True),
        "step": np.arange(len(item)) - np.flatnonzero(first)[np.cumsum(first) - 1],
    }  # fmt: skip


def test_the_truth_by_hand():
    truth = synthetic.Truth(
        cluster=np.array([0, 1]), kind=np.array([BAIT, CALM]),
        click_logit=np.array([-0.6, -1.8]), taste=np.array([0]),
    )  # fmt: skip
    config = synthetic.SyntheticConfig(match=2.2, tiring=1.0, max_fatigue=10)
    probability = synthetic.click_probability(config, truth, np.array([0, 1]), np.array([0, 5]))
    logits = [[-0.6 + 2.2, -1.8], [-0.6 - 0.5, -1.8 + 2.2 - 0.5]]
    expected = [[1 / (1 + math.exp(-x)) for x in row] for row in logits]
    np.testing.assert_allclose(probability, expected)
    levels = np.array([0, 5, 9, 10])
    assert synthetic.next_fatigue(config, levels, np.array([BAIT])).tolist() == [2, 7, 10, 10]
    assert synthetic.next_fatigue(config, levels, np.array([CALM])).tolist() == [0, 4, 8, 9]
    assert synthetic.next_fatigue(config, levels, np.array([DEEP])).tolist() == [1, 6, 10, 10]
    exits = synthetic.exit_probability(
        synthetic.SyntheticConfig(exit_base=-3.0, exit_slope=4.0), np.array([0, 5, 10])
    )
    np.testing.assert_allclose(exits, [1 / (1 + math.exp(3 - 4 * s * s)) for s in (0, 0.5, 1)])


def test_types_of_users_and_suiting_items_by_hand():
    config = dataclasses.replace(CONFIG, **TYPED, exit_base=-3.0, exit_slope=4.0)
    levels, kind = np.array([0, 5, 9]), np.array([BAIT, CALM, DEEP])
    change = {
        (0, False): [2, 4, 10],  # from 0, 5 and 9, by +2, -1 and +1
        (1, False): [0, 7, 8],  # by 0, +2 and -1
        (0, True): [1, 3, 9],  # one level less
        (1, True): [0, 6, 7],
    }
    for (user_type, suits), expected in change.items():
        after = synthetic.next_fatigue(config, levels, kind, user_type, suits)
        assert after.tolist() == expected
    exits = synthetic.exit_probability(config, np.array([5, 5]), np.array([False, True]))
    np.testing.assert_allclose(exits, [1 / (1 + math.exp(x)) for x in (2.0, 3.5)])
    types = synthetic.truth(config).user_type
    assert config.num_types == 2 and abs(types.mean() - 0.5) < 4 * 0.5 / math.sqrt(400)
    assert abs(np.corrcoef(types, synthetic.truth(config).taste)[0, 1]) < 4 / math.sqrt(400)


def test_types_do_not_change_tastes_and_items():
    for name, column in synthetic.truth(CONFIG)._asdict().items():
        typed = getattr(synthetic.truth(dataclasses.replace(CONFIG, **TYPED)), name)
        assert (column == typed).all() == (name != "user_type")


def test_every_taste_has_items_of_every_kind():
    truth = synthetic.truth(CONFIG)
    pairs = set(zip(truth.kind.tolist(), truth.cluster.tolist(), strict=True))
    assert pairs == {(kind, cluster) for kind in range(3) for cluster in range(3)}


def test_the_same_seed_gives_the_same_log():
    small = synthetic.SyntheticConfig(num_users=20, num_items=15)
    assert synthetic.read(small)[0].equals(synthetic.read(small)[0])
    other = synthetic.SyntheticConfig(num_users=20, num_items=15, seed=8)
    assert not synthetic.read(small)[0].equals(synthetic.read(other)[0])


def test_the_log_of_400_users_is_the_same_in_every_version():
    table, _ = synthetic.read(synthetic.SyntheticConfig(num_users=400))
    drawn = table.select("user", "item", "time_ms", "click").write_csv()
    assert hashlib.sha256(drawn.encode()).hexdigest()[:16] == "090b7ff9de661aef"
    assert table["watch_seconds"].sum() == pytest.approx(105228.43, rel=1e-5)
    assert table["propensity"].sum() == pytest.approx(277.03275, rel=1e-5)


def test_new_items_are_spread_and_never_shown():
    whole = synthetic.SyntheticConfig(num_users=300, num_items=40, num_tastes=3)
    some = dataclasses.replace(whole, new_items=9)
    truth = synthetic.truth(whole)
    for name, column in synthetic.truth(some)._asdict().items():  # only the log differs
        np.testing.assert_array_equal(column, getattr(truth, name))
    new = synthetic.new_items(some, truth)
    # 40 items in 9 cells: 4 have 5 items, 5 have 4. Those with 5 are drawn from first.
    cell = 3 * truth.cluster + truth.kind
    assert np.bincount(cell, minlength=9).tolist() == [5, 5, 5, 5, 4, 4, 4, 4, 4]
    first = synthetic.new_items(dataclasses.replace(whole, new_items=4), truth)
    assert sorted(cell[first].tolist()) == [0, 1, 2, 3]
    assert set(first.tolist()) < set(new.tolist())
    assert (new == np.sort(new)).all() and len(set(new.tolist())) == 9
    kept = np.bincount(cell, minlength=9) - np.bincount(cell[new], minlength=9)
    assert kept.min() == 3 and kept.max() == 4
    other = synthetic.new_items(dataclasses.replace(some, seed=8), truth)
    assert new.tolist() != other.tolist()
    shown = synthetic.read(some)[0]["item"].str.slice(1).cast(pl.Int64).to_numpy() - 1
    assert set(shown.tolist()) == set(range(40)) - set(new.tolist())
    assert set(synthetic.read(whole)[0]["item"]) == {f"i{n + 1}" for n in range(40)}


def test_the_log_keeps_an_item_of_each_kind_for_each_taste():
    config = synthetic.SyntheticConfig(num_items=20, num_tastes=3, new_items=11)
    truth = synthetic.truth(config)
    known = np.setdiff1d(np.arange(20), synthetic.new_items(config, truth))
    assert sorted((3 * truth.cluster + truth.kind)[known].tolist()) == list(range(9))
    with pytest.raises(ValueError, match="new_items is 12; expected at most .* = 11, so that"):
        dataclasses.replace(config, new_items=12)


def test_the_log_passes_the_checks_of_any_log(log):
    table, declared = synthetic.read(CONFIG)
    valid = schema.validate(table, declared, "embedded log", schema.BadRows(skip=False))
    assert valid.height == table.height
    assert [column.name for column in declared.feedback] == ["click", "watch_seconds"]


def test_clicks_and_watches_follow_the_truth(log):
    table = log["table"]
    click, seconds = table["click"].to_numpy(), table["watch_seconds"].to_numpy()
    p = log["probability"][np.arange(len(click)), log["item"]]
    for kind in (BAIT, CALM, DEEP):
        rows = log["kind"] == kind
        error = math.sqrt((p * (1 - p))[rows].sum())
        assert abs(click[rows].sum() - p[rows].sum()) < 4 * error
        watched = seconds[rows & (click > 0)]
        expected = synthetic.expected_seconds(CONFIG, np.array([kind]))[0]
        assert abs(watched.mean() - expected) < 4 * watched.std() / math.sqrt(len(watched))
    assert (seconds[click == 0] == 0).all()
    # Tastes matter: items that suit are clicked far more.
    assert p.std() > 0.1


def test_propensities_are_those_of_a_softmax_over_the_true_clicks(log):
    weight = np.exp(log["probability"] / CONFIG.temperature)  # [rows, N]
    weight[:, log["new"]] = 0.0
    policy = weight / weight.sum(axis=1, keepdims=True)
    rows = np.arange(len(policy))
    np.testing.assert_allclose(
        log["table"]["propensity"].to_numpy(), policy[rows, log["item"]], rtol=1e-5
    )
    # Each item is shown as often as the propensities say ..
    shown = np.bincount(log["item"], minlength=CONFIG.num_items)
    error = np.sqrt((policy * (1 - policy)).sum(axis=0))
    assert (np.abs(shown - policy.sum(axis=0)) <= 4.5 * error).all()
    # .. so that weighing by 1 / propensity tells the CTR of random items of the log.
    click = log["table"]["click"].to_numpy()
    known = np.delete(log["probability"], log["new"], axis=1)
    value = click / log["table"]["propensity"].to_numpy() / known.shape[1]
    expected = known.mean()
    assert abs(value.mean() - expected) < 4 * value.std() / math.sqrt(len(value))


def test_users_leave_as_the_truth_says(log):
    before_cap = log["step"] < CONFIG.max_steps - 1
    p = log["exit"]
    for low, high in ((0, 3), (3, 6), (6, 11)):
        rows = before_cap & (log["after"] >= low) & (log["after"] < high)
        error = math.sqrt((p * (1 - p))[rows].sum())
        assert abs(log["last"][rows].sum() - p[rows].sum()) < 4 * error
    assert log["step"].max() == CONFIG.max_steps - 1


def test_times_are_half_a_minute_and_a_day_apart(log):
    time = log["table"]["time_ms"].to_numpy()
    gap = np.diff(time)[~log["first"][1:]]
    assert set(gap.tolist()) == {30_000}
    start = time[log["first"]].reshape(CONFIG.num_users, CONFIG.sessions_per_user)
    if log["config"].day_parts == 1:
        assert (np.diff(start, axis=1) == 86_400_000).all()
        return
    assert (np.diff(start // 86_400_000, axis=1) == 2).all()
    assert (start % 3_600_000 == 0).all()
    sessions = np.bincount(start.ravel() // 3_600_000 % 24, minlength=24)  # of each hour
    assert (np.abs(sessions - start.size / 24) < 4 * math.sqrt(start.size / 24)).all()


def test_the_taste_of_a_session_by_hand():
    config = dataclasses.replace(CONFIG, day_parts=8, num_tastes=3)
    assert config.part_of(np.array([0, 2, 3, 23])).tolist() == [0, 0, 1, 7]
    own, shared = [0, 1, 2], [[0] * 3, [1] * 3, [2] * 3, [0] * 3]
    expected = [own, shared[0], own, shared[1], own, shared[2], own, shared[3]]
    assert config.session_segments().tolist() == expected
    # A type that is drawn stays the user's own; one that follows from the taste changes.
    typed = dataclasses.replace(config, day_parts=2, fatigue_steps=(2, -1, 1, 0, 2, -1))
    assert typed.session_segments().tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 0, 1]]
    by_taste = dataclasses.replace(typed, type_by_taste=True)
    assert by_taste.session_segments().tolist() == [[0, 1, 2], [0, 0, 0]]
    assert CONFIG.session_segments().tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("parts", [5, 9, 23])
def test_parts_of_the_day_begin_with_an_hour(parts):
    with pytest.raises(ValueError, match=f"day_parts is {parts}; expected a divisor of 24"):
        synthetic.SyntheticConfig(day_parts=parts)


@pytest.mark.parametrize("steps", [(), (1, 2), (1, 2, 3, 4)])
def test_fatigue_steps_are_three_for_each_type(steps):
    with pytest.raises(ValueError, match="expected three numbers for each type of user"):
        synthetic.SyntheticConfig(fatigue_steps=steps)


def test_too_few_items_are_rejected():
    with pytest.raises(
        ValueError, match="num_items is 14; expected at least 3 x num_tastes = 15"
    ):
        synthetic.SyntheticConfig(num_items=14, num_tastes=5)
