"""Every option that decides the variables of a method is among those that a start compares."""

import dataclasses
import typing

import pytest

from tests.contracts import cases
from tfrec.methods import registry, warm_start
from tfrec.training import checkpoint

METHODS = ("goalrec", "dien", "rainbow", "dyna_q", "wide_and_deep")

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


def variables(name, config):
    """Shapes of all variables that a warm start copies, by name."""
    learner = registry.untrained(name, config, cases.SPEC)
    excluded = warm_start._of_run(learner)
    return {
        path: variable.shape.as_list()
        for path, variable in checkpoint.named_variables(learner).items()
        if id(variable) not in excluded
    }


def others(config, field, hint):
    """Other values of a field; those that its rules forbid are left out later."""
    value = getattr(config, field.name)
    if typing.get_origin(hint) is typing.Literal:
        return [x for x in typing.get_args(hint) if x != value]
    if hint is bool:
        return [not value]
    if hint is int:
        return [value + 4, 1]
    return [value / 2 + 0.1, 0.0] if hint is float else []


@pytest.mark.parametrize("name", METHODS)
def test_the_compared_options_decide_the_variables(name):
    config = cases.catalogue(name, "log").config
    hints = typing.get_type_hints(type(config))
    expected, tried = variables(name, config), 0
    assert set(config.network) <= {field.name for field in dataclasses.fields(config)}
    for field in dataclasses.fields(config):
        if field.name in (*config.network, *registry.get(name).log_form.session_fields):
            continue
        for value in others(config, field, hints[field.name]):
            try:
                changed = dataclasses.replace(config, **{field.name: value})
            except ValueError:
                continue
            assert variables(name, changed) == expected, (field.name, value)
            tried += 1
    assert tried > 10
