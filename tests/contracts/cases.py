"""Every method of both registries at its smallest, built as the launch scripts build it."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tfgoalrec  # noqa: F401  registers GoalRec
import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from tests.tfrec.baselines import click_log
from tfrec import types
from tfrec.environments import registry as environments
from tfrec.environments import user_models, users
from tfrec.methods import online_learner, online_run, presets, registry
from tfrec.training import checkpoint
from tfrec.training import run as runs

SPEC = click_log.SPEC
# Settings of every catalogue method, as far as it has the field.
_CATALOGUE_SIZES = {
    "embedding": 4, "frozen_embedding": 2, "units": 4, "state": 4, "goal_units": 4,
    "stream": 4, "hidden": 4, "item_vector": 4, "batch": 16, "replay_sessions": 48,
    "sessions_per_round": 16, "updates_per_round": 3, "log_rounds": 1, "play_rounds": 3,
    "atoms": 5, "warm_up": 1, "planning_steps": 2, "planning_depth": 2, "planning_replay": 32,
}  # fmt: skip
# Settings of every live method, as far as it has the field. Nearly every step is informative,
# so that synthetic rows soon outnumber real ones.
_LIVE_SIZES = {
    "hidden": (6,), "batch": 32, "replay_size": 96, "synthetic_size": 512, "random_steps": 8,
    "width": 4, "units": 4, "history": 3, "neighbours": 3, "pieces": 2, "pool": 16,
    "pairs": 32, "copies": 8, "mask_units": 16, "mask_heads": 1, "mask_batch": 8,
    "mask_updates": 2, "mask_warm_up": 1, "vector_width": 3, "vector_sessions": 20,
    "update_factor": 1, "horizon": 4, "threshold_start": 1e-3, "threshold_max": 1e-3,
}  # fmt: skip
_PLAY = online_learner.OnlineConfig(
    sessions=6,
    rollout_steps=8,
    updates=3,
    warm_up=40,
    total_iterations=8,
    test_every=8,
    test_sessions=4,
)
_FORMS = {
    "recsim": {"candidates": 5, "slate": 2},
    "recogym": {"products": 8, "flips": 2},
    "virtualtb": {},
    "gymnasium": {
        "gym_id": "SumSlate-v0",
        "gym_module": "tests.tfrec.environments.adapters.gym_envs",
    },
}


class Case(NamedTuple):
    """One registered method in one place where it can learn.

    Attributes:
      id: of the test.
      name: of the method in its registry.
      place: the simulator, or `world` or `log` for a catalogue method.
      build: seed -> learner at its first iteration, through the registry.
      config: the method's configuration.
    """

    id: str
    name: str
    place: str
    build: Callable[[int], Any]
    config: Any

    @property
    def live(self) -> bool:
        return self.place in environments.ENVIRONMENTS


def _small(config_class: type[Any], sizes: Mapping[str, Any], changes: Any) -> Any:
    """A configuration with those of the sizes that it has fields for."""
    known = {field.name for field in dataclasses.fields(config_class)}
    return config_class(**({k: v for k, v in sizes.items() if k in known} | changes))


def log(repeats: bool = False, sessions: int = 40) -> types.Episodes:
    """Logged sessions; unless `repeats`, the items of a session differ."""
    planted = click_log.planted(sessions, seed=7)
    rng = np.random.default_rng(8)
    item = np.stack(
        [
            rng.choice(SPEC.num_candidates, SPEC.max_steps, replace=repeats) + 1
            for _ in range(sessions)
        ]
    ).astype(np.int32)
    length = rng.integers(2, SPEC.max_steps, sessions, endpoint=True).astype(np.int32)
    played = np.arange(SPEC.max_steps) < length[:, None]  # [B, T]
    return planted._replace(
        item=item * played,
        feedback=(planted.feedback * played[..., None]).astype(np.float32),
        length=length,
        exited=rng.random(sessions) < 0.5,
    )


class RepeatingWorld(click_log.ParityWorld):
    """The same users where an item may be shown twice in a session."""

    repeats = True


def catalogue(name: str, place: str, repeats: bool = False, **changes: Any) -> Case:
    """A method that learns from a log, alone or with a world."""
    method = registry.get(name)
    config = _small(method.config, _CATALOGUE_SIZES, changes)

    def build(seed: int) -> registry.Learner:
        world = None
        if place == "world":
            world = RepeatingWorld() if repeats else click_log.ParityWorld()
        sessions = log(repeats)
        vectors = registry.item_vectors(method, config, sessions, SPEC)
        return runs.seeded(
            seed, lambda: method.make(config, SPEC, sessions, world, vectors, seed)
        )

    return Case(f"{name}-{place}", name, place, build, config)


def live_case(name: str, place: str, variant: str = "", **changes: Any) -> Case:
    """A method that learns step by step, in an environment."""
    sizes = _small(presets.config_class(name, place), _LIVE_SIZES, changes)
    config = online_run.fitting(sizes, _PLAY)
    maker = registry.get(name, place).online.maker

    def build(seed: int) -> online_learner.OnlineLearner:
        simulator = simulator_of(place)
        method = runs.seeded(seed, lambda: maker(config, simulator, seed))
        return online_learner.OnlineLearner(_PLAY, simulator, method, seed)

    return Case("-".join(filter(None, (name, place, variant))), name, place, build, config)


def simulator_of(place: str) -> Any:
    """A small simulator; skips the test where what it needs is not available."""
    if place == "users":
        vectors = np.random.default_rng(9).normal(size=[SPEC.num_items + 1, 4])
        vectors[0] = 0.0
        starts = user_models.starts_of(log())
        return users.UserEnvironment(click_log.ParityWorld(), starts, vectors)
    if place == "gymnasium":
        pytest.importorskip("gymnasium", reason="the package gymnasium is not installed")
    files = {"virtualtb_path": str(_virtualtb())} if place == "virtualtb" else {}
    return environments.simulator(
        place, environments.get(place).config(**_FORMS[place], **files)
    )


def _virtualtb() -> pathlib.Path:
    folder = pathlib.Path(os.environ.get("TFREC_DATA", "")) / "virtualtb"
    if "TFREC_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("VirtualTB's weights are not available: TFREC_DATA has no folder virtualtb")
    return folder


def values(module: tf.Module) -> dict[str, np.ndarray]:
    """Every variable of a module, by its path in a checkpoint."""
    return {k: v.numpy() for k, v in checkpoint.named_variables(module).items()}


def trainable(module: tf.Module) -> dict[str, tf.Variable]:
    """Its trainable variables, targets among them, by the same paths."""
    named = checkpoint.named_variables(module)
    refs = {v.ref() for v in module.trainable_variables}
    return {path: v for path, v in named.items() if v.ref() in refs}
