"""VirtualTB-v0, batched: users of an online shop, learned from the logs of Taobao.

Shi et al., "Virtual-Taobao", AAAI 2019 (arXiv:1805.10000). The weights are the published
ones, read from a clone of github.com/eyounx/VirtualTaobao; this project ships none.

A user is 88 numbers, 11 one-hot groups, and constant. The action at each page is 27 weights of
a ranking, and the user clicks 0 to 10 of the 10 shown items. The page of the exit is sampled at
the start from the user alone, so that no action affects later steps. One action for all users
earns nearly every click (`constant_action`), so scores in this simulator are informative only
in comparison with it.

At a session's end the original returns the observation of the next user. Here the state after a
step that is done describes the old user, and as in any batched simulator it is undefined: never
bootstrap from it, never train on it.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec import errors, types
from tfrec.data import identity
from tfrec.environments import contract
from tfrec.environments.contract import Policy, Timestep
from tfrec.environments.ports import torch_weights

GROUPS = (8, 8, 11, 11, 11, 11, 2, 2, 3, 18, 3)  # sizes of a user's one-hot groups
USER_SIZE = sum(GROUPS)  # 88
NOISE_SIZE = 128  # width of the noise from which a user is generated
ACTION_SIZE = 27
SHOWN = 10  # items on a page; clicks are 0..10
SECOND_LEVELS = 10  # the second feedback is 0..9; its meaning was not published
MAX_PAGES = 100

FILES = {  # name of a network -> its file and the widths of its layers
    "generator": ("generator_model.pt", (NOISE_SIZE, 128, USER_SIZE)),
    "leave": ("leave_model.pt", (USER_SIZE, 128, 256, MAX_PAGES + 1)),
    "action": (
        "action_model.pt",
        (USER_SIZE + 1 + ACTION_SIZE, 128, 256, SHOWN + 1 + SECOND_LEVELS),
    ),
}

_OFFSETS = np.cumsum([0, *GROUPS[:-1]])
# Column of each class of each group in the 88; 88 for unused classes: [11, 18].
_COLUMNS = np.array(
    [
        [o + c if c < n else USER_SIZE for c in range(max(GROUPS))]
        for o, n in zip(_OFFSETS, GROUPS, strict=True)
    ]
)
_GROUP_OF = np.repeat(np.arange(len(GROUPS)), GROUPS)  # [88]
_CLASS_OF = np.arange(USER_SIZE) - _OFFSETS[_GROUP_OF]  # [88]

Layers = Sequence[tuple[tf.Tensor, tf.Tensor]]  # (kernel [in, out], bias [out]) of each


class State(NamedTuple):
    """B sessions.

    Attributes:
      user: float32 [B, 88], one-hot groups.
      feedback: float32 [B, 2], clicks (0..10) and second feedback (0..9) of the last page.
      page: int32 [B], pages seen.
      leave: int32 [B], pages after which the user leaves, hidden; 0 leaves after the first.
    """

    user: tf.Tensor
    feedback: tf.Tensor
    page: tf.Tensor
    leave: tf.Tensor


class VirtualTaobao(contract.Simulator):
    """The simulator with the weights of a clone of VirtualTaobao.

    An observation is the user (88), the feedback to the last page (2, raw) and the number
    of pages seen. The reward is the number of clicks, 0..10 a page, and `shown` is 10, so the
    CTR is total reward / pages / 10 as in the original. Actions are not clipped.

    Args:
      folder: the clone, or the folder with its three `*_model.pt`.

    Raises:
      errors.UserError: if a file is missing, damaged or of another network.
    """

    observation_size = USER_SIZE + 3
    slate_size = 0
    action_size = ACTION_SIZE
    catalogue: tf.Tensor | None = None

    def __init__(self, folder: str | pathlib.Path):
        self._folder = folder
        networks = _read(data_folder(folder))
        self._generator, self._leave = networks["generator"], networks["leave"]
        self._action = networks["action"]

    @property
    def fingerprint(self) -> str:
        """Hash of the weights of all three networks."""
        networks = (self._generator, self._leave, self._action)
        return identity.fingerprint(
            [[[part.numpy() for part in layer] for layer in layers] for layers in networks]
        )

    def controls(self) -> dict[str, Callable[[], tuple[contract.Simulator, Policy]]]:
        return super().controls() | {"constant": lambda: (self, constant(self))}

    def inputs(self) -> dict[str, identity.Source]:
        return {"virtualtb": identity.Source(str(self._folder), self.fingerprint)}

    def user_logits(self, noise: tf.Tensor) -> tf.Tensor:
        """Logits of the 11 groups' classes, side by side: [B, 128] in [0, 1) -> [B, 88]."""
        return _logits(self._generator, noise)

    def leave_logits(self, user: tf.Tensor) -> tf.Tensor:
        """Logits of leaving at page 0..100: [B, 88] -> [B, 101]."""
        return _logits(self._leave, user)

    def feedback_logits(self, user: tf.Tensor, page: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """Logits of 0..10 clicks, then of the second feedback 0..9.

        Args:
          user: [B, 88].
          page: number, pages seen before this one, [B].
          action: [B, 27].

        Returns:
          float32 [B, 21].
        """
        seen = tf.cast(page, tf.float32)[:, None]
        return _logits(self._action, tf.concat([user, seen, action], axis=1))

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> State:
        noise_seed, user_seed, leave_seed = tf.unstack(tf.random.split(seed, 3))
        noise = tf.random.stateless_uniform([batch, NOISE_SIZE], noise_seed)
        logits = tf.pad(self.user_logits(noise), [[0, 0], [0, 1]], constant_values=-np.inf)
        by_group = tf.gather(logits, _COLUMNS, axis=1)  # [B, 11, 18]
        class_index = _draw(tf.reshape(by_group, [-1, max(GROUPS)]), user_seed)  # [B * 11]
        class_index = tf.reshape(class_index, [-1, len(GROUPS)])  # [B, 11]
        user = tf.cast(tf.gather(class_index, _GROUP_OF, axis=1) == _CLASS_OF, tf.float32)
        return State(
            user=user,
            feedback=tf.zeros([batch, 2]),
            page=tf.zeros([batch], tf.int32),
            leave=_draw(self.leave_logits(user), leave_seed),
        )

    def observation(self, state: State) -> tf.Tensor:
        page = tf.cast(state.page, tf.float32)[:, None]
        return tf.concat([state.user, state.feedback, page], axis=1)  # [B, 91]

    def candidates(self, state: State) -> None:
        return None

    def structure(self) -> contract.Structure:
        """One factor for each group of a user, for the feedback and for the page.

        The next feedback depends on user, page and action; user groups are constant. The true
        graph is therefore connected through the feedback and admits no exchange. The heuristic
        graph ignores the influence of the user on the feedback, as if all users had the same
        response probabilities. This biases the reward of synthetic transitions;
        `expected_reward` measures the bias.
        """
        groups = len(GROUPS)
        feedback, page, action = groups, groups + 1, groups + 2
        true = np.zeros([groups + 3, groups + 3])
        true[np.arange(groups), np.arange(groups)] = 1.0  # constant groups of a user
        true[page, page] = true[page, feedback] = true[action, feedback] = 1.0
        heuristic = true.copy()
        heuristic[action, page] = 1.0
        true[:groups, feedback] = 1.0
        return contract.Structure(
            state=contract.neighbouring([*GROUPS, 2, 1]),
            action=contract.neighbouring([self.action_size]),
            graphs={"heuristic": heuristic, "true": true},
            user_columns=list(range(USER_SIZE)),
            expected_reward=self.expected_reward,
        )

    def expected_reward(self, observation: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """Expected clicks of a step, float [B].

        Args:
          observation: float [B, O].
          action: float [B, 27].
        """
        user, page = observation[:, :USER_SIZE], observation[:, -1]
        logits = self.feedback_logits(user, page, action)
        clicks = tf.nn.softmax(logits[:, : SHOWN + 1])  # [B, 11]
        return tf.linalg.matvec(clicks, tf.range(SHOWN + 1.0))

    def step(self, state: State, action: tf.Tensor, seed: tf.Tensor) -> contract.Outcome:
        logits = self.feedback_logits(state.user, state.page, action)  # [B, 21]
        click_seed, second_seed = tf.unstack(tf.random.split(seed, 2))
        clicks = tf.cast(_draw(logits[:, : SHOWN + 1], click_seed), tf.float32)
        second = tf.cast(_draw(logits[:, SHOWN + 1 :], second_seed), tf.float32)
        page = state.page + 1
        after = State(state.user, tf.stack([clicks, second], axis=1), page, state.leave)
        return contract.Outcome(
            state=after,
            reward=clicks,
            clicks=clicks,
            shown=tf.fill(tf.shape(clicks), float(SHOWN)),
            done=page >= state.leave,
        )


def constant_action(
    simulator: VirtualTaobao, seed: int, users: int = 1024, steps: int = 300
) -> np.ndarray:
    """The best constant action, a control for every comparison.

    Found by gradient descent through the click model, which is hidden from ordinary policies.
    Expected clicks are no usable objective: logits reach tens of thousands, so responses are
    nearly deterministic and gradients vanish. With q = -log P(10 clicks) the objective is the
    mean of log(1 + q) over users and pages, which is minimised: users with large q have
    gradients but do not dominate.

    Args:
      simulator: simulator with the click model.
      seed: seed of the initial action, the users and the pages.
      users: batch size, resampled at each step; each user is at one page of its session,
        weighted by its length.
      steps: number of gradient steps.

    Returns:
      float32 [27], each in [-1, 1].
    """
    seeds = tf.random.split(types.seed_pair(seed, 0), steps + 1)
    raw = tf.Variable(tf.random.stateless_uniform([ACTION_SIZE], seeds[-1], -1.0, 1.0))
    rate = tf_keras.optimizers.schedules.CosineDecay(0.1, steps)
    optimizer = tf_keras.optimizers.legacy.Adam(rate)

    @tf.function(autograph=False)
    def descend(step_seed: tf.Tensor) -> None:
        user_seed, page_seed = tf.unstack(tf.random.split(step_seed, 2))
        state = simulator.reset(users, user_seed)
        length = tf.cast(tf.maximum(state.leave, 1), tf.float32)
        page = tf.floor(length * tf.random.stateless_uniform([users], page_seed))
        with tf.GradientTape() as tape:
            action = tf.repeat(tf.tanh(raw)[None], users, axis=0)  # [B, 27]
            logits = simulator.feedback_logits(state.user, page, action)
            surprise = -tf.nn.log_softmax(logits[:, : SHOWN + 1])[:, SHOWN]  # [B]
            loss = tf.reduce_sum(length * tf.math.log1p(surprise)) / tf.reduce_sum(length)
        optimizer.apply_gradients([(tape.gradient(loss, raw), raw)])

    for step in range(steps):
        descend(seeds[step])
    return tf.tanh(raw).numpy()


def constant(simulator: VirtualTaobao) -> Policy:
    """The policy that shows every user the action of `constant_action`."""
    action = tf.constant(constant_action(simulator, seed=0))

    def policy(timestep: Timestep) -> tf.Tensor:
        return tf.repeat(action[None], tf.shape(timestep.observation)[0], axis=0)

    return policy


def _draw(logits: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """One class of each row, [R, C] -> int32 [R]."""
    return tf.random.stateless_categorical(logits, 1, seed, tf.int32)[:, 0]


def _logits(layers: Layers, x: tf.Tensor) -> tf.Tensor:
    """Layers with LeakyReLU of slope 0.01 between them, as torch's default is."""
    *hidden, (kernel, bias) = layers
    for inner, shift in hidden:
        x = tf.nn.leaky_relu(tf.matmul(x, inner) + shift, alpha=0.01)
    return tf.matmul(x, kernel) + bias


def data_folder(folder: str | pathlib.Path) -> pathlib.Path:
    """The folder of the weights in a clone; a folder that is no clone is returned unchanged."""
    data = pathlib.Path(folder) / "virtualTB" / "data"
    return data if data.is_dir() else pathlib.Path(folder)


def _read(folder: pathlib.Path) -> dict[str, Layers]:
    """Reads the networks in a folder and checks their layers."""
    networks: dict[str, Layers] = {}
    for name, (file, widths) in FILES.items():
        path = folder / file
        if not path.is_file():
            raise errors.UserError(
                f"{path}: not there. Expected a clone of VirtualTaobao, with "
                f"virtualTB/data/{file} in it: "
                "git clone https://github.com/eyounx/VirtualTaobao"
            )
        weights = torch_weights.read(path)
        shapes = {key: values.shape for key, values in weights.items()}
        expected: dict[str, tuple[int, ...]] = {}
        for layer, (wide, out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            expected[f"{2 * layer}.weight"] = (out, wide)
            expected[f"{2 * layer}.bias"] = (out,)
        if shapes != expected:
            raise errors.UserError(
                f"{path}: another network than the published {name} model: it holds "
                f"{shapes}; expected {expected}"
            )
        networks[name] = [
            (tf.constant(weights[f"{2 * i}.weight"].T), tf.constant(weights[f"{2 * i}.bias"]))
            for i in range(len(widths) - 1)
        ]
    return networks
