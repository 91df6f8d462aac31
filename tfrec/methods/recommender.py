"""Recommenders: methods with their configuration that can fit, play, rank and be saved.

    agent = tfrec.baselines.Rainbow(seed=0, learning_rate=3e-4).fit(data)
    agent.play(users, rounds=30)
    agent.rank(history=["lamp", "mug"], k=5)
    agent.save("runs/rainbow/agent")

`load` opens a saved agent, which ranks but cannot be trained further.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from absl import logging

from tfrec import options as options_lib
from tfrec import outputs, types
from tfrec.errors import UserError
from tfrec.methods import log_config, registry

if TYPE_CHECKING:
    import numpy as np

    from tfrec.data import storage
    from tfrec.data.observations import RawId
    from tfrec.environments import worlds
    from tfrec.methods import catalogue, ranking, trained, warm_start
    from tfrec.training import run as runs

OnRound = Callable[[int, Mapping[str, Any]], None]


class Recommender:
    """A method that learns to rank the items of a log.

    Args:
      seed: seed of weights, batches and play, 0 to 2^32 - 1.
      **options: fields of the method's configuration; `describe()` lists them.

    Attributes:
      method: its name in the registry.
      config: the method's configuration.
      seed: the seed.

    Raises:
      UserError: if there is no such option, or a value is out of its range.
    """

    method: ClassVar[str] = ""
    _classes: ClassVar[dict[str, type[Recommender]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Recommender._classes[cls.method] = cls

    def __init__(self, seed: int = 0, **options: Any):
        owner = type(self).__name__
        if (
            isinstance(seed, bool)
            or not isinstance(seed, int)
            or not (0 <= seed <= options_lib.MAX_SEED)
        ):
            raise UserError(
                f"{owner}: seed is {seed!r}; expected a whole number, "
                f"0 to {options_lib.MAX_SEED}"
            )
        method = registry.get(self.method)
        self._begin(method, options_lib.configured(method.config, options, owner), seed)

    def _begin(
        self, method: registry.Method, config: Any, seed: int, owner: str | None = None
    ) -> None:
        self._method = method
        self._owner = f"{type(self).__name__}: " if owner is None else owner
        self.config, self.seed = config, seed
        self._options = config  # as given; `play` changes the rounds of `config`
        self._data: storage.PreparedData | None = None
        self._start: warm_start.Start | None = None
        self._change: catalogue.Catalogue | None = None
        self._users: worlds.SimulatedUsers | None = None
        self._learner: registry.Learner | None = None
        self._agent: trained.SavedAgent | None = None
        self._path = ""

    @classmethod
    def of(cls, config: Any, seed: int, method: str = "", owner: str | None = None) -> Self:
        """Makes a recommender of an existing configuration.

        Args:
          config: configuration of the method's class.
          seed: seed of weights, batches and play.
          method: its name in the registry; that of the class by default.
          owner: beginning of messages about the configuration.
        """
        recommender = cls.__new__(cls)
        recommender._begin(registry.get(method or cls.method), config, seed, owner)
        return recommender

    @classmethod
    def describe(cls) -> str:
        """The options, one per line: name, default, description and range."""
        fields = dataclasses.fields(registry.get(cls.method).config)
        return "\n".join(
            f"{field.name} = {field.default!r}: {options_lib.help_of(field)}"
            for field in fields
        )

    def fit(
        self,
        data: storage.PreparedData,
        users: worlds.SimulatedUsers | None = None,
        *,
        start: Recommender | str | pathlib.Path | None = None,
        out: str | pathlib.Path | None = None,
        save_every: int = 10,
        evaluate_every: int | None = None,
        validation_users: int = 500,
        on_round: OnRound | None = None,
    ) -> Self:
        """Learns from the log, then with `users` by playing: a complete run.

        Results equal those of the launch scripts for the same options and seed. TensorFlow is
        seeded and made deterministic for the whole process.

        Args:
          data: prepared sessions; training uses those of training and validation users.
          users: simulated users of the same data, for `play_rounds` rounds of play; None to
            learn from the log alone.
          start: agent of the same method that learning begins with, a warm start: weights and
            slots of the optimiser are kept for what both logs have, see docs/warm_start.md. The
            folder that a run wrote, or a fitted recommender. None to begin with random weights.
          out: folder of a resumable run, with checkpoints, metrics and TensorBoard logs. An
            existing run is resumed. Ctrl-C saves and exits with code 42. None saves nothing.
          save_every: rounds between checkpoints of `out`.
          evaluate_every: rounds between evaluations on validation users, for the logs of `out`.
          validation_users: number of users in such evaluations at most.
          on_round: called after each round with the number of rounds and their metrics, if
            `out` is None.

        Returns:
          The recommender itself.

        Raises:
          UserError: if an option does not fit the data, the users are of other data, this is a
            loaded agent of a method that does not learn from a log in rounds, or the data or an
            option does not fit `start`.
          NonFiniteError: if a loss or gradient is not finite (with `out`, exit code 3).

        Example:
          >>> agent = tfrec.baselines.Rainbow(seed=0).fit(data, users)
        """
        self._check_learns_from_logs()
        self._check_users(users, data)
        if out is not None:
            outputs.check_folder(out)
        self._begin_with(start, data)
        self._data, self._users, self._path = data, users, ""
        self._learner, self.config = self._make(self._options, data, users), self._options
        unread = log_config.unread_sessions(self.config, data.num_sessions("train"))
        if unread:
            logging.warning("%s", unread)
        if self._start is not None and self._change is not None:
            self._start.apply(self._learner, self._change, data.episodes("train"))
        if out is None:
            self._advance(on_round)
        else:
            self._run(out, save_every, evaluate_every, validation_users)
        self._agent = self._trained()
        return self

    def play(
        self,
        users: worlds.SimulatedUsers,
        rounds: int | None = None,
        *,
        on_round: OnRound | None = None,
    ) -> Self:
        """Continues training by alternating play and learning; may be called repeatedly.

        Args:
          users: simulated users of the data of `fit`.
          rounds: rounds of play and learning; by default the option `play_rounds`.
          on_round: called after each round with the number of rounds and their metrics.

        Returns:
          The recommender itself.

        Raises:
          UserError: if `fit` was not called, the users are of other data, or their repetition
            of items differs from that of the log.
          NonFiniteError: if a loss or gradient is not finite.

        Example:
          >>> agent.play(users, rounds=30)
        """
        if self._learner is None or self._data is None:
            raise UserError(
                f"{self._owner}play continues fit(data); "
                + ("a saved agent cannot be trained" if self._agent else "call it first")
            )
        self._check_users(users, self._data)
        new_rounds = self._options.play_rounds if rounds is None else rounds
        if isinstance(new_rounds, bool) or not isinstance(new_rounds, int) or new_rounds < 1:
            raise UserError(f"{self._owner}rounds is {new_rounds!r}; expected at least 1")
        old_rounds = max(0, int(self._learner.iteration) - self.config.log_rounds)
        config = dataclasses.replace(self.config, play_rounds=old_rounds + new_rounds)
        # A learner is bound to its users. All its state is variables, which are copied.
        learner = self._make(config, self._data, users)
        self._copy_variables(self._learner, learner)
        self._learner, self._users, self.config = learner, users, config
        self._advance(on_round)
        self._agent = self._trained()
        return self

    def rank(
        self,
        history: Sequence[RawId],
        feedback: Mapping[str, Sequence[float]] | None = None,
        goal: str | Mapping[str, float] | None = None,
        k: int = 10,
        candidates: Sequence[RawId] | None = None,
        exclude: Sequence[RawId] | None = None,
        step: int = 0,
        user: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> ranking.Ranking:
        """Ranks the best items for a user.

        Args:
          history: the log's raw ids of the user's last events, oldest first. Events of items
            that are not in the log are ignored and listed in the result's `unknown`.
          feedback: column -> a raw value for each event; missing columns are 0.
          goal: for GoalRec a named goal, or measurement -> weight of one raw unit; None for the
            first named goal. Baselines rank for the reward and accept only None.
          k: length of the list.
          candidates: ids of the candidates; unknown ones are ignored. None for all items.
          exclude: ids that are not ranked.
          step: number of last events that belong to the current session.
          user: column -> value of the user's features, e.g. `{"age": 31, "region": "north"}`;
            absent columns are missing. The user may be new.
          context: column -> value of the features of the session's context, e.g.
            `{"hour": 14, "device": "phone"}`; absent columns are missing.

        Returns:
          Items, scores, and predicted measurements with units.

        Raises:
          UserError: naming the argument, the value and what was expected.

        Example:
          >>> agent.rank(["lamp", "mug"], {"click": [1, 0]}, goal="click", k=5).items
        """
        from tfrec.methods import ranking

        agent = self.agent
        request = ranking.checked_request(
            agent.vocabulary,
            agent.spec,
            history,
            feedback,
            step,
            candidates,
            exclude,
            k,
            user,
            context,
        )
        return agent.rank(request, goal)

    def with_items(
        self, items: str | pathlib.Path, absent: Literal["keep", "remove"] = "keep"
    ) -> Recommender:
        """The agent with other items to rank, without training.

        Args:
          items: text or Parquet file of the items, their ids in the first column. Items that
            the agent does not have are ranked by their features.
          absent: whether items that the table lacks stay or go.

        Returns:
          Another recommender, which ranks and can be saved, and cannot learn on.

        Raises:
          UserError: if nothing was fitted, the table is not valid, or the agent cannot take
            other items.

        Example:
          >>> today = agent.with_items("items_today.csv")
        """
        from tfrec.methods import catalogue

        agent = self.agent
        if not agent.fingerprint:
            agent.identify()
        changed = agent.with_items(catalogue.plan(agent, items, absent))
        return _opened(changed, "")

    def save(self, directory: str | pathlib.Path) -> None:
        """Writes the agent as the launch scripts do; an existing agent is replaced.

        Args:
          directory: the agent's folder; `tfrec.load` opens it.

        Raises:
          NonFiniteWeightsError: if a weight is not finite; nothing is written.
          UserError: if `fit` was not called, or the folder cannot be written.
        """
        self.agent.save(directory)

    @property
    def agent(self) -> trained.SavedAgent:
        """The trained agent with its current weights.

        Raises:
          UserError: if `fit` was not called.
        """
        if self._agent is None:
            raise UserError(f"{self._owner}not fitted yet; call fit(data) first")
        return self._agent

    @property
    def goals(self) -> dict[str, np.ndarray]:
        """Goals by name, each float [M]; a method without goals has one, named ''."""
        return self.agent.named_goals

    @property
    def fingerprint(self) -> str:
        """Hash of weights, configuration, goals and ids."""
        return self.agent.fingerprint or self.agent.identify()

    @property
    def path(self) -> str:
        """The agent's folder if it was loaded, else a name for messages."""
        return self._path or f"the {self._method.title} agent"

    def __repr__(self) -> str:
        state = f"fingerprint {self.fingerprint}" if self._agent else "not fitted"
        return f"{type(self).__name__}(seed={self.seed}), {state}"

    def _make(
        self, config: Any, data: storage.PreparedData, users: worlds.SimulatedUsers | None
    ) -> registry.Learner:
        from tfrec.training import run as runs

        log = data.episodes("train")
        world = users.world if users else None
        change = self._change
        features = data.item_features() if change is None else change.features
        try:
            return runs.seeded(
                self.seed,
                lambda: self._method.make(
                    config, self._spec, log, world, None, self.seed, features
                ),
            )
        except ValueError as error:
            raise UserError(f"{self._owner}{error}") from error

    def _begin_with(
        self, start: Recommender | str | pathlib.Path | None, data: storage.PreparedData
    ) -> None:
        """Opens the agent to start from and compares it with the data; None for none."""
        self._start = self._change = None
        if start is None:
            return
        from tfrec.methods import warm_start

        if isinstance(start, Recommender) and start._learner is None:
            if not start._path:
                raise UserError(
                    f"{self._owner}start is not fitted, or its items were changed; expected a "
                    "fitted recommender, or the folder that a run wrote"
                )
            start = start._path
        if isinstance(start, Recommender):
            self._start = warm_start.Start(start.path, start.agent, start._learner)
        else:
            self._start = warm_start.read(start, self._method)
        self._change = warm_start.plan(self._start, self._method, self._options, data)

    @property
    def _spec(self) -> types.DataSpec:
        """The spec of the networks: that of the data unless a start changes it."""
        data = cast("storage.PreparedData", self._data)
        return data.spec if self._change is None else self._change.spec

    def _advance(self, on_round: OnRound | None) -> None:
        learner = cast(registry.Learner, self._learner)
        while int(learner.iteration) < learner.total_iterations:
            numbers = learner.advance()
            if on_round is not None:
                on_round(int(learner.iteration), numbers)

    def _run(
        self,
        out: str | pathlib.Path,
        save_every: int,
        evaluate_every: int | None,
        validation_users: int,
    ) -> None:
        """Trains the learner in the folder of a run, and saves its agents there."""
        from tfrec.training import loop
        from tfrec.training import run as runs

        learner = cast(Any, self._learner)
        check = self._check(validation_users)  # may fail, so before the folder is created
        run = runs.Run.open(out, self.config, self.seed, self._run_fields(), self._inputs())
        if self._start is not None and self._change is not None:
            print(self._start.described(self._change), flush=True)
        for iterations, folder in self._stages():
            loop.train(learner, run, iterations, save_every, check, evaluate_every)
            if int(learner.iteration) == iterations:
                agent = self._trained()
                agent.save(run.directory / folder)
                agent.warn()
        self._finish(run)

    def _copy_variables(self, source: Any, target: Any) -> None:
        """Copies all variables of one learner to another."""
        from tfrec.training import checkpoint

        old, new = (checkpoint.named_variables(x) for x in (source, target))
        if {n: v.shape for n, v in old.items()} != {n: v.shape for n, v in new.items()}:
            raise UserError(
                f"{self._owner}these users let items repeat where the log does not, or do not "
                "where it does: play cannot continue from the log alone. Call fit(data, users)"
            )
        for name, variable in new.items():
            variable.assign(old[name])

    def _check_learns_from_logs(self) -> None:
        method = self._method
        if registry.LOG not in method.environments or not isinstance(
            self._options, method.config
        ):
            raise UserError(
                f"{self._owner}this agent of {method.name} cannot be trained with fit(data); "
                "expected a method that learns from a log in rounds"
            )

    def _check_users(
        self, users: worlds.SimulatedUsers | None, data: storage.PreparedData
    ) -> None:
        from tfrec.data import identity

        if users is not None:
            identity.check(dataclasses.replace(users.data.origin, path=users.name), data.origin)

    def _inputs(self) -> dict[str, Any]:
        from tfrec.data import identity
        from tfrec.environments import worlds

        data, users = cast("storage.PreparedData", self._data), self._users
        sources = worlds.inputs(
            data, users.name if users else "", users.world if users else None
        )
        if self._start is not None:
            sources["start"] = identity.Source(self._start.path, self._start.fingerprint)
        return sources

    def _about(self) -> dict[str, Any]:
        """Provenance of the agent, which is saved with it."""
        from tfrec.data import storage
        from tfrec.environments import worlds

        data = cast("storage.PreparedData", self._data)
        about = worlds.about(data, self._inputs()) | {"seed": self.seed}
        if self._start is not None:
            about["started from"] = self._start.record
        return about | {storage.UNTRAINED: data.num_untrained_items}

    def _trained(self) -> trained.SavedAgent:
        data, change = cast("storage.PreparedData", self._data), self._change
        vocabulary = data.vocabulary if change is None else change.vocabulary
        return self._method.trained(
            self.config, self._spec, self._learner, vocabulary, self._about()
        )

    # Methods that subclasses of a method override.

    def _run_fields(self) -> dict[str, Any]:
        """Further fields that identify a run."""
        return {"method": self._method.name}

    def _stages(self) -> list[tuple[int, str]]:
        """Rounds after which an agent is saved, each with its folder in that of the run."""
        return [(cast(registry.Learner, self._learner).total_iterations, "agent")]

    def _check(self, validation_users: int) -> Callable[[], Mapping[str, float]] | None:
        """Function that computes metrics of validation users for the run's logs, or None."""
        from tfrec.environments import scoring

        if self._users is None:
            return None
        data = cast("storage.PreparedData", self._data)
        starts = scoring.validation_starts(data, validation_users)
        policy = cast(registry.Learner, self._learner).policy()
        score = scoring.Score(self._users.environment, policy, starts)
        return lambda: {"reward_clicks": score()}

    def _finish(self, run: runs.Run) -> None:
        """Writes further files of a run, after its agents."""


def of(method: str, config: Any, seed: int, owner: str | None = None) -> Recommender:
    """Makes the recommender of a method, of the method's class if it has one.

    Args:
      method: its name in the registry.
      config: configuration of the method's class.
      seed: seed of weights, batches and play.
      owner: beginning of messages about the configuration.
    """
    return Recommender._classes.get(method, Recommender).of(config, seed, method, owner)


def load(directory: str | pathlib.Path) -> Recommender:
    """Opens the folder of a saved agent of any registered method.

    Args:
      directory: a folder written by `save` or a launch script.

    Returns:
      A recommender that ranks but cannot be trained further.

    Raises:
      UserError: if it is no agent's folder, or is damaged.

    Example:
      >>> tfrec.load("runs/goalrec/agent").rank(history=["lamp"], k=5)
    """
    return _opened(registry.load(directory), str(directory))


def _opened(agent: trained.SavedAgent, path: str) -> Recommender:
    """A recommender that ranks as a saved agent does; `path` is its folder, or empty."""
    seed = agent.about.get("seed", 0)
    if agent.method in registry.METHODS:
        recommender = of(agent.method, agent.config, seed)
    else:  # a sequential model, which launch.train_sequential trains
        recommender = Recommender.__new__(Recommender)
        method = registry.Method(agent.method, agent.method)
        recommender._begin(method, agent.config, seed)
    recommender._agent, recommender._path = agent, path
    return recommender
