"""IMRL in one file, written for reading: one transition at a time.

It follows Chen et al. (arXiv:2209.08228) and, where the paper is silent or the project departs
from it, the section "Where we differ from the paper" of `tfimrl/README.md`. Numbers are
float64, and TensorFlow is used for its automatic differentiation only; sets of slots are
Python sets.

Weights are a dictionary, name -> float64 tensor, under the names that a checkpoint of the
agent's networks has. `numbers` is the method's configuration; its attributes are read and
nothing else of the project is used.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

Weights = Mapping[str, tf.Tensor]

# Bounds of log standard deviations.
POLICY_BOUNDS = (-20.0, 2.0)
MODEL_BOUNDS = (-5.0, 2.0)

# --------------------------------------------------------------------------------------------
# Networks.


def hidden_features(w: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    """The last ReLU layer of a perceptron, of x float [n]."""
    layers = sum(key.startswith(f"{name}/layers/") and key.endswith("/kernel") for key in w)
    for k in range(layers - 1):
        x = tf.nn.relu(dense(w, f"{name}/layers/{k}", x))
    return x


def perceptron(w: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    """ReLU layers and a linear one."""
    layers = sum(key.startswith(f"{name}/layers/") and key.endswith("/kernel") for key in w)
    return dense(w, f"{name}/layers/{layers - 1}", hidden_features(w, name, x))


def dense(w: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    """A fully connected layer, of x float [n]."""
    return tf.linalg.matvec(w[f"{name}/kernel"], x, transpose_a=True) + w[f"{name}/bias"]


def gaussian(
    w: Weights, name: str, x: tf.Tensor, bounds: tuple[float, float]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and standard deviation of a diagonal Gaussian that depends on x."""
    mean, log_std = tf.split(perceptron(w, name, x), 2)
    return mean, tf.exp(tf.minimum(tf.maximum(log_std, bounds[0]), bounds[1]))


def log_gaussian(x: tf.Tensor, mean: tf.Tensor, std: tf.Tensor) -> tf.Tensor:
    """The log density of a diagonal Gaussian, nats."""
    by_column = -(((x - mean) / std) ** 2) / 2.0 - tf.math.log(std * math.sqrt(2.0 * math.pi))
    return tf.reduce_sum(by_column)


def log_squashed(u: tf.Tensor, mean: tf.Tensor, std: tf.Tensor) -> tf.Tensor:
    """The log density of the action a = tanh(u), u Gaussian (SAC, appendix C), nats."""
    # da / du = 1 - tanh(u)^2 = 1 / cosh(u)^2; the second form has digits left at large u.
    return log_gaussian(u, mean, std) + 2.0 * tf.reduce_sum(tf.math.log(tf.cosh(u)))


def before_squashing(action: np.ndarray) -> np.ndarray:
    """The u of a stored action; one on its bound is taken a millionth inside."""
    return np.arctanh(np.clip(action, -1.0 + 1e-6, 1.0 - 1e-6))


def act(w: Weights, state: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """An action of the policy; with noise 0 its mean action, which is used at test."""
    mean, std = gaussian(w, "policy", tf.constant(state), POLICY_BOUNDS)
    return tf.tanh(mean + std * noise).numpy()


def q_values(w: Weights, state: tf.Tensor, critic_input: tf.Tensor) -> list[tf.Tensor]:
    """Q_1(s, a) and Q_2(s, a); `critic_input` is the action or the slate features."""
    values = []
    for name in ("critics/0", "critics/1"):
        if f"{name}/weights" in w:  # bilinear: (1, s) W (1, a)^T
            left, right = (tf.concat([[1.0], x], axis=0) for x in (state, critic_input))
            values.append(tf.reduce_sum(left[:, None] * w[f"{name}/weights"] * right))
        else:
            values.append(perceptron(w, name, tf.concat([state, critic_input], axis=0))[0])
    return values


def q_of_both(values: Sequence[tf.Tensor], numbers: Any) -> tf.Tensor:
    """What eqs 11 and 13 take of the two: the lower, or their mean."""
    if numbers.target_q == "mean":
        return (values[0] + values[1]) / 2.0
    return tf.minimum(values[0], values[1])


def slate_features(
    proto: tf.Tensor, items: np.ndarray, size: int, softness: float
) -> tf.Tensor:
    """Features of the items that a proto-action points at, side by side.

    Forwards the best items by their inner product with it; backwards each place is a softmax
    over the items that are left (a straight-through estimator).

    Args:
      proto: the proto-action, float [D].
      items: float [m, D].
      size: items in a slate.
      softness: of the softmax, in scores.
    """
    left, places = list(range(len(items))), []
    for _ in range(size):
        scores = tf.linalg.matvec(tf.constant(items[left]), proto)
        best = int(tf.argmax(scores))
        exponents = tf.exp((scores - scores[best]) / softness)
        soft = tf.linalg.matvec(items[left].T, exponents / tf.reduce_sum(exponents))
        places.append(items[left[best]] + soft - tf.stop_gradient(soft))
        del left[best]
    return tf.concat(places, axis=0)


# --------------------------------------------------------------------------------------------
# The losses, eqs 10-15.


class Row(NamedTuple):
    """A transition and its random draws.

    Attributes:
      state: s, float [O].
      action: a, or the proto-action that selected items, float [D], in (-1, 1).
      critic_input: the action as input of the critics, float [K].
      reward: r, the simulator's reward.
      next_state: s', float [O].
      discount: 0 where the session ended, else 1.
      own_next: whether s' is of the same user.
      weight: importance weight.
      noise: standard normal numbers of a fresh action, float [D].
      next_noise: of the forward model's s', float [O].
      items: features of the candidates, float [m, D]; None where actions are continuous.
    """

    state: np.ndarray
    action: np.ndarray
    critic_input: np.ndarray
    reward: float
    next_state: np.ndarray
    discount: float
    own_next: bool
    weight: float
    noise: np.ndarray
    next_noise: np.ndarray
    items: np.ndarray | None


def log_inverse(
    w: Weights, state: np.ndarray, next_state: tf.Tensor, u: tf.Tensor
) -> tf.Tensor:
    """log p_xi(a|s', s) of a = tanh(u), nats; the network reads s and s' - s."""
    inputs = tf.concat([state, next_state - state], axis=0)
    return log_squashed(u, *gaussian(w, "inverse/gaussian", inputs, MODEL_BOUNDS))


def forward_gaussian(
    w: Weights, state: np.ndarray, action: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and standard deviation of s' - s under P_eta(s'|s, a)."""
    inputs = tf.concat([state, action], axis=0)
    return gaussian(w, "forward/gaussian", inputs, MODEL_BOUNDS)


class Losses(NamedTuple):
    """One loss for each part; None for an absent part."""

    q: tf.Tensor
    value: tf.Tensor
    policy: tf.Tensor
    temperature: tf.Tensor | None
    inverse: tf.Tensor | None
    forward: tf.Tensor | None


def losses(
    w: Weights, batch: Sequence[Row], numbers: Any, slate: int = 1, softness: float = 1.0
) -> Losses:
    """All losses of a batch; each is the mean over all of its rows of weight times term.

    Args:
      w: weights.
      batch: B rows.
      numbers: the configuration.
      slate: items in a slate, where rows have items.
      softness: see `slate_features`.
    """
    has_inverse = any(name.startswith("inverse/") for name in w)
    has_forward = any(name.startswith("forward/") for name in w)
    beta = numbers.beta
    # Faithful: beta weighs all of g, as printed. Else eq 15's temperature weighs -log pi.
    entropy_weight = beta if numbers.mode == "faithful" else tf.exp(w["log_temperature"])
    terms: dict[str, list] = {part: [] for part in Losses._fields}

    # Eq 14: log p_xi of the stored actions. A row whose s' is another user's is left out of it,
    # and has the mean of the others in eq 11.
    stored = {
        k: log_inverse(w, row.state, row.next_state, before_squashing(row.action))
        for k, row in enumerate(batch)
        if has_inverse and row.own_next
    }
    mean_log_inverse = tf.add_n(list(stored.values())) / len(stored) if stored else 0.0

    for k, row in enumerate(batch):
        # A fresh action from the policy.
        mean, std = gaussian(w, "policy", tf.constant(row.state), POLICY_BOUNDS)
        u = mean + std * row.noise
        log_policy = log_squashed(u, mean, std)
        action = tf.tanh(u)
        critic_input = action
        if row.items is not None:
            critic_input = slate_features(action, row.items, slate, softness)
        q = q_of_both(q_values(w, tf.constant(row.state), critic_input), numbers)

        # beta g(s, a), eq 12.
        if not has_inverse:
            log_inverse_term = 0.0
        elif has_forward:
            change, spread = forward_gaussian(w, row.state, action)
            next_state = row.state + change + spread * row.next_noise
            log_inverse_term = log_inverse(w, row.state, next_state, u)
        else:
            log_inverse_term = tf.stop_gradient(stored.get(k, mean_log_inverse))
        bonus = beta * log_inverse_term - entropy_weight * log_policy

        # Eq 13, eq 11 and eq 15.
        terms["policy"].append(-row.weight * (q + bonus))
        v = perceptron(w, "value", tf.constant(row.state))[0]
        terms["value"].append(row.weight * (v - tf.stop_gradient(q + bonus)) ** 2)
        if numbers.mode != "faithful":
            target_entropy = numbers.target_entropy * len(row.action)
            excess = tf.stop_gradient(log_policy + target_entropy)
            terms["temperature"].append(-row.weight * tf.exp(w["log_temperature"]) * excess)

        # Eq 10, for both critics.
        target = numbers.reward_scale * row.reward
        if row.own_next:
            if numbers.exploration == "kl":
                features, next_features = (
                    hidden_features(w, "target_value", tf.constant(s))
                    for s in (row.state, row.next_state)
                )
                target -= beta * tf.reduce_sum((features - next_features) ** 2) / 2.0
            next_value = perceptron(w, "target_value", tf.constant(row.next_state))[0]
            target += numbers.discount * row.discount * next_value
        target = tf.stop_gradient(target)
        for q in q_values(w, tf.constant(row.state), tf.constant(row.critic_input)):
            terms["q"].append(row.weight * (q - target) ** 2)

        # Maximum likelihood of the two models.
        if row.own_next and has_inverse:
            terms["inverse"].append(-row.weight * stored[k])
        if row.own_next and has_forward:
            log_forward = log_gaussian(
                tf.constant(row.next_state - row.state),
                *forward_gaussian(w, row.state, tf.constant(row.action)),
            )
            terms["forward"].append(-row.weight * log_forward)
    means = {part: tf.add_n(x) / len(batch) if x else None for part, x in terms.items()}
    for name in w:
        if name.startswith("critics/"):
            means["q"] += numbers.critic_decay * tf.reduce_sum(w[name] ** 2)
    return Losses(**means)


PARTS = {
    "q": "critics/",
    "value": "value/",
    "policy": "policy/",
    "temperature": "log_temperature",
    "inverse": "inverse/",
    "forward": "forward/",
}


def gradients(
    w: Weights, batch: Sequence[Row], numbers: Any, slate: int = 1, softness: float = 1.0
) -> tuple[Losses, dict[str, np.ndarray]]:
    """The losses, and for every weight the gradient of its part's loss."""
    w = {name: tf.convert_to_tensor(x, tf.float64) for name, x in w.items()}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(w)
        batch_losses = losses(w, batch, numbers, slate, softness)
    by_name = {}
    for part, prefix in PARTS.items():
        variables = {name: x for name, x in w.items() if name.startswith(prefix)}
        loss = getattr(batch_losses, part)
        if loss is not None:
            by_name |= tape.gradient(loss, variables, unconnected_gradients="zero")
    return batch_losses, {name: gradient.numpy() for name, gradient in by_name.items()}


class Adam:
    """Adam (Kingma and Ba, 2015), epsilon as in its section 2.

    Args:
      weights: the updated weights, float64.
      rate: the learning rate.
    """

    BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7

    def __init__(self, weights: Mapping[str, np.ndarray], rate: float):
        self.rate, self.step = rate, 0
        self.first = {name: np.zeros_like(x) for name, x in weights.items()}
        self.second = {name: np.zeros_like(x) for name, x in weights.items()}

    def update(
        self, weights: Mapping[str, np.ndarray], gradient: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The weights after one step."""
        self.step += 1
        after = {}
        for name, x in weights.items():
            g = gradient[name]
            self.first[name] = self.BETA_1 * self.first[name] + (1 - self.BETA_1) * g
            self.second[name] = self.BETA_2 * self.second[name] + (1 - self.BETA_2) * g**2
            rate = self.rate * math.sqrt(1 - self.BETA_2**self.step)
            rate /= 1 - self.BETA_1**self.step
            after[name] = x - rate * self.first[name] / (
                np.sqrt(self.second[name]) + self.EPSILON
            )
        return after


def soft_update(target: np.ndarray, online: np.ndarray, tau: float) -> np.ndarray:
    """psi' <- tau psi + (1 - tau) psi' (below eq 15)."""
    return tau * online + (1.0 - tau) * target


# --------------------------------------------------------------------------------------------
# Empowerment of one state of a discrete world, eqs 6-8.


def mutual_information(channel: np.ndarray, source: np.ndarray) -> float:
    """I[a; s'|s] = E[log p(a|s', s) / pi_e(a|s)], nats.

    Args:
      channel: P(s'|s, a), float [A, S].
      source: pi_e(a|s), float [A].
    """
    total = 0.0
    for a, s in np.ndindex(channel.shape):
        if source[a] * channel[a, s] > 0:
            reached = sum(source[b] * channel[b, s] for b in range(len(source)))
            inverse = channel[a, s] * source[a] / reached  # eq 8
            total += source[a] * channel[a, s] * math.log(inverse / source[a])  # eq 7
    return total


# --------------------------------------------------------------------------------------------
# Counterfactual augmentation, Algorithm 1, and its threshold, eq 16.


def adjacency(influence: np.ndarray, actions: set[int], threshold: float) -> np.ndarray:
    """Which slots are linked, bool [N, N].

    Args:
      influence: of slot i on slot j of the next state, float [N, N].
      actions: the action slots, which no slot influences.
      threshold: threshold of the mean of both directions.
    """
    onto = np.array(influence, np.float64)
    onto[:, list(actions)] = 0.0
    return ((onto + onto.T) / 2.0 > threshold) | np.eye(len(onto), dtype=bool)


def components(linked: np.ndarray) -> list[frozenset[int]]:
    """The connected components of a graph."""
    components_so_far: list[frozenset[int]] = []
    for start in range(len(linked)):
        if not any(start in component for component in components_so_far):
            reached, frontier = {start}, [start]
            while frontier:
                slot = frontier.pop()
                new = {int(j) for j in np.flatnonzero(linked[slot])} - reached
                reached |= new
                frontier += new
            components_so_far.append(frozenset(reached))
    return components_so_far


def is_union(slots: frozenset[int], parts: Iterable[frozenset[int]]) -> bool:
    """Whether a set has all or none of the slots of each component."""
    return all(part <= slots or not part & slots for part in parts)


def exchangeable(
    first: np.ndarray, second: np.ndarray, actions: set[int]
) -> set[frozenset[int]]:
    """The sets of slots that two steps may exchange: m_1 and m_2 of Algorithm 1 agree.

    A set is a union of components in both graphs without an action slot; it is neither empty
    nor the whole state.

    Args:
      first: links of the first step, bool [N, N].
      second: links of the second.
      actions: the action slots.
    """
    state = frozenset(range(len(first))) - actions

    def unions(linked: np.ndarray) -> set[frozenset[int]]:
        free = [part for part in components(linked) if not part & actions]
        selections = itertools.product((False, True), repeat=len(free))
        return {frozenset().union(*itertools.compress(free, which)) for which in selections}

    return (unions(first) & unions(second)) - {frozenset(), state}


def exchanged(
    first: np.ndarray,
    second: np.ndarray,
    exchanged_slots: frozenset[int],
    slots: Sequence[Sequence[int]],
) -> np.ndarray:
    """The first state with the columns of the exchanged slots from the second."""
    state = first.copy()
    for slot in exchanged_slots:
        state[list(slots[slot])] = second[list(slots[slot])]
    return state


def decay(progress: float, numbers: Any) -> float:
    """lambda_d: from 1 geometrically to sigma / T_max while the threshold rises."""
    lowest = min(numbers.threshold_start / numbers.threshold_max, 1.0)
    risen = min(progress / max(numbers.threshold_ramp, 1e-6), 1.0)
    return lowest**risen


def threshold(progress: float, numbers: Any) -> float:
    """T of eq 16.

    Args:
      progress: share of the training episodes that are over.
      numbers: the configuration.
    """
    rising = numbers.threshold_start / decay(progress, numbers)
    return rising if rising <= numbers.threshold_max else numbers.threshold_max


def is_informative(reward: float, limit: float) -> bool:
    """Algorithm 2, line 8: r >= T and r > 0."""
    return reward >= limit and reward > 0


# --------------------------------------------------------------------------------------------
# The network that learns the graph: set attention (Pitis et al. 2020, arXiv:2007.02863).


class AttentionRow(NamedTuple):
    """A transition: s, a and s', and its weight."""

    state: np.ndarray
    action: np.ndarray
    next_state: np.ndarray
    weight: float


def head_net(w: Weights, name: str, head: int, x: tf.Tensor) -> tf.Tensor:
    """One head's small network, applied to every row of x float [N, n]."""
    layers = sum(key.startswith(f"{name}/kernels/") for key in w)
    for k in range(layers):
        x = tf.nn.relu(x) if k else x
        x = x @ w[f"{name}/kernels/{k}"][head] + w[f"{name}/biases/{k}"][head]
    return x


def attend(
    w: Weights, row: AttentionRow, slots: Sequence[Sequence[int]]
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The predicted s', float [S], and each block's attention of slot i on slot j, [N, N].

    Args:
      w: weights.
      row: a transition.
      slots: columns of [s, a] in each of the N slots, those of the action last.
    """
    columns = np.concatenate([row.state, row.action])
    x = np.zeros([len(slots), len(columns)])
    for n, slot_columns in enumerate(slots):
        x[n, list(slot_columns)] = columns[list(slot_columns)]
    x, maps = tf.constant(x), []
    blocks = len({name.split("/")[1] for name in w if name.startswith("blocks/")})
    for block in range(blocks):
        name = f"blocks/{block}"
        heads = len(w[f"{name}/query/kernels/0"])
        outputs, attentions = [], []
        for head in range(heads):
            query, key, embedding = (
                head_net(w, f"{name}/{role}", head, x) for role in ("query", "key", "embedding")
            )
            attention = tf.nn.softmax(query @ tf.transpose(key))  # [N, N], rows sum to 1
            attentions.append(attention)
            outputs.append(attention @ embedding)
        x = tf.add_n(outputs) / heads
        maps.append(tf.add_n(attentions) / heads)
    prediction = head_net(w, "readout", 0, x)  # [N, S]
    slot_of = {column: n for n, slot_columns in enumerate(slots) for column in slot_columns}
    return tf.stack([prediction[slot_of[c], c] for c in range(len(row.state))]), maps


def influence(maps: Sequence[tf.Tensor]) -> np.ndarray:
    """Influence of slot i on slot j of the next state: the product of the transposed maps."""
    product = np.eye(len(maps[0]))
    for attention in maps:
        product = product @ np.transpose(attention)
    return product


def attention_loss(
    w: Weights, batch: Sequence[AttentionRow], slots: Sequence[Sequence[int]], sparsity: float
) -> tf.Tensor:
    """Mean square of the prediction's error, and a penalty on attention to other slots."""
    total, weights = 0.0, sum(row.weight for row in batch)
    for row in batch:
        prediction, maps = attend(w, row, slots)
        error = tf.reduce_mean((prediction - row.next_state) ** 2)
        self_attention = tf.add_n([tf.linalg.trace(m) for m in maps]) / (len(maps) * len(slots))
        total += row.weight * (error + sparsity * (1.0 - self_attention))
    return total / weights
