"""The last and the earlier sessions of users, by hand."""

import numpy as np

from tfrec import types
from tfrec.environments import worlds


def test_each_session_is_the_last_of_its_user_or_an_earlier_one():
    user = np.array([2, 2, 2, 5, 7, 7], np.int32)
    parts = [np.arange(6) + 10 * column for column in range(len(types.Episodes._fields))]
    sessions = types.Episodes(*parts)._replace(user=user)
    last = worlds.last_sessions(sessions)
    assert last.user.tolist() == [2, 5, 7] and last.length.tolist() == [52, 53, 55]
    earlier = worlds.earlier_sessions(sessions, np.array([5, 7]))
    assert earlier.user.tolist() == [7] and earlier.length.tolist() == [54]
    both = worlds.earlier_sessions(sessions, np.array([2, 7]))
    assert both.length.tolist() == [50, 51, 54]
