"""Saved models of paths: users by their ids, paths in names, damage, and what needs a state."""

import json

import numpy as np
import pytest

import tfrec
from tests.tfrec.baselines.paths import village
from tfrec.baselines.paths import pgpr, trained, walking_graph
from tfrec.baselines.paths.config import PgprKgConfig
from tfrec.data import vocabulary as vocabulary_lib
from tfrec.errors import UserError
from tfrec.methods import ranking, registry

ITEMS, USERS = np.array(["dune", "emma", "it", "ulysses"]), np.array([70, 80])
NAMES = trained.Names(np.array(["anna", "crime"]), np.array(["author", "genre"]))


@pytest.fixture(scope="module")
def agent():
    config = PgprKgConfig(width=3, hidden=(6,), keys=2, beam=(3, 3, 3), max_acts=5)
    model = pgpr.PathModel(config, walking_graph.joined(*village.small()), seed=1)
    rng = np.random.default_rng(0)
    for variable in (*model.translations.variables, *model.policy.variables):
        variable.assign(rng.normal(size=variable.shape))
    model.score_edges()
    ids = vocabulary_lib.Vocabulary(vocabulary_lib.Ids(ITEMS), vocabulary_lib.Ids(USERS))
    return trained.PathAgent(model, ids, NAMES, {"data": "abc", "seed": 1})


def test_a_path_reads_as_names_in_the_direction_of_its_edges(agent):
    # User 70, dune, author anna, emma; staying is left out.
    text = agent.text(np.array([7, 1, 5, 2]), np.array([1, 2, 5]))
    assert text == "user 70 -interacted-> dune -author-> anna <-author- emma"
    text = agent.text(np.array([7, 4, 8, 8]), np.array([1, 4, 0]))
    assert text == "user 70 -interacted-> ulysses <-interacted- user 80"


def test_an_explanation_holds_the_list_and_edges_of_the_graph(agent):
    explanations = agent.explain(70, k=4)
    # Items 1 and 4 are the user's own.
    assert {one.item for one in explanations} == {"emma", "it"}
    everything = agent.explain(70, k=4, exclude_seen=False)
    assert {one.item for one in everything} == set(ITEMS)
    train, knowledge = village.small()
    edges = {(7, 1), (7, 4), (8, 3), (8, 4)} | {(h, t) for h, _, t in knowledge.triples}
    assert any(one.path for one in everything)
    number = {agent._name(node): node for node in range(1, 9)}
    for one in everything:
        assert bool(one.path) == (one.probability > 0)
        if one.path:
            nodes = [number[x] for x in _nodes_of(one.path)]
            assert nodes[0] == 7
            assert number[str(one.item)] == nodes[-1]
            for pair in zip(nodes, nodes[1:], strict=False):
                assert pair in edges or pair[::-1] in edges


def _nodes_of(path):
    """The names of a path: `user 70`, then every other word."""
    words = path.split(" ")
    nodes, rest = [" ".join(words[:2])], words[2:]
    while rest:
        count = 2 if rest[1] == "user" else 1
        nodes.append(" ".join(rest[1 : 1 + count]))
        rest = rest[1 + count :]
    return nodes


def test_lists_are_of_users_by_their_ids(agent):
    blocked = np.zeros([3, 4], bool)
    items, scores = agent.lists_of_users(np.array([80, 70, 99]), None, blocked, 4)
    assert (np.sort(items, axis=1) == [1, 2, 3, 4]).all()
    explained = [ITEMS.tolist().index(one.item) + 1 for one in agent.explain(70, 4, False)]
    assert items[1].tolist() == explained
    # An unknown user has no vector and no edge: <r_1, i> + b_i decides.
    parts = agent.model.translations
    node, bias = parts.node.numpy(), parts.bias.numpy()
    expected = (node[0] + parts.relation.numpy()[0]) @ node[1:5].T + bias[1:5]
    assert scores[2] == pytest.approx(np.sort(expected)[::-1], abs=1e-5)


@pytest.mark.parametrize(
    ("user", "k", "message"),
    [
        (99, 3, "user is 99; expected a user of the log, such as 70, 80"),
        ("70", 3, "user is '70'.*numbers"),
        (70, 0, "k is 0; expected a whole number of at least 1"),
    ],
)
def test_mistakes_in_a_request_are_messages(agent, user, k, message):
    with pytest.raises(UserError, match=message):
        agent.explain(user, k)


def test_what_names_no_user_is_refused(agent):
    request = ranking.checked_request(agent.vocabulary, agent.spec, ["dune"], k=2)
    for call in (
        lambda: agent.rank(request),
        lambda: agent.policy(),
        lambda: agent.lists(None, np.zeros([1, 4], bool), 2),
    ):
        with pytest.raises(UserError, match="ranks for the users of its log, by their ids"):
            call()


def test_a_folder_gives_the_same_agent_back(agent, tmp_path):
    agent.save(tmp_path / "model")
    again = registry.load(tmp_path / "model")
    assert isinstance(again, trained.PathAgent)
    assert (again.config, again.about) == (agent.config, agent.about)
    assert again.explain(80, 4) == agent.explain(80, 4)
    assert again.fingerprint == agent.identify()


def test_a_history_is_no_user(agent, tmp_path):
    agent.save(tmp_path / "model")
    with pytest.raises(UserError, match="ranks for the users of its log, by their ids"):
        tfrec.load(tmp_path / "model").rank(history=["dune"], k=2)


def test_a_damaged_folder_is_refused(agent, tmp_path):
    folder = tmp_path / "model"
    agent.save(folder)
    path = folder / "path_model.json"
    manifest = json.loads(path.read_text())
    for damage, message in (
        ({"method": "pgpr"}, "method is 'pgpr'; expected pgpr_kg"),
        ({"sizes": {"items": 4}}, "damaged sizes"),
        ({"sizes": manifest["sizes"] | {"items": 5}}, "its sizes are not those of the names"),
        ({"config": manifest["config"] | {"width": 4}}, "width|shape"),
    ):
        path.write_text(json.dumps(manifest | damage))
        with pytest.raises(UserError, match=message):
            trained.load(folder)
    path.write_text(json.dumps(manifest))
    other = trained.Names(NAMES.entities[::-1], NAMES.relations)
    other.save(folder)
    with pytest.raises(UserError, match="damaged: the fingerprint of its graph"):
        trained.load(folder)
    (folder / "graph_names.parquet").unlink()
    with pytest.raises(UserError, match="no readable names of the graph"):
        trained.load(folder)
