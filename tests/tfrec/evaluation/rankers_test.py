"""Every ranker of held-out events is found by its name, with what it needs."""

import numpy as np
import pytest

import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from tfrec.data import sequences
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


@pytest.mark.parametrize("name", ["rainbow", "ease", "gru"])
def test_other_names_are_rejected(name):
    with pytest.raises(UserError, match=name):
        rankers.get(name)


def test_controls_are_fitted_by_name():
    train = sequences.Sequences(np.array([1, 2, 2, 3, 2]), np.array([0, 2, 4, 5]), 3)
    popularity = rankers.CONTROLS["popularity"](train)
    assert popularity.scores(train)[0].tolist() == [1, 3, 1]
