"""Options of all methods that learn from a log and in rounds of play.

Importing them needs no TensorFlow.
"""

import dataclasses
from typing import ClassVar

from tfrec.options import Options, option

OF_PLAY = ("keep_log", "play_learning_rate")  # tuned fields without an effect before play


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundsConfig(Options):
    """Rounds of learning from the log, then rounds of play and learning."""

    keep_log: bool = option(
        True, "whether the log's sessions remain in the replay when play begins"
    )
    sessions_per_round: int = option(2048, "sessions played in a round", at_least=1)
    log_rounds: int = option(
        10, "rounds of learning from the log alone, before any play", at_least=0
    )
    play_rounds: int = option(30, "rounds of play and learning", at_least=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundUpdatesConfig(RoundsConfig):
    """Updates of a round from a replay of sessions."""

    updates_per_round: int = option(60, "updates in a round", at_least=1)
    learning_rate: float = option(1e-3, "Adam learning rate", above=0, at_most=1)
    play_learning_rate: float = option(
        0.5, "learning rate during play, as a share of learning_rate", at_least=0, at_most=10
    )
    batch: int = option(256, "steps of experience in a batch", at_least=1)
    replay_sessions: int = option(20480, "sessions that the replay holds", at_least=1)

    def __post_init__(self):
        super().__post_init__()
        if self.sessions_per_round > self.replay_sessions:
            raise ValueError(
                f"sessions_per_round is {self.sessions_per_round}; expected at most "
                f"replay_sessions, {self.replay_sessions}: a round must fit into the replay"
            )


def unread_sessions(config: Options, sessions: int) -> str:
    """A sentence on the sessions of a log that the replay does not hold; "" if it holds all.

    Args:
      config: options of a method that learns from a log.
      sessions: number of training sessions of the log.
    """
    if not isinstance(config, RoundUpdatesConfig) or config.replay_sessions >= sessions:
        return ""
    return (
        f"learning reads at most {config.replay_sessions:,} of the log's {sessions:,} training "
        f"sessions, the last ones: replay_sessions is {config.replay_sessions}; a larger one "
        "takes more memory"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeaturesConfig(Options):
    """Whether features are read, and how the model learns to do without ids."""

    use_features: bool = option(
        True, "read the features of items and users that the data declares; else ids alone"
    )
    id_dropout: float = option(
        0.2,
        "share of the items whose ids are dropped in an update, so that features learn to "
        "stand alone; without features nothing is dropped",
        at_least=0,
        below=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StateConfig(FeaturesConfig):
    """The state tower: embedding of items and recurrent widths.

    Attributes:
      network: fields that decide the variables of the networks or how they are read.
    """

    network: ClassVar[tuple[str, ...]] = ("embedding", "units", "state", "crossed")

    embedding: int = option(16, "width of an item embedding", at_least=1)
    units: int = option(32, "width of the GRU and the AUGRU", at_least=1)
    state: int = option(64, "width of the state vector S(s)", at_least=1)
    crossed: int = option(
        0, "buckets of hashed feature crosses in the state; 0 for none", at_least=0
    )
