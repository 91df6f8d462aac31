"""The named worlds: files that parse, are within bounds and stay as they are."""

import hashlib
import json
import pathlib
import tomllib

import pytest

from tfrec.data import episodes, synthetic, synthetic_worlds
from tfrec.errors import UserError

FROZEN = {
    "held_aside": "0148ea8cd4dca076",
    "medium_fatigue": "09df2b4c8594b922",
    "movielens_scale": "5e216e6f815ca41d",
    "strong_fatigue": "a363b108ad5b2349",
    "taobao_scale": "f28f04ab85852c6a",
    "yoochoose_scale": "3c5ef5a4b01d79a4",
}


def config_of(name):
    return synthetic_worlds.log_class(name)()


@pytest.mark.parametrize("name", synthetic_worlds.NAMES)
def test_a_world_is_within_bounds_and_frozen(name):
    config, sessions = config_of(name), synthetic_worlds.sessions_class(name)()  # in bounds
    assert isinstance(config, synthetic.SyntheticConfig)
    assert isinstance(sessions, episodes.PrepareConfig)
    assert config.max_steps == sessions.max_steps  # else sessions would be cut
    file = pathlib.Path(synthetic_worlds.__file__).with_name(f"{name}.toml")
    values = json.dumps(tomllib.loads(file.read_text()), sort_keys=True)
    assert hashlib.sha256(values.encode()).hexdigest()[:16] == FROZEN[name]


def test_every_world_is_frozen_and_has_its_own_seed():
    assert synthetic_worlds.NAMES == tuple(sorted(FROZEN))
    assert len({config_of(name).seed for name in FROZEN}) == len(FROZEN)


@pytest.mark.parametrize("name", synthetic_worlds.NAMES)
def test_users_are_as_many_as_in_the_paper_and_differ_in_what_tires_them(name):
    config = config_of(name)
    assert (config.num_users, config.num_items) == (100_000, 1_000)
    assert config.num_types > 1 and config.exit_match < 0


def test_without_a_name_values_are_the_plain_defaults():
    assert synthetic_worlds.log_class("")() == synthetic.SyntheticConfig()
    assert synthetic_worlds.sessions_class("")() == episodes.PrepareConfig()


def test_an_unknown_world_is_rejected():
    synthetic_worlds.check("", "--embedded_world")
    synthetic_worlds.check("held_aside", "--embedded_world")
    with pytest.raises(UserError, match="--embedded_world=movielens: expected one of held_asi"):
        synthetic_worlds.check("movielens", "--embedded_world")
