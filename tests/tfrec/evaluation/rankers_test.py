"""Every ranker of held-out events is found by its name, with what it needs."""

import numpy as np
import pytest

import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from tfrec.data import identity, protocols, sequences, vocabulary
from tfrec.errors import UserError
from tfrec.evaluation import rankers


@pytest.mark.parametrize(
    "name, plays, walks_graph, reads_categories",
    [
        ("sasrec", False, False, False),
        ("cocorec", False, False, True),
        ("pgpr_kg", False, True, False),
        ("tpgr", True, False, False),
        ("imrl", True, False, False),
    ],
)
def test_a_ranker_names_its_inputs(name, plays, walks_graph, reads_categories):
    ranker = rankers.get(name)
    assert ranker.name == name
    assert (ranker.plays, ranker.walks_graph) == (plays, walks_graph)
    assert ranker.reads_categories == reads_categories


@pytest.mark.parametrize("name", [*rankers.IN_EPOCHS, "tpgr", "imrl"])
def test_budgets_and_tuned_fields_are_those_of_the_configuration(name):
    ranker = rankers.get(name)
    config = ranker.configured(epochs=3, batch=7, numbers={"hidden": (5,), "no_field": 1})
    assert type(config).__name__ == ranker.config.__name__
    if not ranker.plays:
        assert config.epochs == 3
    if name in rankers.SEQUENTIAL:
        assert config.batch == 7
    if ranker.plays:
        assert config.hidden == (5,)
        assert not {"batch", "update_factor"} & set(ranker.space)
    assert ranker.space and all(hasattr(config, field) for field in ranker.space)


def test_an_ablation_is_its_method_without_a_part():
    encoder = rankers.get("causerec_encoder")
    config = encoder.configured(epochs=3, batch=7)
    assert type(config) is rankers.get("causerec").config
    assert (config.user_weight, config.item_weight, config.epochs) == (0.0, 0.0, 3)
    assert set(encoder.space) == {"learning_rate", "concepts"}
    assert rankers.get("cocorec_alone").configured(epochs=3, batch=7).neighbours == 0
    numbers = {"augmentation": "learned"}
    for name, augmentation in (("imrl", "learned"), ("imrl_a", "none")):
        configured = rankers.get(name).configured(epochs=3, batch=7, numbers=numbers)
        assert configured.augmentation == augmentation
    assert rankers.get("cocorec_alone").reads_categories
    assert not rankers.get("cocorec_one_category").reads_categories
    for name in rankers.ABLATIONS:
        assert name not in rankers.IN_EPOCHS
        # What it shows is what it is compared with.
        assert any(name in anchors for anchors in rankers.ANCHORS.values())


def test_without_categories_all_items_have_one(tmp_path):
    events = sequences.Sequences(np.tile(np.arange(1, 6), 3), np.array([0, 5, 10, 15]), 6)
    split = protocols.leave_one_out(events)
    task = rankers.Task(
        split=split,
        protocol="leave_one_out",
        vocabulary=vocabulary.Vocabulary(
            vocabulary.Ids(np.array(list("abcdef"))), vocabulary.Ids(np.array(list("uvw")))
        ),
        source=identity.Source("log", "0"),
        folder=tmp_path / "run",
        seed=0,
        categories=lambda: pytest.fail("categories are read"),
        warn=pytest.fail,
    )
    ranker = rankers.get("cocorec_one_category")
    trained = ranker.train(ranker.configured(epochs=1, batch=2), task)
    assert trained.agent.method == "cocorec" and trained.agent.config.num_categories == 1
    assert trained.lists(split.test, 1).items.shape == (3, 1)


@pytest.mark.parametrize("name", ["rainbow", "ease", "gru"])
def test_other_names_are_rejected(name):
    with pytest.raises(UserError, match=name):
        rankers.get(name)


def test_controls_are_fitted_by_name():
    train = sequences.Sequences(np.array([1, 2, 2, 3, 2]), np.array([0, 2, 4, 5]), 3)
    popularity = rankers.CONTROLS["popularity"](train)
    assert popularity.scores(train)[0].tolist() == [1, 3, 1]
