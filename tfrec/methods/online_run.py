"""A run of a method that learns step by step: training, final test, policy and result.

A run's folder: config.json, metrics.jsonl, tensorboard, checkpoints, policy, result.json; and,
if the users are those of a log, `agent`, which ranks.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, cast

import tensorflow as tf

from tfrec import options, outputs, weights
from tfrec.data import identity
from tfrec.environments import contract, log_users, playing
from tfrec.environments import registry as environments
from tfrec.environments.contract import Policy, Timestep
from tfrec.environments.ports import originals
from tfrec.errors import UserError
from tfrec.methods import online_agent, registry
from tfrec.methods.online import Method
from tfrec.methods.online_config import OnlineConfig, RandomStartConfig, ReplaySizeConfig
from tfrec.methods.online_learner import OnlineLearner
from tfrec.methods.online_result import RESULT
from tfrec.training import loop
from tfrec.training import run as runs

POLICY = "policy"
AGENT = "agent"
_AT_ONCE = 2_000  # parallel sessions; larger batches wait longer for their longest session
_FINAL_SEED = 30_000  # of the sessions of final tests, unlike those of tests during training


@dataclasses.dataclass(frozen=True)
class Task:
    """The definition of a run.

    Attributes:
      environment: name of the environment.
      method: name of the method.
      seed: seed of weights and play.
      form: the environment's configuration.
      play: amounts of play, learning and testing.
      numbers: the method's configuration.
      save_every: iterations between checkpoints.
      final_sessions: sessions of the final test.
      original_sessions: sessions of the final test in the original environment; 0 for no test.
      controls: whether the environment's controls also have a final test.
    """

    environment: str
    method: str
    seed: int
    form: Any
    play: OnlineConfig
    numbers: Any
    save_every: int = 100
    final_sessions: int = 1_000
    original_sessions: int = 0
    controls: bool = False


def method_of(task: Task, simulator: contract.Simulator) -> Method:
    """The untrained method of a task, with seeded weights.

    Raises:
      UserError: if its configuration does not fit the simulator.
    """
    numbers = fitting(task.numbers, task.play)
    maker = registry.get(task.method, task.environment).online.maker
    try:
        return runs.seeded(
            task.seed, lambda: maker(numbers, simulator, task.seed), deterministic=False
        )
    except ValueError as error:
        raise UserError(f"--method={task.method}: {error}") from error


def fitting(config: Any, play: OnlineConfig) -> Any:
    """Limits a method's replay to the steps of the run, and extends random play to the warm-up.

    A method that plays at random for its first steps keeps acting at random until learning
    starts, because its untrained policy is no more informative.

    Args:
      config: the method's configuration.
      play: amounts of play, learning and testing.
    """
    changes: dict[str, Any] = {}
    if isinstance(config, ReplaySizeConfig):
        steps = play.total_iterations * play.sessions * play.rollout_steps
        changes["replay_size"] = min(config.replay_size, steps)
    if isinstance(config, RandomStartConfig):
        changes["random_steps"] = max(config.random_steps, play.warm_up)
    return dataclasses.replace(config, **changes)


def run(folder: str | pathlib.Path, task: Task) -> dict[str, Any]:
    """Starts or resumes a run and completes it.

    Args:
      folder: folder of the run.
      task: definition of the run.

    Returns:
      The content of its result.json.

    Raises:
      UserError: if a value does not fit, or the folder holds another run.
    """
    folder = pathlib.Path(folder)
    simulator = _simulator(task)
    inputs = simulator.inputs()
    # Made before the folder, so that a configuration that does not fit leaves no folder.
    method, numbers = method_of(task, simulator), fitting(task.numbers, task.play)
    learner = OnlineLearner(
        task.play, simulator, method, task.seed, simulator.of_split("validation")
    )
    environment = environments.get(task.environment)
    opened = runs.Run.open(
        folder,
        {"play": task.play, "numbers": numbers},
        task.seed,
        {"method": task.method, **environment.identity(task.form)},
        inputs,
    )
    with contract.failures(simulator):
        loop.train(
            learner,
            opened,
            learner.total_iterations,
            task.save_every,
            learner.evaluate,
            task.play.test_every,
        )
        tests = _final_tests(task, simulator, method)
    policy = save_policy(folder / POLICY, method, simulator)
    if environment.of_log:
        users = cast(log_users.LogUsers, simulator)
        online_agent.of(task.method, numbers, method, users, task.seed).save(folder / AGENT)
    result = {
        "environment": task.environment,
        "method": task.method,
        "seed": task.seed,
        "steps": int(learner.steps),
        "sessions": int(learner.sessions),
        "tests": tests,
        "inputs": identity.recorded(inputs),
        "play": options.resolved(task.play),
        "method_config": options.resolved(numbers),
        "fingerprints": {"policy": policy},
    }
    outputs.write_json(folder / RESULT, result)
    return result


def _simulator(task: Task) -> contract.Simulator:
    """The simulator of a task.

    Raises:
      UserError: if it cannot be made, or a final test needs an original that is not installed.
    """
    simulator = environments.simulator(task.environment, task.form)
    if task.original_sessions and not originals.is_installed(simulator):
        raise UserError(
            f"--original_sessions={task.original_sessions}: the original of "
            f"{task.environment} is not installed, or lacks the observations of policies; "
            "expected 0"
        )
    return simulator


def _final_tests(
    task: Task, simulator: contract.Simulator, method: Method
) -> dict[str, dict[str, float]]:
    """Final tests of the trained policy and, if the task says so, of the controls."""
    test = simulator.of_split("test")
    tests = final_test(test, method.greedy, task.final_sessions, task.original_sessions)
    if task.controls:
        for name, control in test.controls().items():
            tests[name] = final_test(*control(), task.final_sessions)["port"]
    return tests


def final_test(
    simulator: contract.Simulator, policy: Policy, sessions: int, original_sessions: int = 0
) -> dict[str, dict[str, float]]:
    """CTR, reward and length of test sessions, with standard errors.

    Returns:
      Results of `playing.rates` for the `port`, and for the `original` if `original_sessions`
      is not 0.
    """
    seed = tf.constant([_FINAL_SEED, 0], tf.int32)
    # A concrete function: TensorFlow warns of retracing if one line makes many functions.
    play = tf.function(
        lambda seed: playing.play(simulator, policy, sessions, seed, at_once=_AT_ONCE),
        autograph=False,
    ).get_concrete_function(seed)
    played = play(seed)
    tests = {"port": playing.rates(played)}
    if original_sessions:
        played = originals.play(simulator, policy, original_sessions, seed=1)
        tests["original"] = playing.rates(played)
    return tests


def save_policy(folder: pathlib.Path, method: Method, simulator: contract.Simulator) -> str:
    """Writes the tested policy as a SavedModel that needs no code of this project.

    `tf.saved_model.load(folder).act(observation, candidates)` maps float32 [B, O] and
    [B, m, D] to the simulator's action; `act(observation)` if the action is continuous or the
    items are constant.

    Returns:
      The fingerprint of its weights.

    Raises:
      NonFiniteWeightsError: if a weight that it reads is not finite; nothing is written.
    """
    policy = tf.Module(name="policy")
    policy.act = _act(method, simulator)
    # Only variables that the policy reads are saved: no replay, no optimiser.
    policy.weights = list(policy.act.get_concrete_function().variables)
    weights.check(((v.name, v) for v in policy.weights), f"{folder}: not written")
    with outputs.replacing_folder(folder) as temporary:
        tf.saved_model.save(policy, str(temporary))
    return identity.of_variables(policy.weights)


def _act(method: Method, simulator: contract.Simulator) -> Callable:
    """The function `act` of `save_policy`."""
    observation_spec = tf.TensorSpec(
        [None, simulator.observation_size], tf.float32, "observation"
    )
    catalogue = simulator.catalogue
    state, seed = None, tf.zeros([2], tf.int32)  # a greedy policy reads neither

    if not simulator.slate_size or catalogue is not None:

        @tf.function(input_signature=[observation_spec], autograph=False)
        def act_on_observation(observation: tf.Tensor) -> tf.Tensor:
            items = None
            if catalogue is not None:
                items = contract.for_each(catalogue, tf.shape(observation)[0])
            blocked = contract.blocked(simulator, observation)
            return method.greedy(Timestep(observation, items, state, seed, blocked))

        return act_on_observation

    candidates = simulator.candidates(simulator.reset(1, seed))
    assert candidates is not None
    candidates_spec = tf.TensorSpec([None, *candidates.shape[1:]], tf.float32, "candidates")

    @tf.function(input_signature=[observation_spec, candidates_spec], autograph=False)
    def act(observation: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        return method.greedy(Timestep(observation, candidates, state, seed))

    return act
