"""The public functions of `tfrec`: from a log to an evaluation in a few calls.

`import tfrec` loads this module when one of its functions is used.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tfrec.baselines  # noqa: F401  registers the baselines: `load` opens their agents
from tfrec import names, options, outputs
from tfrec.errors import UserError
from tfrec.methods.recommender import Recommender, load

if TYPE_CHECKING:
    from tfrec.data.storage import PreparedData
    from tfrec.environments.controls import Control
    from tfrec.environments.worlds import SimulatedUsers
    from tfrec.evaluation.evaluating import EvaluationResult
    from tfrec.methods.online_result import OnlineResult

__all__ = [
    "embedded",
    "evaluate",
    "fit_users",
    "load",
    "load_users",
    "open_data",
    "read_log",
    "train_online",
]

Path = str | os.PathLike[str]


def read_log(
    path: Path,
    *,
    out: Path,
    user: str = "user",
    item: str = "item",
    time: str = "time",
    feedback: Sequence[str] = ("click",),
    item_features: Path = "",
    feature_columns: Path | Mapping[str, str | Mapping[str, Any]] = "",
    user_features: Path = "",
    user_feature_columns: Mapping[str, str | Mapping[str, Any]] | None = None,
    context_columns: Mapping[str, str | Mapping[str, Any]] | None = None,
    overwrite: bool = False,
    skip_bad_rows: bool = False,
    **others: Any,
) -> PreparedData:
    """Reads a CSV, TSV or Parquet log and prepares it: validated, cut into sessions, split.

    Args:
      path: the log, one row for each item shown to a user.
      out: folder to write the prepared sessions to.
      user: column with the user's id.
      item: column with the item's id.
      time: column with the time of the event, in the unit `time_unit`.
      feedback: feedback columns; the first is the click. `click` is a column of 0 and 1 whose
        unit is `clicks`, `watch:seconds` an amount in seconds, and `click:binary:clicks` or
        `watch=column:amount:seconds` are written in full.
      item_features: table of the items, with their ids in the first column; none by default.
      feature_columns: its columns that models read, name -> kind, or the fields of a
        `tfrec.data.feature_schema.FeatureColumn`; or a TOML file that declares them, those of
        the users and those of the context.
      user_features: table of the users, with their ids in the first column; none by default.
      user_feature_columns: its columns that models read, as `feature_columns`; not with a
        TOML file.
      context_columns: columns of the context of a session that models read, of the log or of
        the kinds hour and weekday, as `feature_columns`; not with a TOML file.
      overwrite: replace prepared data that is there already.
      skip_bad_rows: drop bad and duplicate rows and list them in rejected.csv, instead of
        stopping at the first.
      **others: further fields of `tfrec.data.sources.table.TableConfig` (time_unit, category,
        ...) and of `tfrec.data.episodes.PrepareConfig` (max_steps, history_length, ...).

    Returns:
      The prepared data.

    Raises:
      UserError: naming file, row, column and value; or the option. Nothing is written then.

    Example:
      >>> data = tfrec.read_log("log.csv", time_unit="iso", out="runs/data",
      ...                       feedback=["click", "watch:seconds"])
      >>> data = tfrec.read_log("log.csv", out="runs/data", item_features="items.csv",
      ...                       feature_columns={"genres": "categories", "year": "number"})
    """
    from tfrec.data import episodes, feature_schema, preparing
    from tfrec.data.sources import table

    if isinstance(feedback, str):
        raise UserError(f"read_log: feedback is {feedback!r}; expected a list of columns")
    columns = {"user": user, "item": item, "time": time}
    prepare_config, table_config = options.configured_each(
        [episodes.PrepareConfig, table.TableConfig],
        {**others, **columns, "feedback": [_feedback(text) for text in feedback]},
        "read_log",
    )
    path = pathlib.Path(path)
    is_file = not isinstance(feature_columns, Mapping) and os.fspath(feature_columns)
    of_states = {
        "user": ("user_feature_columns", user_feature_columns or {}),
        "context": ("context_columns", context_columns or {}),
    }
    for owner, (argument, columns_of) in of_states.items():
        if columns_of and is_file:
            raise UserError(
                f"read_log: {argument} beside feature_columns={feature_columns}; "
                f"expected [{owner}.<column>] in that file"
            )
    declaration = feature_schema.declared(feature_columns, "read_log: feature_columns")
    for owner, (argument, columns_of) in of_states.items():
        if columns_of:
            more = feature_schema.declared(columns_of, f"read_log: {argument}", owner)
            declaration = declaration._replace(**{owner: getattr(more, owner)})
    return preparing.prepare(
        lambda bad_rows: table.read(path, table_config, bad_rows, declaration.log_columns),
        pathlib.Path(out),
        prepare_config,
        source=f"table {path.name}",
        skip_bad_rows=skip_bad_rows,
        overwrite=overwrite,
        features_of={"item": os.fspath(item_features), "user": os.fspath(user_features)},
        feature_columns=declaration,
    ).data


def embedded(
    out: Path, *, world: str = "", overwrite: bool = False, **others: Any
) -> tuple[PreparedData, SimulatedUsers]:
    """Prepares the embedded synthetic log and opens the simulated users that generated it.

    Args:
      out: folder of the prepared data. If it holds the log of the same options, it is opened.
      world: named world of `tfrec.data.synthetic_worlds`, whose values are the defaults of the
        other options.
      overwrite: replace prepared data of other options.
      **others: fields of `tfrec.data.synthetic.SyntheticConfig` (num_users, num_items, ...)
        and of `tfrec.data.episodes.PrepareConfig`; `max_steps` and `seed` apply to both.

    Returns:
      The prepared data, and the users that generated it; their parameters are known.

    Raises:
      UserError: if the folder holds other data, or naming the option.

    Example:
      >>> data, users = tfrec.embedded("runs/embedded", num_users=300, num_items=30)
    """
    from tfrec.data import (
        feature_schema,
        preparing,
        storage,
        synthetic,
        synthetic_attributes,
        synthetic_worlds,
    )
    from tfrec.environments import worlds

    synthetic_worlds.check(world, "embedded: world")
    classes = [synthetic_worlds.sessions_class(world), synthetic_worlds.log_class(world)]
    prepare_config, config = options.configured_each(classes, others, "embedded")
    generator, out = dataclasses.asdict(config), pathlib.Path(out)
    if (out / storage.MANIFEST).exists() and not overwrite:
        data = storage.PreparedData.open(out)
        written = data.manifest["generator"]
        if written:  # an earlier version wrote fewer options; the others have their defaults
            written = dataclasses.asdict(options.restored(synthetic.SyntheticConfig, written))
        saved = {"log": written, "sessions": data.manifest["config"]}
        requested = {"log": generator, "sessions": dataclasses.asdict(prepare_config)}
        different = options.differences(options.resolved(saved), options.resolved(requested))
        if different:
            listed = "; ".join(different)
            raise UserError(f"{out}: holds other data ({listed}); pass overwrite=True")
    else:
        data = preparing.prepare(
            functools.partial(synthetic.read_validated, config),
            out,
            prepare_config,
            source="embedded",
            overwrite=overwrite,
            feature_columns=synthetic_attributes.with_hour(
                feature_schema.Declaration(), config
            ),
            generator=generator,
        ).data
    return data, worlds.users(worlds.TRUTH, data)


def open_data(directory: Path) -> PreparedData:
    """Opens prepared data, and checks every file.

    Args:
      directory: a folder that `read_log`, `embedded` or `launch.prepare_data` wrote.

    Raises:
      UserError: if the folder holds no prepared data, or a file of it is damaged.

    Example:
      >>> data = tfrec.open_data("runs/data")
    """
    from tfrec.data import storage

    return storage.PreparedData.open(pathlib.Path(directory))


def fit_users(
    data: PreparedData,
    *,
    seed: int = 0,
    out: Path | None = None,
    target_depth: float | None = None,
    overwrite: bool = False,
    model: str = "recurrent",
    split: str = "all",
    **others: Any,
) -> SimulatedUsers:
    """Fits simulated users to a log.

    Args:
      data: the prepared data.
      seed: seed of the weights, the held-out sessions and the report.
      out: folder for the user model, its report and plots; None keeps no files.
      target_depth: mean depth to calibrate the exits to, steps; by default the log's exits.
      overwrite: replace a user model that is there already.
      model: `recurrent`, whose answers are calibrated, or `adversarial`, users who choose among
        displayed items and never leave.
      split: users that are fitted: `all`, or those of `train`, `validation` or `test`.
      **others: fields of the model's configuration: `RecurrentModelConfig` or
        `ChoiceModelConfig` of `tfrec.environments.fitted`.

    Returns:
      The users; `report` compares them with held-out sessions, and `print(users)` shows it as
      a table.

    Raises:
      UserError: naming the option; or if the folder is in use.

    Example:
      >>> users = tfrec.fit_users(data, out="runs/simulator")
    """
    from tfrec.environments import worlds
    from tfrec.environments.fitted import kinds, simulated

    options.configured(_Seed, {"seed": seed}, "fit_users")
    if model not in kinds.CONFIGS:
        raise UserError(f"fit_users: model is {model!r}; expected {' or '.join(kinds.CONFIGS)}")
    config = options.configured(kinds.CONFIGS[model], others, "fit_users")
    with tempfile.TemporaryDirectory() as temporary:
        folder = temporary if out is None else os.fspath(out)
        fit = simulated.fit(data, folder, config, seed, target_depth, overwrite, split)
        users = worlds.users(folder, data)
    name = "users fitted in memory" if out is None else folder
    return dataclasses.replace(users, name=name, report=fit.report)


def load_users(directory: Path, data: PreparedData) -> SimulatedUsers:
    """Opens the simulated users of prepared data.

    Args:
      directory: a folder that `fit_users` or `launch.fit_simulator` wrote; `truth` for the
        users of the embedded log.
      data: the prepared data.

    Raises:
      UserError: if the folder holds no users, or they belong to other data.

    Example:
      >>> users = tfrec.load_users("runs/simulator", data)
    """
    from tfrec.environments import worlds

    return worlds.users(os.fspath(directory), data)


def evaluate(
    policies: Mapping[str, Recommender | Control | Sequence[Recommender]],
    users: SimulatedUsers,
    data: PreparedData | None = None,
    *,
    split: str = "test",
    max_users: int = 2000,
    sessions_per_user: int = 4,
    seed: int = 1,
) -> EvaluationResult:
    """Simulates the same sessions under each policy and compares the results.

    Args:
      policies: name -> a recommender, a list of them (a seed each, as many under each name), or
        a control of `tfrec.controls`. With `random` and `optimum` among the names, the result
        has shares of the optimum.
      users: the simulated users.
      data: the prepared data; by default that of the users.
      split: the split with the users and histories that sessions start from: test,
        validation or train.
      max_users: maximum number of users of the split.
      sessions_per_user: simulated sessions of each user.
      seed: seed of the simulated sessions.

    Returns:
      Means with 95% intervals over users and seeds; it prints as a table, has a `plot()`, and
      `write(folder)` writes results.json and a report.

    Raises:
      UserError: if a name is not valid, or if an agent is not fitted, belongs to other data
        or was trained on test users of this data.

    Example:
      >>> result = tfrec.evaluate({"goalrec": agent, "random": tfrec.controls.Random()}, users)
      >>> print(result)
    """
    from tfrec.data import identity
    from tfrec.environments import controls
    from tfrec.evaluation import evaluating

    data = users.data if data is None else data
    identity.check(dataclasses.replace(users.data.origin, path=users.name), data.origin)
    played: dict[str, Any] = {}
    agents: dict[str, list[Any]] = {}
    for name, policy in policies.items():
        names.check_label("policy", name)
        if isinstance(policy, controls.Control):
            played[name] = policy.policy(data, users.environment, seed)
            continue
        if name in controls.NAMES:
            raise UserError(f"evaluate: {name!r} is the name of a control; choose another")
        members = [policy] if isinstance(policy, Recommender) else list(policy)
        if not members or not all(isinstance(member, Recommender) for member in members):
            raise UserError(
                f"evaluate: {name} is {policy!r}; expected a recommender, a list of them, or "
                "a control of tfrec.controls"
            )
        for member in members:
            identity.check(member.agent.origin(member.path), data.origin, same_split=True)
            member.fingerprint  # noqa: B018  it is recorded with the results
        agents[name] = [member.agent for member in members]
    counts = {name: len(members) for name, members in agents.items()}
    if not policies or len(set(counts.values())) > 1:
        raise UserError(f"evaluate: expected as many seeds of each name, not {counts}")
    limits = {"max_users": max_users, "sessions_per_user": sessions_per_user, "seed": seed}
    options.configured(_Limits, limits, "evaluate")
    return evaluating.evaluate(
        agents, played, users, data, split=split, config={"split": split, **limits}, **limits
    )


def train_online(
    method: str,
    environment: str,
    *,
    out: Path,
    seed: int = 0,
    final_sessions: int = 1_000,
    save_every: int = 100,
    **others: Any,
) -> OnlineResult:
    """Trains a method by interaction with an environment and tests it against the controls.

    Args:
      method: name, such as `sac`; the methods of IMRL need `import tfimrl` first.
      environment: name: recsim, recogym, virtualtb, users or gymnasium.
      out: folder of the run, as `launch.train` writes it; an unfinished run in it is continued
        and a finished one is opened. Ctrl-C saves and exits with code 42.
      seed: seed of the weights and the sessions.
      final_sessions: sessions of the final test.
      save_every: iterations between checkpoints.
      **others: fields of the environment's configuration (`slate`, ...), of
        `tfrec.methods.online_config.OnlineConfig` (`total_iterations`, `test_every`, ...) and
        of the method's. Their defaults suit the environment.

    Returns:
      The tests during training and the final test; `print(result)` shows the final test, and
      `result.plot()` draws the learning curve.

    Raises:
      UserError: naming the option; if the method does not learn in the environment; or if the
        folder holds another run.
      NonFiniteError: if a loss or gradient is not finite (exit code 3).

    Example:
      >>> result = tfrec.train_online("sac", "recsim", out="runs/sac", total_iterations=60)
    """
    from tfrec.environments import registry as environments
    from tfrec.methods import online_result, online_run, presets

    limits = {"seed": seed, "final_sessions": final_sessions, "save_every": save_every}
    options.configured(_OnlineLimits, limits, "train_online")
    outputs.check_folder(out)
    form, play, numbers = options.configured_each(
        [
            environments.get(environment).config,
            presets.play_config_class(environment),
            presets.config_class(method, environment),
        ],
        others,
        "train_online",
    )
    task = online_run.Task(environment, method, form=form, play=play, numbers=numbers,
                           controls=True, **limits)  # fmt: skip
    online_run.run(pathlib.Path(out), task)
    return online_result.OnlineResult.open(out)


@dataclasses.dataclass(frozen=True)
class _Seed(options.Options):
    seed: int = options.option(0, "seed", at_least=0, at_most=options.MAX_SEED)


@dataclasses.dataclass(frozen=True)
class _Limits(_Seed):
    max_users: int = options.option(2000, "users at most", at_least=1)
    sessions_per_user: int = options.option(4, "sessions of each user", at_least=1)


@dataclasses.dataclass(frozen=True)
class _OnlineLimits(_Seed):
    final_sessions: int = options.option(1_000, "sessions of the final test", at_least=2)
    save_every: int = options.option(100, "iterations between checkpoints", at_least=1)


def _feedback(text: str) -> str:
    """A feedback column in full: name:kind:unit."""
    parts = text.split(":")
    if len(parts) == 1:
        return f"{text}:binary:{text}s"
    return f"{parts[0]}:amount:{parts[1]}" if len(parts) == 2 else text
