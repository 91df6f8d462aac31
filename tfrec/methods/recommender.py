"""Recommenders: a method with its configuration, which fits, plays, ranks and is saved.

    agent = tfrec.baselines.Rainbow(seed=0, learning_rate=3e-4).fit(data)
    agent.play(users, rounds=30)
    agent.rank(history=["lamp", "mug"], k=5)
    agent.save("runs/rainbow/agent")

`load` opens a saved agent; it ranks and cannot learn on.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from tfrec import options as options_lib
from tfrec import outputs
from tfrec.errors import UserError
from tfrec.methods import registry

if TYPE_CHECKING:
    import numpy as np

    from tfrec.data import storage
    from tfrec.data.observations import RawId
    from tfrec.environments import worlds
    from tfrec.methods import ranking, trained
    from tfrec.training import run as runs

OnRound = Callable[[int, Mapping[str, Any]], None]


class Recommender:
    """A method that learns to rank the items of a log.

    Args:
      seed: of weights, batches and play, 0 to 2^32 - 1.
      **options: fields of the method's configuration; `describe()` lists them.

    Attributes:
      method: its name in the registry.
      config: the method's configuration.
      seed: as given.

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
        self._play_rounds = getattr(config, "play_rounds", 0)
        self._data: storage.PreparedData | None = None
        self._users: worlds.SimulatedUsers | None = None
        self._learner: registry.Learner | None = None
        self._agent: trained.SavedAgent | None = None
        self._path = ""

    @classmethod
    def of(cls, config: Any, seed: int, method: str = "", owner: str | None = None) -> Self:
        """A recommender of a configuration that was made already.

        Args:
          config: of the method's class.
          seed: of weights, batches and play.
          method: its name in the registry; the class's own by default.
          owner: what messages about the configuration begin with.
        """
        recommender = cls.__new__(cls)
        recommender._begin(registry.get(method or cls.method), config, seed, owner)
        return recommender

    @classmethod
    def describe(cls) -> str:
        """The options, one a line: name, default, what it does and its range."""
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
        out: str | pathlib.Path | None = None,
        save_every: int = 10,
        evaluate_every: int | None = None,
        validation_users: int = 500,
        on_round: OnRound | None = None,
    ) -> Self:
        """Learns from the log, and with `users` goes on by playing: a whole run.

        The numbers are those of the launch scripts for the same options and seed. TensorFlow is
        seeded and made deterministic for the whole process.

        Args:
          data: prepared sessions; training and validation users are learned from.
          users: simulated users of the same data to play with, for `play_rounds` rounds; None
            to learn from the log alone.
          out: folder of a resumable run, with checkpoints, metrics and TensorBoard logs. One
            that is there goes on. Ctrl-C saves and exits with code 42. None keeps nothing.
          save_every: rounds between checkpoints of `out`.
          evaluate_every: rounds between checks on validation users, for the logs of `out`.
          validation_users: at most, in such checks.
          on_round: called after each round with the rounds done and their numbers, where there
            is no `out`.

        Returns:
          The recommender itself.

        Raises:
          UserError: if an option does not fit the data, or the users are of other data.
          NonFiniteError: if a loss or gradient is not finite (with `out`, exit code 3).

        Example:
          >>> agent = tfrec.baselines.Rainbow(seed=0).fit(data, users)
        """
        self._check_users(users, data)
        if out is not None:
            outputs.check_folder(out)
        config = dataclasses.replace(self.config, play_rounds=self._play_rounds)
        self._data, self._users, self._path = data, users, ""
        self._learner, self.config = self._make(config, data, users), config
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
        """Goes on by playing and learning in turn; may be called again.

        Args:
          users: simulated users of the data that was fitted.
          rounds: rounds of play and learning; by default the option `play_rounds`.
          on_round: called after each round with the rounds done and their numbers.

        Returns:
          The recommender itself.

        Raises:
          UserError: if nothing was fitted, the users are of other data, or let items repeat
            where the log does not.
          NonFiniteError: if a loss or gradient is not finite.

        Example:
          >>> agent.play(users, rounds=30)
        """
        if self._learner is None or self._data is None:
            raise UserError(
                f"{self._owner}play goes on from fit(data); "
                + ("a saved agent cannot learn on" if self._agent else "call it first")
            )
        self._check_users(users, self._data)
        more = self._play_rounds if rounds is None else rounds
        if isinstance(more, bool) or not isinstance(more, int) or more < 1:
            raise UserError(f"{self._owner}rounds is {more!r}; expected at least 1")
        done = max(0, int(self._learner.iteration) - self.config.log_rounds)
        config = dataclasses.replace(self.config, play_rounds=done + more)
        # A learner is made for its users. Its whole state is variables, and they move over.
        learner = self._make(config, self._data, users)
        self._move(self._learner, learner)
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
    ) -> ranking.Ranking:
        """The best items for a user.

        Args:
          history: the log's own ids of the user's last events, oldest first. Events of items
            that the log does not have are left out, and listed in the answer's `unknown`.
          feedback: column -> a raw value for each event; absent columns count as 0.
          goal: for GoalRec a named goal, or measurement -> worth of one raw unit; None for the
            first named goal. Baselines rank for the reward and take none.
          k: how many items.
          candidates: ids to choose from; unknown ones are passed over. None for all items.
          exclude: ids that are not ranked.
          step: how many of the events belong to the running session.

        Returns:
          Items, scores, and what is predicted to follow each, with units.

        Raises:
          UserError: naming the argument, the value and what was expected.

        Example:
          >>> agent.rank(["lamp", "mug"], {"click": [1, 0]}, goal="click", k=5).items
        """
        from tfrec.methods import ranking

        agent = self.agent
        request = ranking.question(
            agent.vocabulary, agent.spec, history, feedback, step, candidates, exclude, k
        )
        return agent.rank(request, goal)

    def save(self, directory: str | pathlib.Path) -> None:
        """Writes what ranks, as the launch scripts do; an agent that is there is replaced.

        Args:
          directory: the agent's folder; `tfrec.load` opens it.

        Raises:
          NonFiniteWeightsError: if a weight is not finite; nothing is written.
          UserError: if nothing was fitted, or the folder cannot be written.
        """
        self.agent.save(directory)

    @property
    def agent(self) -> trained.SavedAgent:
        """The trained agent as it ranks now.

        Raises:
          UserError: if nothing was fitted.
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
        try:
            return runs.seeded(
                self.seed,
                lambda: self._method.make(
                    config, data.spec, log, world, None, self.seed, data.item_features()
                ),
            )
        except ValueError as error:
            raise UserError(f"{self._owner}{error}") from error

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
        """Brings the learner to its end in the folder of a run, and saves its agents there."""
        from tfrec.training import loop
        from tfrec.training import run as runs

        learner = cast(Any, self._learner)
        check = self._check(validation_users)  # before the folder is made: it may be rejected
        run = runs.Run.open(out, self.config, self.seed, self._extra(), self._inputs())
        for iterations, folder in self._stages():
            loop.train(learner, run, iterations, save_every, check, evaluate_every)
            if int(learner.iteration) == iterations:
                agent = self._trained()
                agent.save(run.directory / folder)
                agent.warn()
        self._finish(run)

    def _move(self, before: Any, after: Any) -> None:
        """Copies every variable of one learner to another."""
        from tfrec.training import checkpoint

        old, new = (checkpoint.named_variables(x) for x in (before, after))
        if {n: v.shape for n, v in old.items()} != {n: v.shape for n, v in new.items()}:
            raise UserError(
                f"{self._owner}these users let items repeat where the log does not, or do not "
                "where it does: play cannot go on from the log alone. Call fit(data, users)"
            )
        for name, variable in new.items():
            variable.assign(old[name])

    def _check_users(
        self, users: worlds.SimulatedUsers | None, data: storage.PreparedData
    ) -> None:
        from tfrec.data import identity

        if users is not None:
            identity.check(dataclasses.replace(users.data.origin, path=users.name), data.origin)

    def _inputs(self) -> dict[str, Any]:
        from tfrec.environments import worlds

        data, users = cast("storage.PreparedData", self._data), self._users
        return worlds.inputs(data, users.name if users else "", users.world if users else None)

    def _about(self) -> dict[str, Any]:
        """Where the agent comes from, to be saved with it."""
        from tfrec.data import storage
        from tfrec.environments import worlds

        data = cast("storage.PreparedData", self._data)
        about = worlds.about(data, self._inputs()) | {"seed": self.seed}
        return about | {storage.UNTRAINED: data.num_untrained_items}

    def _trained(self) -> trained.SavedAgent:
        data = cast("storage.PreparedData", self._data)
        return self._method.trained(
            self.config, data.spec, self._learner, data.vocabulary, self._about()
        )

    # What a method's run has of its own.

    def _extra(self) -> dict[str, Any]:
        """What else identifies a run."""
        return {"method": self._method.name}

    def _stages(self) -> list[tuple[int, str]]:
        """Rounds after which an agent is saved, and its folder in the run's."""
        return [(cast(registry.Learner, self._learner).total_iterations, "agent")]

    def _check(self, validation_users: int) -> Callable[[], Mapping[str, float]] | None:
        """Numbers on validation users for the run's logs."""
        from tfrec.environments import scoring

        if self._users is None:
            return None
        data = cast("storage.PreparedData", self._data)
        starts = scoring.validation_starts(data, validation_users)
        policy = cast(registry.Learner, self._learner).policy()
        score = scoring.Score(self._users.environment, policy, starts)
        return lambda: {"reward_clicks": score()}

    def _finish(self, run: runs.Run) -> None:
        """Writes what a run leaves beside its agents."""


def of(method: str, config: Any, seed: int, owner: str | None = None) -> Recommender:
    """The recommender of a method, in the method's own class where it has one.

    Args:
      method: its name in the registry.
      config: of the method's class.
      seed: of weights, batches and play.
      owner: what messages about the configuration begin with.
    """
    return Recommender._classes.get(method, Recommender).of(config, seed, method, owner)


def load(directory: str | pathlib.Path) -> Recommender:
    """Opens the folder of a saved agent of any registered method.

    Args:
      directory: what `save` or a launch script wrote.

    Returns:
      A recommender that ranks; it cannot learn on.

    Raises:
      UserError: if it is no agent's folder, or is damaged.

    Example:
      >>> tfrec.load("runs/goalrec/agent").rank(history=["lamp"], k=5)
    """
    agent = registry.load(directory)
    seed = agent.about.get("seed", 0)
    if agent.method in registry.METHODS:
        recommender = of(agent.method, agent.config, seed)
    else:  # a sequential model: it learns from sequences, by a script of its own
        recommender = Recommender.__new__(Recommender)
        method = registry.Method(agent.method, agent.method)
        recommender._begin(method, agent.config, seed)
    recommender._agent, recommender._path = agent, str(directory)
    return recommender
