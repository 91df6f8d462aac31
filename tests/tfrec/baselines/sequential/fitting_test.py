"""Training of a sequential method by its name: what its run records, and its categories."""

import dataclasses
import json

import numpy as np
import pytest

from tests.tfrec.baselines.sequential import walks
from tfrec.baselines.sequential import cocorec, fitting, stamp
from tfrec.data import identity, item_categories
from tfrec.errors import UserError

SOURCE = identity.Source("log.txt", "1234")


def fit(method, config, folder, warnings, categories=None):
    return fitting.fit(
        method, config, walks.cycles(9, 2), lambda model: 0.0, folder, 0,
        source=SOURCE, protocol="user_ratio", categories=categories, warn=warnings.append,
    )  # fmt: skip


def test_a_run_records_method_protocol_and_log(tmp_path):
    warnings = []
    config = stamp.StampConfig(width=4, length=4, epochs=1, batch=8)
    fitted = fit("stamp", config, tmp_path, warnings)
    assert int(fitted.iteration) == 1 and not warnings
    recorded = json.dumps(json.loads((tmp_path / "config.json").read_text()))
    assert '"stamp"' in recorded and '"user_ratio"' in recorded and '"1234"' in recorded


def test_categories_are_read_where_the_method_has_them(tmp_path):
    config = cocorec.CocorecConfig(
        width=4, length=4, epochs=1, batch=8, num_categories=2, memory=8, neighbours=2
    )
    labels = [str(item % 3) for item in range(walks.NUM_ITEMS)]
    known, warnings = item_categories.numbered(labels), []
    fitted = fit("cocorec", config, tmp_path / "a", warnings, known)
    assert fitted.model.config.num_categories == 3 and not warnings
    assert fitted.model.category.numpy().tolist() == known.category.tolist()

    fitted = fit("cocorec", config, tmp_path / "b", warnings)
    assert fitted.model.config.num_categories == 2
    assert len(warnings) == 1 and "2 clusters" in warnings[0]

    # Other categories are another run.
    other = item_categories.numbered(labels[1:] + labels[:1])
    with pytest.raises(UserError, match="categories"):
        fit("cocorec", dataclasses.replace(config, num_categories=3), tmp_path / "a", [], other)
    assert not np.array_equal(other.category, known.category)
