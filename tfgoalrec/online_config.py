"""Options of GoalRec in live simulators; imports no TensorFlow."""

import dataclasses

from tfgoalrec.stream_config import StreamConfig
from tfrec.baselines.online.config import EpsilonConfig, NetworkConfig, UpdateConfig
from tfrec.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnlineGoalRecConfig(NetworkConfig, UpdateConfig, EpsilonConfig, StreamConfig):
    """GoalRec's options in a live simulator."""

    measurements: tuple[str, ...] = option(
        ("click@0", "click@1..", "reward@0", "reward@1..", "step@1..", "exit@0"),
        "measurements: sums of click, reward, step or exit over windows of steps",
        distinct=True,
        min_length=1,
    )
    goals: tuple[str, ...] = option(
        (
            "reward = 1*reward@0 + 1*reward@1..",
            "clicks = 1*click@0 + 1*click@1..",
            "steps = 1*step@1..",
        ),
        "named goals as weights in raw units; the first is the target goal",
        distinct=True,
        min_length=1,
    )
    horizon: int = option(
        32, "steps that a measurement looks ahead, this one included", at_least=1
    )
    # Lower than on logs, because a hindsight goal nearly determines its own target here.
    hindsight_share: float = option(
        0.1, "share of a batch relabelled with hindsight goals", at_least=0, at_most=1
    )
    final_rate: float = option(
        0.02,
        "learning rate at the end of the run, as a share of learning_rate",
        at_least=0,
        at_most=1,
    )
    target_share: float = option(
        0.9,
        "share of the rows without a hindsight goal that are trained under the target goal",
        at_least=0,
        at_most=1,
    )
    goal_epsilon: float = option(
        0.5, "share of sessions with a random goal at the start", at_least=0, at_most=1
    )
    goal_epsilon_share: float = option(
        0.3, "share of the run over which goal_epsilon falls to 0", at_least=0, at_most=1
    )
    action_pool: float = option(
        1.0,
        "final share of the candidates, best first, that random slates are drawn from; the "
        "share falls from 1 as epsilon falls",
        at_least=0,
        at_most=1,
    )
