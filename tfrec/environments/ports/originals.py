"""Plays a policy in the original RecSim and RecoGym environments: the final evaluation.

They are no part of the runtime: `pip install --no-deps -r requirements-simulators.txt`.

A policy made for a port plays unchanged: its timesteps hold a state of the port that is filled
from the originals, and the originals compute the responses. Several copies are stepped in
parallel, so that a policy is called for a batch of users. Properties of the originals that the
code must handle:

- RecSim changes users in place after it returned them, so values are copied immediately.
- Its samplers have separate generators, and long-term satisfaction ignores the seed and uses 0.
  The generators of each copy are replaced; otherwise all copies would play the same users.
- Its choices use NumPy's global generator, which is seeded here and restored afterwards.
- `import recogym` imports agents that fail with current packages, so only its environments are
  loaded.
"""

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec import errors
from tfrec.environments import contract, playing
from tfrec.environments.ports import recogym, recogym_posterior, recsim, seen

_INSTALL = "`pip install --no-deps -r requirements-simulators.txt` installs it"
_RECSIM: dict[type, str] = {
    recsim.InterestEvolution: "interest_evolution",
    seen.RememberedEvolution: "interest_evolution",
    recsim.LongTermSatisfaction: "long_term_satisfaction",
    recsim.InterestExploration: "interest_exploration",
}


def recsim_module(name: str) -> Any:
    """A module of `recsim.environments`.

    Raises:
      UserError: if RecSim cannot be imported.
    """
    try:
        return importlib.import_module(f"recsim.environments.{name}")
    except ImportError as error:
        raise errors.UserError(f"RecSim cannot be imported ({error}): {_INSTALL}") from error


def recogym_module() -> Any:
    """The module `recogym.envs`, without the agents of RecoGym.

    Raises:
      UserError: if RecoGym's environments cannot be imported.
    """
    if "recogym.envs" in sys.modules:
        return sys.modules["recogym.envs"]
    spec = importlib.util.find_spec("recogym")
    if spec is None:
        raise errors.UserError(f"RecoGym is not installed: {_INSTALL}")
    # Of the agents, the environments need only the name `Agent`. The agents import functions
    # that SciPy removed, so stubs replace the two packages.
    package, agents = types.ModuleType("recogym"), types.ModuleType("recogym.agents")
    package.__path__ = list(spec.submodule_search_locations or [])
    agents.Agent = object  # type: ignore[attr-defined]
    modules = dict(sys.modules)
    sys.modules.update({"recogym": package, "recogym.agents": agents})
    try:
        return importlib.import_module("recogym.envs")
    except ImportError as error:
        sys.modules.clear()
        sys.modules.update(modules)
        raise errors.UserError(f"RecoGym cannot be imported ({error}): {_INSTALL}") from error


def is_installed(simulator: contract.Simulator) -> bool:
    """Whether a port's original can be imported and has the observations of the port."""
    try:
        if isinstance(simulator, recogym.RecoGymV1):
            recogym_module()
        elif isinstance(simulator, recsim.InterestEvolution):
            recsim_module("interest_evolution")
        else:
            return False
    except errors.UserError:
        return False
    return True


class _RecSim:
    """Copies of one RecSim environment, with the state of its port."""

    def __init__(self, simulator: Any, copies: int, seed: int):
        module = recsim_module(_RECSIM[type(simulator)])
        self._simulator = simulator
        config = simulator.config
        settings = {
            "num_candidates": config.candidates,
            "slate_size": config.slate,
            "resample_documents": True,
            "seed": seed,
        }
        self.envs = [module.create_environment(settings) for _ in range(copies)]
        streams = np.random.SeedSequence(seed).generate_state(2 * copies)
        for env, (of_users, of_documents) in zip(
            self.envs, streams.reshape(-1, 2), strict=True
        ):
            sampler = env.environment.user_model._user_sampler
            sampler._rng = np.random.RandomState(of_users)
            env.environment._document_sampler._rng = np.random.RandomState(of_documents)
            if isinstance(simulator, recsim.LongTermSatisfaction):
                sampler._state_parameters |= {
                    "sensitivity": config.sensitivity,
                    "memory_discount": config.memory,
                    "innovation_stddev": config.innovation,
                    "time_budget": config.steps,
                }
        self.memory: Any = [None] * copies  # counts of each user's session

    def reset(self, copy: int) -> bool:
        """Starts a session and returns whether it has a first step, which it always has."""
        self.envs[copy].reset()
        self.memory[copy] = {
            "steps": 0,
            "engagement": 0.0,
            "tempted": 0.5,
            "shown": np.zeros(recsim.TOPICS),
            "clicks": np.zeros(recsim.TOPICS),
            "watched": np.zeros(recsim.CLUSTERS),
            "ignored": 0.0,
        }
        return True

    def step(self, copy: int, action: np.ndarray) -> tuple[float, float, float, bool]:
        """Takes one step; returns reward, clicks, shown items and whether the session ended."""
        memory, config = self.memory[copy], self._simulator.config
        documents = self._documents(copy)
        observation, reward, done, _ = self.envs[copy].step(action)
        memory["steps"] += 1
        clicks = 0.0
        for position, response in zip(action, observation["response"], strict=True):
            clicks += response["click"]
            if isinstance(self._simulator, recsim.InterestEvolution):
                memory["watched"][documents[position].cluster_id] += response["click"]
            if isinstance(self._simulator, recsim.InterestExploration):
                topic = documents[position].cluster_id
                memory["shown"][topic] += 1
                memory["clicks"][topic] += response["click"]
                done = memory["steps"] >= config.steps
        if isinstance(self._simulator, recsim.LongTermSatisfaction):
            clickbait = documents[action[0]].clickbait_score
            memory["engagement"] = float(observation["response"][0]["engagement"])
            memory["tempted"] = recsim.tempted_by(memory["tempted"], clickbait)
        memory["ignored"] += clicks == 0
        if isinstance(self._simulator, recsim.InterestEvolution) and config.reward == "clicks":
            reward = clicks
        return float(reward), clicks, float(len(action)), bool(done)

    def _documents(self, copy: int) -> list[Any]:
        environment = self.envs[copy].environment
        return environment.candidate_set.get_documents(list(environment._current_documents))

    def state(self, previous: Any, clicked: np.ndarray, fresh: np.ndarray) -> contract.State:
        """The port's state of all copies, with hidden parts read from the originals."""
        del previous, clicked, fresh
        users = [env.environment.user_model._user_state for env in self.envs]
        documents = [self._documents(copy) for copy in range(len(self.envs))]
        memory, config = self.memory, self._simulator.config

        def of_users(name: str) -> tf.Tensor:
            return tf.constant(np.array([getattr(u, name) for u in users]), tf.float32)

        def of_documents(name: str, dtype: Any = tf.float32) -> tf.Tensor:
            rows = [[getattr(d, name) for d in row] for row in documents]
            return tf.constant(np.array(rows), dtype)

        def remembered(name: str) -> tf.Tensor:
            return tf.constant(np.array([m[name] for m in memory]), tf.float32)

        if isinstance(self._simulator, recsim.InterestEvolution):
            now = recsim.InterestEvolutionState(
                of_users("user_interests"),
                of_users("time_budget"),
                of_documents("cluster_id", tf.int32),
            )
            if isinstance(self._simulator, seen.RememberedEvolution):
                memories = remembered("watched"), remembered("ignored")
                return seen.RememberedState(*now, *memories)
            return now
        left = config.steps - remembered("steps")
        if isinstance(self._simulator, recsim.LongTermSatisfaction):
            return recsim.LongTermSatisfactionState(
                of_users("net_positive_exposure"),
                tf.cast(left, tf.int32),
                of_documents("clickbait_score"),
                remembered("engagement"),
                remembered("tempted"),
            )
        return recsim.InterestExplorationState(
            of_users("topic_affinity"),
            tf.cast(left, tf.int32),
            of_documents("cluster_id", tf.int32),
            of_documents("quality"),
            remembered("shown"),
            remembered("clicks"),
        )


def recogym_settings(config: recogym.ChainConfig, seed: int) -> dict[str, Any]:
    """Arguments of the original's `init_gym`; `seed` is that of parameters and users."""
    module = recogym_module()
    chain = {
        "random_seed": seed,
        "num_products": config.products,
        "prob_organic_to_bandit": config.organic_to_bandit,
        "prob_bandit_to_organic": config.bandit_to_organic,
        "prob_leave_organic": config.leave,
    }
    if isinstance(config, recogym.RecoGymV0Config):
        specific = {"num_clusters": config.clusters, "phi_var": config.variance}
        return {**module.env_0_args, **chain, **specific}
    assert isinstance(config, recogym.RecoGymV1Config)
    specific = {
        "K": config.width,
        "number_of_flips": config.flips,
        "sigma_omega": config.drift,
        "sigma_mu_organic": config.popularity,
    }
    return {**module.env_1_args, **chain, **specific}


class _RecoGym:
    """Copies of one RecoGym environment, with the state of its port."""

    def __init__(self, simulator: Any, copies: int, seed: int):
        self._port = getattr(simulator, "inner", simulator)
        config = self._port.config
        module = recogym_module()
        original = (
            module.RecoEnv0 if isinstance(self._port, recogym.RecoGymV0) else module.RecoEnv1
        )
        # Not by gym.make, whose wrapper of `reset` takes no user.
        self.envs = [original() for _ in range(copies)]
        streams = np.random.SeedSequence(seed).generate_state(copies)
        for env, of_users in zip(self.envs, streams, strict=True):
            env.init_gym(recogym_settings(config, config.seed))  # the port's products
            env.rng = np.random.RandomState(of_users)  # and other users in each copy
        self._update_posterior: Any = None
        if isinstance(simulator, recogym_posterior.Believing):
            self._update_posterior = tf.function(
                simulator.updated_posterior, reduce_retracing=True, autograph=False
            )
        self._counts = np.zeros([copies, config.products], np.float32)
        self._recent = np.zeros([copies, config.products], np.float32)
        self._latest = np.full([copies, recogym.LATEST], -1)

    def _see(self, copy: int, observation: Any) -> None:
        views = [session["v"] for session in observation.sessions()]
        for view in views:
            self._counts[copy, view] += 1
            self._recent[copy] *= self._port.config.recent
            self._recent[copy, view] += 1
        self._latest[copy] = -1
        latest = views[-recogym.LATEST :]
        if latest:
            self._latest[copy, -len(latest) :] = latest

    def reset(self, copy: int) -> bool:
        """Starts the session of a new user; False if they leave before a recommendation."""
        self._counts[copy] = self._recent[copy] = 0
        self.envs[copy].reset(0)
        observation, _, done, _ = self.envs[copy].step(None)
        self._see(copy, observation)
        return not done

    def step(self, copy: int, action: np.ndarray) -> tuple[float, float, float, bool]:
        """Takes one step; returns reward, clicks, shown items and whether the session ended."""
        observation, reward, done, _ = self.envs[copy].step(int(action[0]))
        self._see(copy, observation)
        return float(reward), float(reward), 1.0, bool(done)

    def state(self, previous: Any, clicked: np.ndarray, fresh: np.ndarray) -> contract.State:
        """The port's state of all copies, with omega read from the originals."""
        if isinstance(self._port, recogym.RecoGymV0):
            omega = np.zeros([len(self.envs), 0])
        else:
            omega = np.stack([env.omega[:, 0] for env in self.envs])
        state = recogym.RecoGymState(
            tf.constant(omega, tf.float32),
            tf.constant(self._counts),
            tf.constant(self._recent),
            tf.constant([int(env.product_view) for env in self.envs], tf.int32),
            tf.constant(self._latest, tf.int32),
        )
        if self._update_posterior is not None:
            return self._update_posterior(
                previous, state, tf.constant(clicked), tf.constant(fresh)
            )
        return state


def adapter(simulator: contract.Simulator, copies: int, seed: int) -> Any:
    """Makes copies of the original of a port.

    Raises:
      UserError: if the original cannot be imported.
      ValueError: if the simulator is no port.
    """
    if type(simulator) in _RECSIM:
        return _RecSim(simulator, copies, seed)
    if isinstance(
        simulator, recogym.RecoGymV0 | recogym.RecoGymV1 | recogym_posterior.Believing
    ):
        return _RecoGym(simulator, copies, seed)
    raise ValueError(f"no original for {type(simulator).__name__}; expected a port of one")


@contextlib.contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def play(
    simulator: contract.Simulator,
    policy: contract.Policy,
    sessions: int,
    seed: int,
    copies: int = 32,
) -> playing.Played:
    """Totals of sessions in the original environment, as `playing.play` of its port.

    Each copy plays its share of the sessions to their ends, so that lengths are not biased.

    Args:
      simulator: the port, which determines the original and its sizes.
      policy: the policy; it is called in a graph with a batch of all copies.
      sessions: B, number of sessions.
      seed: seed of users, responses and policy.
      copies: number of parallel environments.

    Returns:
      Arrays instead of tensors.

    Raises:
      UserError: if the original cannot be imported.
    """
    copies = min(copies, sessions)
    originals = adapter(simulator, copies, seed)

    @tf.function(reduce_retracing=True, autograph=False)
    def act(state: contract.State, key: tf.Tensor) -> tf.Tensor:
        return policy(contract.timestep_of(simulator, state, key))

    remaining = np.full(copies, sessions // copies)
    remaining[: sessions % copies] += 1
    current = np.zeros([copies, 4])  # reward, clicks, shown, steps
    totals = []
    with _global_seed(seed):
        for number in range(copies):
            _begin(originals, number)
        clicked, fresh = np.zeros(copies, bool), np.ones(copies, bool)
        state = originals.state(None, clicked, fresh)
        number = 0
        while remaining.any():
            actions = act(state, tf.constant([seed, number], tf.int32)).numpy()
            number += 1
            clicked[:], fresh[:] = False, False
            for copy in np.flatnonzero(remaining):
                *values, done = originals.step(copy, actions[copy])
                current[copy] += [*values, 1]
                clicked[copy] = values[1] > 0
                if done:
                    totals.append(current[copy].copy())
                    current[copy] = 0
                    remaining[copy] -= 1
                    fresh[copy] = True
                    _begin(originals, int(copy))
            state = originals.state(state, clicked, fresh)
    reward, clicks, shown, steps = np.array(totals).T
    return playing.Played(
        reward.astype(np.float32), clicks.astype(np.float32), shown, steps.astype(np.int32)
    )


def _begin(originals: Any, copy: int) -> None:
    """Starts sessions of a copy until one has a first step."""
    while not originals.reset(copy):
        pass
