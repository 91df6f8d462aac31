from tests.tfgoalrec import small
from tfrec.environments import user_models


def test_starts_are_the_first_fields_of_sessions():
    episodes = small.sessions()
    starts = user_models.starts_of(episodes)
    assert starts.user is episodes.user
    assert starts.history_item is episodes.history_item
    assert starts.history_feedback is episodes.history_feedback
