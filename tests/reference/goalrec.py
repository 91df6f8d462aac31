"""GoalRec in one file, written for reading: one state, one item and one goal at a time.

It follows Wang et al. (AAAI 2021) and, where the paper prints no formula or the project
departs from it, the section "Where we differ from the paper" of `tfgoalrec/README.md`. There
are no batches, masks or padding: an event that is not there is not in the list. Numbers are
float64, and TensorFlow is used for its automatic differentiation only.

Weights are a dictionary, name -> float64 tensor, under the names that a checkpoint of the
world model has. `numbers` is the method's configuration and `spec` the log's; their attributes
are read and nothing else of the project is used.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

Weights = Mapping[str, tf.Tensor]

# --------------------------------------------------------------------------------------------
# Measurements m_t = f(tau_{t:T}) (section "Measurement").


class Session(NamedTuple):
    """One session of the log: T steps, and what came before them.

    Attributes:
      item: the item of each step, int [T].
      feedback: raw units, float [T, F].
      exited: whether the user left after the last step.
      history: the events before the session, oldest first.
    """

    item: np.ndarray
    feedback: np.ndarray
    exited: bool
    history: list["Event"]


def measure(
    name: str, session: Session, t: int, columns: Sequence[str], item_vectors: np.ndarray
) -> list[float]:
    """One measurement of the steps t, t + 1, ... of a session, in raw units.

    Args:
      name: its declaration: `click@0`, `click@1..3`, `click@4..`, `step@1..`, `exit@0`,
        `mean(click)` or `embedding(click)`.
      session: T steps.
      t: the first step that counts.
      columns: names of the feedback columns.
      item_vectors: frozen, float [N + 1, D].
    """
    steps = len(session.item)

    def value(column: str, k: int) -> float:
        if column == "step":
            return 1.0
        if column == "exit":
            return float(session.exited and k == steps - 1)
        return float(session.feedback[k, columns.index(column)])

    if call := re.fullmatch(r"(mean|embedding)\((\w+)\)", name):
        future = range(t, steps)
        if call[1] == "mean":
            return [sum(value(call[2], k) for k in future) / len(future)]
        vectors = [item_vectors[session.item[k]] for k in future if value(call[2], k) > 0]
        return list(np.mean(vectors, axis=0)) if vectors else [0.0] * item_vectors.shape[1]
    column, window = name.split("@")
    first, dots, last = window.partition("..")
    end = int(first) if not dots else int(last) if last else steps
    return [sum(value(column, k) for k in range(t + int(first), min(t + end, steps - 1) + 1))]


def measurements(
    names: Sequence[str], session: Session, columns: Sequence[str], item_vectors: np.ndarray
) -> np.ndarray:
    """m_t of every step in raw units, float [T, M]."""
    return np.array(
        [
            np.concatenate([measure(n, session, t, columns, item_vectors) for n in names])
            for t in range(len(session.item))
        ]
    )


def statistics(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of measurements over all training steps, float [M] each.

    A constant column has no deviation, and its root mean square replaces it, or 1 if it is 0.
    """
    mean, std = raw.mean(axis=0), raw.std(axis=0)
    size = np.sqrt((raw**2).mean(axis=0))
    return mean, np.where(std > 1e-6 * size, std, np.where(size > 0, size, 1.0))


# --------------------------------------------------------------------------------------------
# Goals: unit vectors over standardised measurements (sections "Goal" and "Hindsight").


def unit(goal: np.ndarray) -> np.ndarray:
    """A vector scaled to length 1."""
    return goal / np.linalg.norm(goal)


def goal_of_weights(
    weights: Mapping[str, float], columns: Sequence[str], std: np.ndarray
) -> np.ndarray:
    """The goal of a weighted sum of raw measurements: a raw unit is 1 / std standardised."""
    return unit(np.array([weights.get(column, 0.0) for column in columns]) * std)


def random_goal(normal: np.ndarray, amounts: bool, columns: Sequence[str]) -> np.ndarray:
    """A goal for exploration.

    Args:
      normal: M standard normal numbers.
      amounts: whether amounts have positive weights, exits negative ones and embeddings
        none; else every column has any sign.
      columns: names of the M columns.
    """
    if not amounts:
        return unit(normal)

    def sign(column: str) -> float:
        return 0.0 if column.startswith("embedding") else -1.0 if "exit" in column else 1.0

    return unit(np.abs(normal) * [sign(column) for column in columns])


def relabelled(goal: np.ndarray, outcome: np.ndarray, hindsight: bool) -> np.ndarray:
    """The goal that a step is trained under: g, or in hindsight g' = m_0 / |m_0|.

    A session whose m_0 is zero has no hindsight goal.
    """
    return unit(outcome) if hindsight and np.linalg.norm(outcome) > 1e-6 else goal


# --------------------------------------------------------------------------------------------
# The state S(s): DIEN (Zhou et al., AAAI 2019) with the latest interest as the query.


class Event(NamedTuple):
    """One event of a history: the item, its feedback in raw units, float [F]."""

    item: int
    feedback: np.ndarray


class State(NamedTuple):
    """The latest events, oldest first, the last `step` of them from this session."""

    events: list[Event]
    step: int


class Encoded(NamedTuple):
    """S(s), float [S], and of every event its interest h_t and item embedding e_t."""

    state: tf.Tensor
    interests: list[tf.Tensor]
    embeddings: list[tf.Tensor]


def state_at(session: Session, t: int, length: int) -> State:
    """The state before step t: the latest `length` events."""
    steps = zip(session.item[:t], session.feedback[:t], strict=True)
    events = [*session.history, *(Event(int(item), feedback) for item, feedback in steps)]
    return State(events[-length:], t)


def product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """x float [n] times kernel float [n, m], float [m]."""
    return tf.linalg.matvec(kernel, x, transpose_a=True)


def inner(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """The inner product of two vectors."""
    return tf.reduce_sum(x * y)


def dense(w: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    """A fully connected layer, of x float [n]."""
    return product(x, w[f"{name}/kernel"]) + w[f"{name}/bias"]


def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    return tf.where(x > 0, x, 0.2 * x)


def sigmoid(x: tf.Tensor) -> tf.Tensor:
    return 1.0 / (1.0 + tf.exp(-x))


def recurrent_step(
    w: Weights, name: str, x: tf.Tensor, h: tf.Tensor, attention: tf.Tensor
) -> tf.Tensor:
    """One step of a GRU (DIEN eqs 3-4), or with an attention below 1 of an AUGRU (15-16)."""
    # The columns of all four weights are those of the update gate, the reset gate and the
    # candidate, side by side.
    of_x = product(x, w[f"{name}/kernel"]) + w[f"{name}/bias"]
    of_h = product(h, w[f"{name}/recurrent"]) + w[f"{name}/recurrent_bias"]
    update_x, reset_x, candidate_x = tf.split(of_x, 3)
    update_h, reset_h, candidate_h = tf.split(of_h, 3)
    update = attention * sigmoid(update_x + update_h)
    reset = sigmoid(reset_x + reset_h)
    candidate = tf.tanh(candidate_x + reset * candidate_h)
    return (1.0 - update) * h + update * candidate


def network_feedback(feedback: np.ndarray, spec: Any) -> np.ndarray:
    """Feedback as the network reads it: amounts in units of their scale, compressed."""
    return np.array(
        [
            math.log(1.0 + max(value, 0.0) / column.scale) if column.kind == "amount" else value
            for value, column in zip(map(float, feedback), spec.feedback, strict=True)
        ]
    )


def encode_state(w: Weights, state: State, numbers: Any, spec: Any) -> Encoded:
    """S(s) of one state."""
    count, units, width = len(state.events), numbers.units, numbers.embedding
    feedback = [network_feedback(event.feedback, spec) for event in state.events]
    embeddings = [w["item_embedding"][event.item] for event in state.events]
    in_session = [position >= count - state.step for position in range(count)]
    none, no_interest = tf.zeros([width], tf.float64), tf.zeros([units], tf.float64)

    # The interest extractor reads every event.
    interests, h = [], no_interest
    for e, f, inside in zip(embeddings, feedback, in_session, strict=True):
        event = tf.concat([e, f[0] * e, f, [float(inside)]], axis=0)
        h = recurrent_step(w, "tower/extractor", event, h, 1.0)
        interests.append(h)
    latest = h

    # The latest interest is the query. An average event has weight 1, and no event more, so
    # that the product with the update gate is a gate.
    query = product(latest, w["tower/attention/kernel"])
    exponents = [tf.exp(inner(h, query) / math.sqrt(units)) for h in interests]
    total = tf.add_n(exponents) if exponents else None
    attention = [tf.minimum(count * x / total, 1.0) for x in exponents]

    # The interest evolver reads the interests again, gated by the attention.
    evolved = no_interest
    for h, a in zip(interests, attention, strict=True):
        evolved = recurrent_step(w, "tower/evolver", h, evolved, a)

    clicks = sum(f[0] for f in feedback)
    session = [f for f, inside in zip(feedback, in_session, strict=True) if inside]
    parts = [
        evolved,
        latest,
        sum((f[0] * e for f, e in zip(feedback, embeddings, strict=True)), none)
        / max(clicks, 1.0),
        sum(embeddings, none) / max(count, 1),
        [state.step / spec.max_steps],
        np.mean(session, axis=0) if session else np.zeros(len(spec.feedback)),
    ]
    if numbers.crossed:
        columns = crossed_columns(state, numbers.crossed, spec)
        rows = tf.gather(w["tower/crossed/table"], columns)  # [K, D]
        parts.append(tf.reduce_sum(rows, axis=0) / math.sqrt(len(columns)))
    joined = tf.concat([tf.cast(part, tf.float64) for part in parts], axis=0)
    return Encoded(leaky_relu(dense(w, "tower/output", joined)), interests, embeddings)


def auxiliary_loss(
    w: Weights, states: Sequence[State], encoded: Sequence[Encoded], negatives: Sequence[int]
) -> tf.Tensor:
    """DIEN's eq 5: the interest separates the next clicked item from a random item.

    Args:
      w: weights.
      states: of the batch.
      encoded: the same, encoded.
      negatives: a random item for each state.

    Returns:
      The mean over all events of the batch whose next event is a click.
    """
    terms = []
    for state, code, negative in zip(states, encoded, negatives, strict=True):
        for t in range(len(state.events) - 1):
            if state.events[t + 1].feedback[0] > 0:
                predicted = dense(w, "tower/next_item", code.interests[t])
                real = inner(predicted, code.embeddings[t + 1])
                fake = inner(predicted, w["item_embedding"][negative])
                terms.append(-tf.math.log(sigmoid(real)) - tf.math.log(1.0 - sigmoid(fake)))
    return tf.add_n(terms) / len(terms) if terms else tf.zeros([], tf.float64)


# --------------------------------------------------------------------------------------------
# Crossed features: the state "expanded through the discretization and intersection".


def crossed_columns(state: State, buckets: int, spec: Any) -> list[int]:
    """The columns of the wide state that are 1: each feature, and each pair, hashed."""
    level = discretised(state, spec)
    first, second = np.triu_indices(len(level))
    factors = np.random.default_rng(30_000).integers(
        -(2**63), 2**63 - 1, [3, len(first)], np.int64
    )
    columns = []
    for k, (i, j) in enumerate(zip(first, second, strict=True)):
        by_first, by_second, shift = (int(factor) for factor in factors[:, k])
        mixed = (level[i] * by_first + level[j] * by_second + shift) % 2**64
        columns.append((mixed >> 32) * buckets >> 32)
    return columns


def discretised(state: State, spec: Any) -> list[int]:
    """The features before crossing; see the module `crossed` for the bins."""
    events = state.events[::-1]  # the latest first
    clicked = [float(event.feedback[0] > 0) for event in events]

    def share(values: Sequence[float]) -> int:
        mean = min(sum(values) / len(values), 1.0) if values else 0.0
        return math.ceil(round(mean * 9, 6))

    def count(number: float) -> int:
        return sum(number >= 2**k for k in range(9))

    def amount(value: float) -> int:
        return sum(value >= edge for edge in [1e-6, *(2.0**k for k in range(-5, 3))])

    ago = clicked.index(1.0) if 1.0 in clicked else spec.history_length
    session = clicked[: state.step]
    level = [count(state.step), count(len(events)), count(ago), count(sum(session))]
    level += [share(session)]
    level += [share(clicked[:window]) for window in (4, 8, 16, None)]
    for k, column in enumerate(spec.feedback[1:], start=1):
        values = [max(float(event.feedback[k]), 0.0) / column.scale for event in events]
        for window in (4, None):
            latest = values[:window]
            if column.kind == "binary":
                level.append(share(latest))
            else:
                level.append(amount(sum(latest) / len(latest) if latest else 0.0))
    # In base 3, of the four latest events: 0 none, 1 shown, 2 clicked.
    level.append(sum(int(1 + c) * 3**k for k, c in enumerate(clicked[:4])))
    items = [event.item for event in events]
    clicked_items = [item for item, c in zip(items, clicked, strict=True) if c]
    return level + (items + [0] * 4)[:4] + (clicked_items + [0] * 3)[:3]


# --------------------------------------------------------------------------------------------
# The world model M(s, a, g) = V(s, g) + A(s, g, a) (Figure 3).


def two_layers(w: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    return dense(w, f"{name}/1", leaky_relu(dense(w, f"{name}/0", x)))


def joint_code(w: Weights, state: tf.Tensor, goal: np.ndarray, numbers: Any) -> tf.Tensor:
    """[S(s), G(g)], float [S + G]."""
    goal = tf.constant(goal if numbers.use_goal else np.zeros_like(goal), tf.float64)
    return tf.concat([state, leaky_relu(two_layers(w, "goal_net", goal))], axis=0)


def value(w: Weights, joint: tf.Tensor) -> tf.Tensor:
    """V(s, g), float [M]."""
    return two_layers(w, "value_net", joint)


def item_vector(w: Weights, item: int, numbers: Any) -> tf.Tensor:
    """E(a), float [D]."""
    table = "item_embedding" if numbers.item_input == "trained" else "item_input"
    return two_layers(w, "item_net", w[table][item])


def advantage_of(w: Weights, joint: tf.Tensor, vector: tf.Tensor, numbers: Any) -> tf.Tensor:
    """A(s, g, a) of an action given as an item vector, float [M]."""
    vector = tf.concat([vector, [1.0]], axis=0)
    if numbers.advantage == "bilinear":
        flat = two_layers(w, "projection", joint)
        return tf.linalg.matvec(tf.reshape(flat, [-1, len(vector)]), vector)
    # A fully connected network of [S, G, E].
    kernel = tf.concat([w["state_half/0/kernel"], w["item_half/0/kernel"]], axis=0)
    hidden = product(tf.concat([joint, vector], axis=0), kernel) + w["state_half/0/bias"]
    return dense(w, "advantage_out/0", leaky_relu(hidden))


def advantage(w: Weights, joint: tf.Tensor, item: int, numbers: Any) -> tf.Tensor:
    """A(s, g, a) of an item as it is learned, float [M]."""
    learned = advantage_of(w, joint, item_vector(w, item, numbers), numbers)
    if numbers.item_effect:
        learned += numbers.item_effect * w["item_effect"][item]
    return learned


# --------------------------------------------------------------------------------------------
# Acting: Q(s, a, g) = g . M(s, a, g) (eqs 7-8), and the argmax over the items (eq 5).


class Calibration(NamedTuple):
    """Slopes of advantages, and the loss of later measurements at an exit.

    Attributes:
      slope: of each column, float [M], 0 to 1.
      columns: names of the M columns.
      mean: of each column in raw units, float [M].
      std: the same.
    """

    slope: np.ndarray
    columns: Sequence[str]
    mean: np.ndarray
    std: np.ndarray


def calibrated(v: np.ndarray, a: np.ndarray, of: Calibration) -> np.ndarray:
    """The advantage that ranks, in standardised units.

    A window after this step that counts for a share `slope` loses for the rest what an exit
    takes away: slope A - (1 - slope) A_exit V / (1 - V_exit), V and the exits in raw units.
    """
    raw_v = of.mean + of.std * v
    exits = [j for j, column in enumerate(of.columns) if column in ("exit@0", "exit@0..0")]
    v_exit = float(np.clip(sum(raw_v[j] for j in exits), 0.0, 0.9))
    a_exit = sum(of.slope[j] * of.std[j] * a[j] for j in exits)
    ranked = of.slope * a
    for j, column in enumerate(of.columns):
        if re.fullmatch(r"\w+@[1-9]\d*(\.\.\d*)?", column):
            lost = (1.0 - of.slope[j]) * a_exit * raw_v[j] / (1.0 - v_exit)
            ranked[j] -= lost / of.std[j]
    return ranked


def q_values(
    w: Weights, state: State, goal: np.ndarray, numbers: Any, spec: Any, of: Calibration
) -> np.ndarray:
    """Q(s, a, g) of every candidate item 1, 2, ..., float [A]."""
    joint = joint_code(w, encode_state(w, state, numbers, spec).state, goal, numbers)
    v = value(w, joint).numpy()
    items = range(1, spec.num_candidates + 1)
    learned = [advantage(w, joint, item, numbers).numpy() for item in items]
    return np.array([goal @ (v + calibrated(v, a, of)) for a in learned])


def greedy_action(q: np.ndarray) -> int:
    """The item with the largest Q; items count from 1."""
    return int(np.argmax(q)) + 1


# --------------------------------------------------------------------------------------------
# Learning: eq 9, the loss of V, DIEN's auxiliary loss, and one update.


class Step(NamedTuple):
    """<s_t, a_t, g, m_t> with its random draws.

    Attributes:
      state: s_t.
      item: a_t.
      goal: g, float [M].
      measurement: m_t, standardised, float [M].
      dropout: what dropout multiplies S(s) by, float [S].
      negative: a random item, for the auxiliary loss.
    """

    state: State
    item: int
    goal: np.ndarray
    measurement: np.ndarray
    dropout: np.ndarray
    negative: int


class Losses(NamedTuple):
    """The minimised loss and its parts; scalars."""

    loss: tf.Tensor
    model_loss: tf.Tensor
    value_loss: tf.Tensor
    auxiliary_loss: tf.Tensor


def losses(
    w: Weights, batch: Sequence[Step], sizes: Sequence[int], numbers: Any, spec: Any
) -> Losses:
    """The losses of a batch.

    Args:
      w: weights.
      batch: B steps.
      sizes: columns of each of the J measurements.
      numbers: the configuration.
      spec: the log's.
    """
    log_variance = w["log_variance"]  # log sigma_j^2
    ends = np.cumsum(sizes)
    encoded, model_terms, value_terms = [], [], []
    for step in batch:
        code = encode_state(w, step.state, numbers, spec)
        encoded.append(code)
        joint = joint_code(w, code.state * step.dropout, step.goal, numbers)
        v = value(w, joint)
        # V has no gradient in eq 9: A explains only what state and goal do not.
        m = tf.stop_gradient(v) + advantage(w, joint, step.item, numbers)
        for j, (end, size) in enumerate(zip(ends, sizes, strict=True)):
            columns = slice(end - size, end)
            target = step.measurement[columns]
            # A vector is one measurement: the square of its error by its width.
            error = tf.reduce_sum((m[columns] - target) ** 2) / size
            model_terms.append(error / tf.exp(log_variance[j]) + log_variance[j])
            v_error = tf.reduce_sum((v[columns] - target) ** 2) / size
            value_terms.append(v_error / tf.exp(tf.stop_gradient(log_variance[j])))
    model_loss = tf.add_n(model_terms) / len(batch)
    value_loss = tf.add_n(value_terms) / len(batch)
    negatives = [step.negative for step in batch]
    auxiliary = auxiliary_loss(w, [step.state for step in batch], encoded, negatives)
    total = (
        model_loss + numbers.value_weight * value_loss + numbers.auxiliary_weight * auxiliary
    )
    return Losses(total, model_loss, value_loss, auxiliary)


def gradients(
    w: Weights, batch: Sequence[Step], sizes: Sequence[int], numbers: Any, spec: Any
) -> tuple[Losses, dict[str, np.ndarray]]:
    """The losses, and the gradient of their sum by every weight, 0 where it has none."""
    w = {name: tf.convert_to_tensor(x, tf.float64) for name, x in w.items()}
    with tf.GradientTape() as tape:
        tape.watch(w)
        batch_losses = losses(w, batch, sizes, numbers, spec)
    by_name = tape.gradient(batch_losses.loss, w, unconnected_gradients="zero")
    return batch_losses, {
        name: tf.convert_to_tensor(gradient).numpy() for name, gradient in by_name.items()
    }


class Adam:
    """Adam with decoupled weight decay and the global norm of the gradients clipped.

    Args:
      weights: what it updates, float64.
      numbers: the configuration.
    """

    BETA_1, BETA_2, EPSILON, CLIP = 0.9, 0.999, 1e-7, 10.0

    def __init__(self, weights: Mapping[str, np.ndarray], numbers: Any):
        self.numbers, self.step = numbers, 0
        self.first = {name: np.zeros_like(x) for name, x in weights.items()}
        self.second = {name: np.zeros_like(x) for name, x in weights.items()}

    def update(
        self,
        weights: Mapping[str, np.ndarray],
        gradient: Mapping[str, np.ndarray],
        norm: float | None = None,
    ) -> dict[str, np.ndarray]:
        """The weights after one step.

        Args:
          weights: before it.
          gradient: of each of them.
          norm: what is clipped to `CLIP`; the global norm by default.
        """
        rate, self.step = self.numbers.learning_rate, self.step + 1
        if norm is None:
            norm = math.sqrt(sum(float(np.sum(g**2)) for g in gradient.values()))
        after = {}
        for name, x in weights.items():
            g = gradient[name] * min(1.0, self.CLIP / norm)
            self.first[name] = self.BETA_1 * self.first[name] + (1 - self.BETA_1) * g
            self.second[name] = self.BETA_2 * self.second[name] + (1 - self.BETA_2) * g**2
            mean = self.first[name] / (1 - self.BETA_1**self.step)
            square = self.second[name] / (1 - self.BETA_2**self.step)
            # Epsilon as Kingma and Ba's section 2 has it, before the bias correction.
            epsilon = self.EPSILON / math.sqrt(1 - self.BETA_2**self.step)
            decay = 0.0 if name == "log_variance" else self.numbers.weight_decay
            after[name] = x - rate * (decay * x + mean / (np.sqrt(square) + epsilon))
        bound = self.numbers.log_variance_bound
        after["log_variance"] = np.clip(after["log_variance"], -bound, bound)
        return after


def averaged(
    average: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], t: int, decay: float
) -> dict[str, np.ndarray]:
    """The averaged weights, which act, after update t = 1, 2, ...; short-lived at first."""
    keep = min(decay, (1 + t) / (10 + t))
    return {name: keep * average[name] + (1 - keep) * x for name, x in weights.items()}


# --------------------------------------------------------------------------------------------
# The actor of eq 6, for continuous actions: a point in the box of the item vectors.


def actor_action(actor: Weights, joint: tf.Tensor) -> tf.Tensor:
    """pi(s, g), float [D], with one hidden layer."""
    hidden = leaky_relu(dense(actor, "layers/0", joint))
    return actor["centre"] + actor["half_width"] * tf.tanh(dense(actor, "layers/1", hidden))


def actor_loss(
    w: Weights,
    actor: Weights,
    states: Sequence[State],
    goals: np.ndarray,
    numbers: Any,
    spec: Any,
) -> tf.Tensor:
    """-J of eq 6 with U(m, g) = g . m: the mean of -g . M(s, pi(s, g), g)."""
    terms = []
    for state, goal in zip(states, goals, strict=True):
        joint = joint_code(w, encode_state(w, state, numbers, spec).state, goal, numbers)
        m = value(w, joint) + advantage_of(w, joint, actor_action(actor, joint), numbers)
        terms.append(-inner(tf.constant(goal), m))
    return tf.add_n(terms) / len(terms)
