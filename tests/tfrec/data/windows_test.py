import numpy as np

from tfrec import types
from tfrec.data import windows


def test_a_step_sees_the_latest_events_before_it():
    episodes = types.Episodes(
        user=np.array([1, 2]),
        history_item=np.array([[0, 7], [8, 9]]),
        history_feedback=np.array([[[0.0], [0.7]], [[0.8], [0.9]]]),
        item=np.array([[1, 2, 3], [4, 5, 0]]),
        feedback=np.array([[[0.1], [0.2], [0.3]], [[0.4], [0.5], [0.0]]]),
        length=np.array([3, 2]),
        exited=np.array([True, False]),
    )
    seen = windows.observations(episodes, np.array([1, 0, 0]), np.array([0, 1, 2]))
    assert seen.history_item.tolist() == [[8, 9], [7, 1], [1, 2]]
    assert seen.history_feedback[..., 0].tolist() == [[0.8, 0.9], [0.7, 0.1], [0.1, 0.2]]
    assert seen.step.tolist() == [0, 1, 2] and seen.step.dtype == np.int32
