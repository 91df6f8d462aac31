"""One learning curve: a method learns in a live simulator, is judged, and is kept.

A run's folder: config.json, metrics.jsonl, tensorboard, checkpoints, policy, result.json.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from launch import live
from tfrec import options, outputs, weights
from tfrec.data import identity
from tfrec.environments import contract, playing
from tfrec.environments.playing import Policy, Turn
from tfrec.environments.ports import originals, recogym, recsim
from tfrec.errors import UserError
from tfrec.methods.online import Method
from tfrec.methods.online_learner import OnlineConfig, OnlineLearner
from tfrec.report import results
from tfrec.training import loop
from tfrec.training import run as runs

RESULT = "result.json"
POLICY = "policy"
_AT_ONCE = 2_000  # sessions; the longest of many more would keep all others waiting
_FINAL_SEED = 30_000  # of the sessions of final tests, which no test during training plays


@dataclasses.dataclass(frozen=True)
class Task:
    """What a run is.

    Attributes:
      simulator: its name.
      method: its name.
      seed: of weights and play.
      at: which form of the simulator.
      sizes: how much is played, learned and tested.
      numbers: the method's configuration.
      save_every: units between checkpoints.
      final_sessions: of the final test.
      original_sessions: the same in the original environment; 0 leaves it out.
    """

    simulator: str
    method: str
    seed: int
    at: live.SimulatorConfig
    sizes: OnlineConfig
    numbers: Any
    save_every: int = 100
    final_sessions: int = 1_000
    original_sessions: int = 0


def run(folder: str | pathlib.Path, task: Task) -> dict[str, Any]:
    """Brings a run to its end, from wherever it stands; one that is done is kept.

    Returns:
      The content of its result.json.

    Raises:
      UserError: if a number does not fit, or the folder holds another run.
    """
    folder = pathlib.Path(folder)
    numbers = live.fitting(task.numbers, task.sizes)
    simulator = live.simulator(task.simulator, task.at)
    validation, test = (live.at_split(simulator, split) for split in ("validation", "test"))
    if task.original_sessions and not originals_installed(simulator):
        raise UserError(
            f"--original_sessions={task.original_sessions}: the original of {task.simulator} "
            "is not installed, or cannot show what policies see here; expected 0"
        )
    inputs = live.inputs(task.at, simulator)
    # Made before the folder is, so that a configuration that does not fit leaves nothing.
    try:
        method = runs.seeded(
            task.seed,
            lambda: live.make(task.method, numbers, simulator, task.seed),
            deterministic=False,
        )
    except ValueError as error:
        raise UserError(f"--method={task.method}: {error}") from error
    learner = OnlineLearner(task.sizes, simulator, method, task.seed, validation)
    opened = runs.Run.open(
        folder,
        {"sizes": task.sizes, "numbers": numbers},
        task.seed,
        {"method": task.method, **live.form(task.simulator, task.at)},
        inputs,
    )
    loop.train(
        learner,
        opened,
        learner.total_units,
        task.save_every,
        learner.evaluate,
        task.sizes.test_every,
    )
    judged = judge(test, method.greedy, task.final_sessions, task.original_sessions)
    if task.simulator == "users":  # the figures have the controls of the others
        for name in live.controls(task.simulator, test):
            played, control = live.control(task.simulator, name, test)
            judged[name] = judge(played, control, task.final_sessions)["port"]
    policy = save_policy(folder / POLICY, method, simulator)
    result = {
        "simulator": task.simulator,
        "method": task.method,
        "seed": task.seed,
        "steps": int(learner.steps),
        "sessions": int(learner.sessions),
        "judged": judged,
        "inputs": identity.recorded(inputs),
        "sizes": options.resolved(task.sizes),
        "fingerprints": {"policy": policy},
    }
    write(folder / RESULT, result)
    return result


def judge(
    simulator: contract.Simulator, policy: Policy, sessions: int, original_sessions: int = 0
) -> dict[str, dict[str, float]]:
    """A final test: CTR, reward and length of sessions, with standard errors.

    Returns:
      What `playing.rates` says of the `port`, and of the `original` where sessions of
      it are asked for.
    """
    seed = tf.constant([_FINAL_SEED, 0], tf.int32)
    play = tf.function(playing.play)
    played = play(simulator, policy, sessions, seed, at_once=_AT_ONCE)
    judged = {"port": playing.rates(played)}
    if original_sessions:
        played = originals.play(simulator, policy, original_sessions, seed=1)
        judged["original"] = playing.rates(played)
    return judged


def write(path: pathlib.Path, content: Any) -> None:
    """Writes JSON, whole or not at all."""
    with results.replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def save_policy(folder: pathlib.Path, method: Method, simulator: contract.Simulator) -> str:
    """Writes the policy that was judged as a SavedModel that needs no code of ours.

    `tf.saved_model.load(folder).act(observation, candidates)`: float32 [B, O] and
    [B, m, D] to what the simulator takes; `act(observation)` where the action is continuous
    or the items are always the same.

    Returns:
      The fingerprint of its weights.

    Raises:
      NonFiniteWeightsError: if a weight that it reads is not finite; nothing is written.
    """
    kept = tf.Module(name="policy")
    kept.act = _act(method, simulator)
    # Only what the policy reads is saved: no replay, no optimiser.
    kept.weights = list(kept.act.get_concrete_function().variables)
    weights.check(((v.name, v) for v in kept.weights), f"{folder}: not written")
    with outputs.replacing_folder(folder) as temporary:
        tf.saved_model.save(kept, str(temporary))
    return identity.of_variables(kept.weights)


def _act(method: Method, simulator: contract.Simulator) -> Callable:
    observed = tf.TensorSpec([None, simulator.observation_size], tf.float32, "observation")
    catalogue = simulator.catalogue
    state, seed = None, tf.zeros([2], tf.int32)  # an honest policy asks for neither

    if not simulator.slate_size or catalogue is not None:

        @tf.function(input_signature=[observed])
        def alone(observation: tf.Tensor) -> tf.Tensor:
            items = None
            if catalogue is not None:
                items = tf.repeat(catalogue[None], tf.shape(observation)[0], axis=0)
            blocked = playing.blocked(simulator, observation)
            return method.greedy(Turn(observation, items, state, seed, blocked))

        return alone

    offered = simulator.candidates(simulator.reset(1, seed))
    assert offered is not None
    choice = tf.TensorSpec([None, *offered.shape[1:]], tf.float32, "candidates")

    @tf.function(input_signature=[observed, choice])
    def act(observation: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        return method.greedy(Turn(observation, candidates, state, seed))

    return act


def originals_installed(simulator: contract.Simulator) -> bool:
    """Whether a policy can be judged in the original: whether it can be imported."""
    try:
        if isinstance(simulator, recogym.RecoGymV1):
            originals.recogym_module()
        elif isinstance(simulator, recsim.InterestEvolution):
            originals.recsim_module("interest_evolution")
        else:
            return False
    except UserError:
        return False
    return True
