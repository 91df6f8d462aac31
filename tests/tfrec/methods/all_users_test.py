"""Lists of all users: histories by hand, parts that are kept, and the rows of the file."""

import json

import numpy as np
import polars as pl
import pytest

from tfrec import types
from tfrec.data import identity, sequence_logs, sequences, vocabulary
from tfrec.errors import UserError
from tfrec.methods import all_users

ITEMS = np.array(["lamp", "mug", "pen", "cup"])


class Agent:
    """Ranks the items that follow a user's last one, item 1 after the last; score 1 / place."""

    method, fingerprint, reads_feedback = "cycle", "f00d", False
    named_goals = {"": np.zeros(0)}
    spec = types.DataSpec((types.FeedbackColumn("event", "binary", "events"),), 4, 3, 2, 1)
    vocabulary = vocabulary.Vocabulary(
        vocabulary.Ids(ITEMS), vocabulary.Ids(np.array([7, 8, 9]))
    )

    def __init__(self, fails_at=None):
        self.fails_at, self.asked = fails_at, []

    def lists(self, observation, blocked, k, goal=""):
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append(observation.history_item.tolist())
        item = (observation.history_item[:, -1:] + np.arange(4)) % 4 + 1  # [B, 4]
        score = np.where(np.take_along_axis(blocked, item - 1, 1), -np.inf, 1 / np.arange(1, 5))
        order = np.argsort(-score, axis=1, kind="stable")[:, :k]
        item, score = (np.take_along_axis(x, order, 1) for x in (item, score))
        return np.where(np.isinf(score), 0, item).astype(np.int32), score.astype(np.float32)

    def lists_of_users(self, users, *arguments):
        return self.lists(*arguments)


def log(rows=((1, 2), (), (3, 1, 2)), raw=("mug", "sofa", "lamp")):
    """A log in ids of its own: item 2, sofa, is none of the agent's."""
    items = np.array([item for row in rows for item in row], np.int32)
    offsets = np.cumsum([0, *map(len, rows)])
    return sequence_logs.SequenceLog(
        sequences.Sequences(items, offsets, len(raw)),
        vocabulary.Vocabulary(
            vocabulary.Ids(np.array(raw)), vocabulary.Ids(np.array([10, 11, 12]))
        ),
        identity.Source("log.txt", "beef"),
    )


def histories(**changed):
    return all_users.of_log(log(**changed), Agent(), "log.txt")


def write(path, agent=None, **options):
    agent = agent or Agent()
    config = all_users.ListsConfig(**{"k": 2, "users_per_part": 1} | options)
    return all_users.write(agent, histories(), path, config)


def test_histories_are_in_the_ids_of_the_agent_without_unknown_items():
    observation = histories().observation(np.array([0, 1, 2]), 2)
    # mug is item 2 of the agent, lamp item 1; nothing is known of the second user.
    assert observation.history_item.tolist() == [[0, 2], [0, 0], [1, 2]]
    assert histories().seen(np.array([2, 0]), 4).tolist() == [
        [True, True, False, False],
        [False, True, False, False],
    ]
    assert histories().seen(np.array([2]), 1).tolist() == [[True]]


def test_the_file_has_a_row_for_each_listed_item(tmp_path):
    path = tmp_path / "lists.parquet"
    assert write(path) == 0
    frame = pl.read_parquet(path)
    assert frame.columns == ["user", "rank", "item", "score"]
    assert frame.rows() == [
        (10, 1, "pen", 1.0), (10, 2, "cup", 0.5),
        (11, 1, "lamp", 1.0), (11, 2, "mug", 0.5),
        (12, 1, "pen", 1.0), (12, 2, "cup", 0.5),
    ]  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["lists.parquet"]


def test_what_a_user_has_had_is_left_out(tmp_path):
    write(tmp_path / "lists.parquet", exclude_seen=True, k=4)
    frame = pl.read_parquet(tmp_path / "lists.parquet")
    by_user = frame.group_by("user", maintain_order=True).agg("item").rows()
    assert by_user == [
        (10, ["pen", "cup", "lamp"]),
        (11, ["lamp", "mug", "pen", "cup"]),
        (12, ["pen", "cup"]),
    ]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_parts_and_batches_do_not_change_the_rows(size, tmp_path):
    write(tmp_path / "lists.parquet")
    write(tmp_path / "others.parquet", users_per_part=size, batch=2)
    one, other = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("lists", "others"))
    assert one.equals(other)


def test_an_interrupted_call_goes_on_and_ends_with_the_same_bytes(tmp_path):
    write(tmp_path / "whole.parquet")
    path = tmp_path / "lists.parquet"
    with pytest.raises(KeyboardInterrupt):
        write(path, Agent(fails_at=2))
    assert not path.exists()
    again = Agent()
    assert write(path, again) == 2
    assert again.asked == [[[1, 2]]]  # the third user alone
    assert path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lists.parquet", "whole.parquet"]


def test_parts_of_another_request_are_not_used(tmp_path):
    path = tmp_path / "lists.parquet"
    with pytest.raises(KeyboardInterrupt):
        write(path, Agent(fails_at=2))
    request = json.loads((tmp_path / ".lists.parquet.parts" / "request.json").read_text())
    assert request["agent"] == "f00d" and request["log"] == "beef" and request["k"] == 2
    assert write(path, k=1) == 0
    assert len(pl.read_parquet(path)) == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lists.csv", {}, "expected a file that ends in .parquet"),
        ("there.parquet", {}, "is there already"),
        ("lists.parquet", {"k": 5}, "--k=5: expected at most 4"),
        ("lists.parquet", {"goal": "click"}, "--goal=click: the agent has no such goal"),
    ],
)
def test_lists_that_cannot_be_made_are_rejected(name, options, message, tmp_path):
    (tmp_path / "there.parquet").write_text("")
    config = all_users.ListsConfig(**{"k": 2} | options)
    with pytest.raises(UserError, match=message):
        all_users.check(tmp_path / name, Agent(), config)


def test_an_agent_that_reads_feedback_needs_prepared_data():
    agent = Agent()
    agent.reads_feedback = True
    with pytest.raises(
        UserError, match="log.txt: cycle reads the feedback to each event, event"
    ):
        all_users.of_log(log(), agent, "log.txt")


def test_ids_of_another_kind_are_rejected():
    with pytest.raises(UserError, match="the ids of this log are text, but 1 is not"):
        histories(raw=(1, 2, 3))
