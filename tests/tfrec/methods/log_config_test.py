"""Options of methods that learn from a log."""

import dataclasses

from tfrec.baselines import config
from tfrec.methods import log_config


def test_a_replay_that_does_not_hold_the_log_is_said():
    rainbow = config.RainbowConfig(replay_sessions=20_480)
    said = log_config.unread_sessions(rainbow, 63_000)
    assert "at most 20,480 of the log's 63,000 training sessions" in said
    assert "replay_sessions is 20480" in said
    held = dataclasses.replace(rainbow, replay_sessions=63_000)
    assert log_config.unread_sessions(held, 63_000) == ""


def test_methods_without_a_replay_read_every_session():
    assert log_config.unread_sessions(config.ItemCountsConfig(), 10**9) == ""
