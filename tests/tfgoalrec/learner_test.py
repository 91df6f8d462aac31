"""The labels of logged sessions in a world that reports feedback late."""

import numpy as np

from tests.tfgoalrec import small
from tests.tfrec.environments import scripted
from tfgoalrec import learner as goalrec_learner
from tfrec.environments.fitted import variants


def test_the_logs_feedback_is_reported_as_late_as_that_of_play():
    agent = small.agent(far_windows="learned", replay_sessions=4, sessions_per_round=1)
    late = variants.HighVariance(scripted.ScriptedWorld(small.SPEC, True), delay=3)
    place = agent.measurements.columns.index("click@0")
    mean, std = (float(x[place]) for x in (agent.measurements.mean, agent.measurements.std))

    def clicks(world):
        replay = goalrec_learner.GoalRecLearner(agent, small.sessions(), world).replay
        raw = replay.label.numpy()[:2, :, place] * std + mean
        return np.where(np.arange(5) < [[4], [5]], raw, 0.0)

    # Session 0 has 4 steps and clicks at 0, 2, 3; session 1 has 5 and clicks at 1 and 4.
    np.testing.assert_allclose(clicks(late), [[0, 0, 0, 3, 0], [0, 0, 0, 0, 2]], atol=1e-5)
    np.testing.assert_allclose(clicks(None), [[1, 0, 1, 1, 0], [0, 1, 0, 0, 1]], atol=1e-5)
