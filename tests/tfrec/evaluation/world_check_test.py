"""Conditions and verdicts of worlds, by hand."""

import dataclasses

import pytest

from tfrec.evaluation import world_check
from tfrec.evaluation.world_check_config import WorldCheckConfig
from tfrec.metrics.variance_components import Components

CONFIG = WorldCheckConfig()
NOTHING = Components(0.0, 0.0, 0.0, 0.0, 0.0)


def made(click=(1, 1, 1, 2, 0), leave=(0, 8, 0, 0, 2), share=(0.4, 0.3, 0.5)):
    mean, low, high = share
    return world_check.WorldCheck(
        "runs/users",
        "RecurrentModel",
        {"click": Components(*click), "exit": Components(*leave)},
        {},
        "exit_averse",
        {"fixed_list": {"mean": mean, "low": low, "high": high}},
    )


def test_a_world_is_admitted_if_all_conditions_hold():
    click, leave, listed = made().criteria(CONFIG)
    assert (click.value, leave.value, listed.value) == (0.4, 0.2, 0.4)
    assert click.met and leave.met and listed.met
    assert made().verdict(CONFIG) == "admitted"


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"click": (1, 6, 1, 2, 0)}, "apart"),  # 20% of the click's variance
        ({"leave": (0, 9, 0, 0, 1)}, "apart"),  # 10% of the exit's
        ({"share": (0.7, 0.61, 0.8)}, "apart"),
        ({"share": (0.55, 0.45, 0.65)}, "undecided"),
        ({"share": (0.65, 0.59, 0.7)}, "undecided"),
        ({"share": (0.65, 0.59, 0.7), "leave": (0, 9, 0, 0, 1)}, "apart"),
    ],
)
def test_one_condition_that_fails_sets_a_world_apart(changed, verdict):
    assert made(**changed).verdict(CONFIG) == verdict


def test_thresholds_are_the_configurations():
    loose = dataclasses.replace(CONFIG, exit_interaction=0.05, list_share=0.9)
    world = made(leave=(0, 9, 0, 0, 1), share=(0.7, 0.61, 0.8))
    assert world.verdict(loose) == "admitted"
    assert [x.threshold for x in world.criteria(loose)] == [
        "at least 25%",
        "at least 5%",
        "below 90%",
    ]


def test_users_who_never_leave_are_named():
    result = made(leave=NOTHING).criteria(CONFIG)[1]
    assert not result.met and result.note == "the exit's probability never varies"


def test_a_reference_is_called_what_it_is():
    assert made().reference_note == "the best privileged policy tried; no bound"
    proven = dataclasses.replace(made(), reference="optimum")
    assert proven.reference_note.startswith("the proven optimum")


def test_an_environment_in_which_nothing_earns_more_than_random_is_apart():
    empty = dataclasses.replace(made(), shares={})
    last = empty.criteria(CONFIG)[-1]
    assert last.value is None and last.note == "nothing earns more than random"
    assert empty.verdict(CONFIG) == "apart"
