"""Warm start: learning from today's log begins with what a trained agent has learned.

    start = warm_start.read("runs/yesterday/agent", method)
    change = warm_start.plan(start, method, config, data)
    learner = method.make(config, change.spec, log, world, None, seed, change.features)
    start.apply(learner, change, log)

Weights and slots of optimisers are copied. Rows of items and of feature values move to their
new numbers; a new item starts as `catalogue.transfer` says, a new category at the embedding of
`rare`. The counters of updates are copied, too, because the slots of Adam belong to them.
Rounds, the schedule of the learning rate, random numbers and the replay start anew.

Networks read feedback in the scale of the start, and features of items by its encoder, with
today's new categories appended. Features of users and contexts are numbers in the data, so they
are read by today's encoders.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from tfrec import types
from tfrec.data import feature_encoding
from tfrec.errors import UserError
from tfrec.methods import catalogue, registry

if TYPE_CHECKING:
    import tensorflow as tf

    from tfrec.data import storage
    from tfrec.methods import trained

_CHECKPOINTS = "checkpoints"


class Start(NamedTuple):
    """A trained agent and all that it has learned.

    Attributes:
      path: the agent's folder, or a name for messages.
      agent: the agent.
      learner: the learner that it was saved from.
    """

    path: str
    agent: trained.SavedAgent
    learner: Any

    @property
    def fingerprint(self) -> str:
        """Hash of the agent's weights, configuration, goals and ids."""
        return self.agent.fingerprint or self.agent.identify()

    def described(self, change: catalogue.Catalogue) -> str:
        """A sentence on the start and the items of a run."""
        kept = change.spec.num_items - change.added
        return (
            f"starting from {self.path}: {kept:,} items as there, {change.added:,} new, "
            f"{change.removed:,} of its items gone"
        )

    @property
    def record(self) -> list[dict[str, Any]]:
        """The agents and the data that learning began with, earliest first, as JSON."""
        about = self.agent.about
        return [
            *about.get("started from", ()),
            {
                "agent": self.fingerprint,
                "data": about.get("data", ""),
                "split": about.get("split"),
            },
        ]

    def apply(self, learner: Any, change: catalogue.Catalogue, log: types.Episodes) -> None:
        """Copies what the agent has learned to a new learner.

        Args:
          learner: made with the spec and the features of `change`.
          change: result of `plan`.
          log: the learner's training sessions.
        """
        from tfrec.nn import item_embedding

        optimizers = self.learner.optimizers
        catalogue.transfer(self.learner, learner, change, optimizers, _of_run(learner))
        if change.features is not None:
            item_embedding.set_features(learner, change.features)
        learner.warm_started(log)


def read(path: str | pathlib.Path, method: registry.Method) -> Start:
    """Opens an agent in the folder of the run that trained it.

    Args:
      path: the agent's folder; the checkpoints of its run lie beside it.
      method: the method that is to learn.

    Raises:
      UserError: if there is no such agent, it is of another method, or the run has no
        checkpoint with the agent's weights.
    """
    path = pathlib.Path(path)
    agent = registry.load(path)
    if type(agent.config) is not method.config:
        raise UserError(f"{path} is an agent of {agent.method}; expected one of {method.name}")
    learner: Any = registry.untrained(method.name, agent.config, agent.spec)
    _check_method(method, learner)
    _restore(path, agent, method, learner)
    return Start(str(path), agent, learner)


def plan(
    start: Start, method: registry.Method, config: Any, data: storage.PreparedData
) -> catalogue.Catalogue:
    """Compares an agent with the data and the configuration of a run.

    Args:
      start: the agent.
      method: the method that is to learn.
      config: its configuration.
      data: the data that it is to learn from.

    Returns:
      The items and the spec of the run, and the former numbers of items and feature values.

    Raises:
      UserError: if they do not fit; names the field and both values.
    """
    agent, vocabulary = start.agent, data.vocabulary
    if type(agent.config) is not type(config):
        raise UserError(
            f"{start.path} is an agent of {agent.method}; expected one of {method.name}"
        )
    _check_method(method, start.learner)
    _check_equal(start, "the run", agent.config, config, config.network)
    before, now = (spec.unscaled for spec in (agent.spec, data.spec))
    fields = ("feedback", "history_length", "max_steps")
    _check_equal(start, str(data.directory), before, now, fields)
    former = _former_ids(start, data)
    spec = dataclasses.replace(data.spec, feedback=agent.spec.feedback)
    features = value_rows = None
    encoders = _encoders(start, config, data, "item")
    if encoders is not None:
        encoder = _fitting(feature_encoding.grown, start, data, "items", encoders)
        value_rows = feature_encoding.former_values(encoders[0], encoder)
        spec = dataclasses.replace(spec, item_features=encoder.spec)
        vocabulary = dataclasses.replace(vocabulary, item_features=encoder)
        table = data.features("item")
        assert table is not None  # stored wherever features are declared
        features = encoder.encode(table, data.directory / "item_features.parquet")
    known = int((former != types.PAD).sum())
    return catalogue.Catalogue(
        vocabulary,
        spec,
        np.concatenate([[0], np.where(former == types.PAD, catalogue.NEW, former)]),
        features,
        added=len(former) - known,
        removed=len(agent.vocabulary.items) - known,
        value_rows=value_rows,
        context_value_rows=_context_value_rows(start, config, data),
    )


def _context_value_rows(
    start: Start, config: Any, data: storage.PreparedData
) -> np.ndarray | None:
    """The agent's number of each value of a user or a context; None if it reads none."""
    rows, before = [np.zeros(1, np.int64)], 0
    owners: tuple[Literal["user", "context"], ...] = ("user", "context")
    for owner in owners:
        encoders = _encoders(start, config, data, owner)
        if encoders is not None:
            nearest = feature_encoding.nearest_values
            rows.append(before + _fitting(nearest, start, data, f"{owner}s", encoders)[1:])
            before += encoders[0].spec.values
    return np.concatenate(rows) if len(rows) > 1 else None


def _check_method(method: registry.Method, learner: Any) -> None:
    """Raises UserError if the method cannot start from an agent."""
    if learner.no_warm_start:
        raise UserError(
            f"{method.name} cannot start from a trained agent: {learner.no_warm_start}"
        )


def _check_equal(
    start: Start, other: str, before: Any, now: Any, fields: Iterable[str]
) -> None:
    """Raises UserError for the first of the fields that differs."""
    for name in fields:
        values = [_readable(getattr(part, name)) for part in (before, now)]
        if values[0] != values[1]:
            raise UserError(
                f"{name} is {values[0]} in {start.path} and {values[1]} in {other}; a run that "
                "starts from an agent needs the same value"
            )


def _readable(value: Any) -> str:
    if value and isinstance(value, tuple) and isinstance(value[0], types.FeedbackColumn):
        return ", ".join(f"{column.name} ({column.kind}, {column.unit})" for column in value)
    return repr(value)


def _former_ids(start: Start, data: storage.PreparedData) -> np.ndarray:
    """The agent's dense id of each item of the data, 0 for a new one."""
    before, now = start.agent.vocabulary.items, data.vocabulary.items
    kinds = ["numbers" if ids.dtype.kind == "i" else "text" for ids in (before, now)]
    if kinds[0] != kinds[1]:
        raise UserError(
            f"item ids are {kinds[0]} in {start.path} and {kinds[1]} in {data.directory}; "
            "expected the same"
        )
    former = start.agent.vocabulary.encode(now)
    if not former.any():
        raise UserError(
            f"{start.path} has none of the items of {data.directory}, such as "
            f"{now[0].item()!r}; expected an agent of the same catalogue"
        )
    return former


Encoders = tuple[feature_encoding.FeatureEncoder, feature_encoding.FeatureEncoder]


def _encoders(
    start: Start,
    config: Any,
    data: storage.PreparedData,
    owner: Literal["item", "user", "context"],
) -> Encoders | None:
    """The agent's encoder of features and that of the data; None if ids alone are read."""
    before, now = (
        getattr(part.vocabulary, f"{owner}_features") if reads else None
        for part, reads in (
            (start.agent, start.agent.config.use_features),
            (data, config.use_features),
        )
    )
    if before is None and now is None:
        return None
    if before is None or now is None:
        described = [
            "none" if encoder is None else ", ".join(code.column.name for code in encoder.codes)
            for encoder in (before, now)
        ]
        raise UserError(
            f"features of {owner}s are {described[0]} in {start.path} and {described[1]} in "
            f"{data.directory}, with use_features={config.use_features}; expected the same"
        )
    return before, now


def _fitting(
    function: Callable[..., Any],
    start: Start,
    data: storage.PreparedData,
    owners: str,
    encoders: Encoders,
) -> Any:
    """A function of two encoders; its ValueError becomes a UserError with both paths."""
    try:
        return function(*encoders)
    except ValueError as error:
        raise UserError(
            f"features of {owners} in {start.path} and in {data.directory}: {error}"
        ) from error


def _restore(
    path: pathlib.Path, agent: trained.SavedAgent, method: registry.Method, learner: Any
) -> None:
    """Restores the learner of an agent from the newest checkpoint with its weights."""
    from tfrec.training import checkpoint

    folder, left_out = path.parent / _CHECKPOINTS, _of_run(learner)
    names = [
        name
        for name, variable in checkpoint.named_variables(learner).items()
        if id(variable) not in left_out
    ]
    weights, problems = agent.contents()["weights"], []
    for iteration in reversed(checkpoint.iterations(folder)):
        saved = folder / f"ckpt-{iteration}"
        try:
            checkpoint.read(saved, learner, only=names)
        except UserError as error:
            problems.append(str(error))
            continue
        restored = method.trained(agent.config, agent.spec, learner, agent.vocabulary, {})
        if restored.contents()["weights"] == weights:
            return
        problems.append(f"{saved} has other weights")
    raise UserError(
        f"{path}: the run that trained this agent has no checkpoint with its weights in "
        f"{folder} ({'; '.join(problems) or 'there is none'}). Learning goes on with the "
        "optimiser of that run: expected the agent that `launch.train` wrote last, in the "
        "folder of its run, and not a copy or an agent with changed items"
    )


def _of_run(learner: Any) -> set[int]:
    """`id` of the variables of a learner that a warm start does not copy."""
    import tensorflow as tf

    from tfrec.training import checkpoint, optimizers

    variables: list[tf.Variable] = []
    for part in learner.run_state:
        is_variable = isinstance(part, tf.Variable)
        variables += [part] if is_variable else checkpoint.named_variables(part).values()
    for optimizer in learner.optimizers:
        variables += optimizers.hyperparameters(optimizer)
    return {id(variable) for variable in variables}
