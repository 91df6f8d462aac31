"""The configuration of the report on environments; reading it needs no TensorFlow."""

import dataclasses

from tfrec.options import MAX_SEED, Options, option


@dataclasses.dataclass(frozen=True)
class WorldCheckConfig(Options):
    """How much is measured, and from which values on an environment can rank methods."""

    max_users: int = option(400, "test users at most", at_least=2)
    sessions_per_user: int = option(4, "sessions that each test user plays", at_least=1)
    training_users: int = option(
        500,
        "training users at most, on whom the list, the item and the cost of an exit are chosen",
        at_least=2,
        at_most=2000,
    )
    states: int = option(
        4, "states of each test user in which variance is measured", at_least=2
    )
    items: int = option(200, "items of which variance is measured, at most", at_least=2)
    play_rounds: int = option(12, "rounds of play of the item counts", at_least=1)
    sessions_per_round: int = option(256, "sessions of such a round", at_least=1)
    seed: int = option(0, "seed of states, items and sessions", at_least=0, at_most=MAX_SEED)
    click_interaction: float = option(
        0.25,
        "smallest share of the variance of the click's logit from interactions of user and "
        "item and of state and item",
        at_least=0,
        at_most=1,
    )
    exit_interaction: float = option(
        0.15, "the same of the exit's logit", at_least=0, at_most=1
    )
    list_share: float = option(
        0.6,
        "share of the way from random to the reference that the fixed list must stay below",
        at_least=0,
        at_most=1,
    )
