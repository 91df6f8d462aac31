import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfrec.data import (
    episodes,
    feature_schema,
    preparing,
    schema,
    storage,
    synthetic,
    synthetic_attributes,
)
from tfrec.environments import contract, exact_values
from tfrec.errors import UserError
from tfrec.evaluation import feature_worlds
from tfrec.evaluation.feature_worlds import ALL, KNOWN, NEW


def prepared(folder, **changes):
    truth = synthetic.SyntheticConfig(num_users=60, num_items=30, max_steps=8, **changes)

    def read(bad_rows):
        frame, log_schema = synthetic.read(truth)
        return schema.validate(frame, log_schema, "embedded log", bad_rows), log_schema

    config = episodes.PrepareConfig(history_length=6, max_steps=8)
    generator = {**vars(truth)}
    declared = synthetic_attributes.with_hour(feature_schema.Declaration(), truth)
    return preparing.prepare(
        read,
        folder,
        config,
        source="embedded",
        feature_columns=declared,
        generator=generator,
    ).data


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "data"
    return feature_worlds.setting(prepared(folder, new_items=6), 10, 3)


class First:
    """Shows the first candidate that is not blocked; it knows no hour."""

    def __init__(self, place):
        self.spec = place.world.spec
        self.vocabulary = dataclasses.replace(place.world.vocabulary, context_features=None)

    def policy(self):
        def policy(timestep):
            free = tf.cast(tf.logical_not(timestep.blocked), tf.int32)
            return contract.action_of(tf.argmax(free, axis=1, output_type=tf.int32) + 1)

        return policy


def test_parts_divide_the_items(place):
    known, new, every = (place.parts[name].items.tolist() for name in (KNOWN, NEW, ALL))
    assert (len(known), len(new)) == (24, 6)
    assert known == place.data.vocabulary.items.tolist()
    assert sorted(known + new) == sorted(every)


def test_exact_values_are_in_their_order(place):
    for part in place.parts.values():
        assert part.random.shape == place.user.shape
        assert part.random.mean() < part.by_attributes.mean() <= part.optimum.mean()
        assert (part.by_attributes <= part.optimum + 1e-9).all()
    for name in (KNOWN, NEW):
        assert (place.parts[name].optimum <= place.parts[ALL].optimum + 1e-9).all()


def test_the_most_clicked_item_of_the_log(place):
    log = place.data.episodes("train")
    items = range(1, 25)
    clicks = [log.feedback[..., 0][log.item == item].sum() for item in items]
    best = np.array([[1 + int(np.argmax(clicks))]])
    value = exact_values.plan_value(place.world, np.array([1.0, 0.0]), best)
    expected = exact_values.session_values(place.world, value)[place.user - 1]
    np.testing.assert_allclose(place.popularity, expected)


@pytest.mark.parametrize(("name", "shown"), [(KNOWN, 0), (NEW, 24), (ALL, 0)])
def test_a_policy_is_restricted_to_its_part(place, name, shown):
    clicks = feature_worlds.play(place, First(place), name)
    # The same item in every session: its exact value is near the mean of the played sessions.
    value = exact_values.plan_value(place.world, np.array([1.0, 0.0]), np.array([shown + 1]))
    exact = exact_values.session_values(place.world, value)[place.user - 1]
    assert clicks.shape == exact.shape
    assert clicks.mean() == pytest.approx(exact.mean(), abs=1.0)


def test_the_hours_of_the_played_sessions(tmp_path):
    """The most clicked item of the log is exact and played in the hours of the starts."""
    made = feature_worlds.setting(prepared(tmp_path / "data", new_items=6, day_parts=2), 10, 30)
    user = made.data.episodes("test").user
    last = np.flatnonzero(np.append(np.diff(user) != 0, True))[:10]
    hour = made.data.session_times("test")[0][last] // 3_600_000 % 24
    assert user[last].tolist() == made.user.tolist()
    own = made.world.truth.taste[made.user - 1]
    taste = np.where(hour >= 12, 0, own)
    value = exact_values.plan_value(made.world, np.array([1.0, 0.0]), np.array([1]))
    clicks = feature_worlds.play(made, First(made), KNOWN)
    assert (taste != own).any() and (hour < 12).any()
    assert clicks.mean() == pytest.approx(value[0, taste, 0].mean(), abs=0.25)
    for part in made.parts.values():
        assert (part.without_hour <= part.optimum + 1e-9).all()
        assert (part.first_without_hour <= part.optimum + 1e-9).all()
        assert part.random.mean() < part.without_hour.mean() < part.optimum.mean()
        assert part.without_hour.mean() < part.first_without_hour.mean()


def test_a_log_that_shows_every_item_is_rejected(tmp_path):
    data = prepared(tmp_path / "data")
    with pytest.raises(UserError, match="its log shows every item; expected --embedded_new"):
        feature_worlds.setting(data, 10, 3)
    assert isinstance(data, storage.PreparedData)
