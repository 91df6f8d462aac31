from tests.tfgoalrec import small
from tfrec.environments import session


def test_starts_are_the_first_fields_of_sessions():
    episodes = small.sessions()
    starts = session.starts_of(episodes)
    assert starts.user is episodes.user
    assert starts.history_item is episodes.history_item
    assert starts.history_feedback is episodes.history_feedback
