"""RecSim's three environments, batched: Ie et al. 2019, arXiv:1909.04847.

Sampling is separate from deterministic formulas: `transition` and `click_probabilities` of each
class are the original's formulas, and tests compare them with the original in the same states.
docs/public_simulators.md summarises the dynamics. Documents are resampled at every step
(`resample_documents=True` of the original).
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from tfrec.environments import contract
from tfrec.environments.contract import Policy, Timestep
from tfrec.ops import selection
from tfrec.options import Options, option

CLUSTERS = 20  # of interest evolution's documents
VIDEO_MINUTES = 4.0
_BUDGET = 200.0  # minutes
_NO_CLICK = 2.0  # mass 1 - min_normalizer -1
_NO_CLICK_COST = 0.5  # minutes
_QUALITY_GAIN = 0.9 / 3.4  # of a watched minute, in minutes of budget for a unit of quality
_QUALITY_SPREAD = 0.1
_INTEREST_STEP = 0.3

# Mean quality of each cluster: 14 of them from -3 to 0, six from 0 to 3.
CLUSTER_QUALITY = np.concatenate([np.linspace(-3, 0, 14), np.linspace(0, 3, 6)])


def _split(seed: tf.Tensor, parts: int) -> list[tf.Tensor]:
    return tf.unstack(tf.random.experimental.stateless_split(seed, parts))


def _categorical(probabilities: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """The class that a uniform number falls into, [B, n] and [B] -> int32 [B]."""
    edges = tf.cumsum(probabilities, axis=-1)[:, :-1]  # the last class has the remainder
    return tf.reduce_sum(tf.cast(uniform[:, None] >= edges, tf.int32), axis=-1)


@dataclasses.dataclass(frozen=True)
class InterestEvolutionConfig(Options):
    """Interest evolution's sizes and its reward."""

    candidates: int = option(10, "documents to choose from at a step", at_least=1)
    slate: int = option(2, "documents in a recommendation", at_least=1)
    reward: Literal["watch_time", "clicks"] = option(
        "watch_time", "reward of a step: minutes watched, as in the original, or clicks"
    )


class InterestEvolutionState(NamedTuple):
    """A user with 20 interests and the documents to choose from.

    Attributes:
      interests: float32 [B, 20] in [-1, 1]; observable.
      budget: float32 [B], minutes left; hidden.
      cluster: int32 [B, m], of each candidate; observable.
    """

    interests: tf.Tensor
    budget: tf.Tensor
    cluster: tf.Tensor


class InterestEvolution(contract.Simulator):
    """Documents of high quality return part of the budget; watching changes interests.

    A policy observes the interests and the cluster (one-hot) of each candidate. The quality of
    a document within its cluster is hidden and sampled when it is watched.
    """

    catalogue: tf.Tensor | None = None
    feature_columns: np.ndarray | None = np.arange(CLUSTERS)[None]  # the interests

    def __init__(self, config: InterestEvolutionConfig = InterestEvolutionConfig()):  # noqa: B008  frozen
        _check_sizes(config.candidates, config.slate)
        self.config = config
        self.slate_size = config.slate
        self.observation_size = self.action_size = CLUSTERS

    def _documents(self, batch: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        shape = [batch, self.config.candidates]
        return tf.random.stateless_uniform(shape, seed, 0, CLUSTERS, tf.int32)

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> InterestEvolutionState:
        of_user, of_documents = _split(seed, 2)
        interests = tf.random.stateless_uniform([batch, CLUSTERS], of_user, -1.0, 1.0)
        budget = tf.fill([batch], _BUDGET)
        return InterestEvolutionState(interests, budget, self._documents(batch, of_documents))

    def observation(self, state: InterestEvolutionState) -> tf.Tensor:
        return state.interests

    def candidates(self, state: InterestEvolutionState) -> tf.Tensor:
        return tf.one_hot(state.cluster, CLUSTERS)

    def click_probabilities(
        self, state: InterestEvolutionState, action: tf.Tensor
    ) -> tf.Tensor:
        """Click probability of each document in the slate, then of no click: [B, k + 1]."""
        cluster = tf.gather(state.cluster, action, batch_dims=1)  # [B, k]
        interest = tf.gather(state.interests, cluster, batch_dims=1)  # [B, k]
        nothing = tf.fill([tf.shape(action)[0], 1], _NO_CLICK)
        weight = tf.concat([interest + 1.0, nothing], axis=1)
        return weight / tf.reduce_sum(weight, axis=1, keepdims=True)

    def transition(
        self,
        state: InterestEvolutionState,
        action: tf.Tensor,
        choice: tf.Tensor,
        flip: tf.Tensor,
        noise: tf.Tensor,
    ) -> contract.Outcome:
        """The deterministic transition given random numbers; the candidates do not change.

        Args:
          state: state of B users.
          action: int32 [B, k], positions among the candidates.
          choice: int32 [B], position of the clicked document in the slate; k for none.
          flip: float32 [B] in [0, 1): the interest grows if it is below (interest + 1) / 2.
          noise: float32 [B], noise of the clicked document's quality, in standard deviations.
        """
        clicked = tf.cast(choice < self.slate_size, tf.float32)
        cluster = tf.gather(state.cluster, action, batch_dims=1)  # [B, k]
        topic = tf.reduce_sum(
            tf.one_hot(cluster, CLUSTERS) * tf.one_hot(choice, self.slate_size)[..., None], 1
        )  # [B, 20], zeros without a click
        quality = tf.linalg.matvec(topic, tf.constant(CLUSTER_QUALITY, tf.float32))
        quality += _QUALITY_SPREAD * noise
        interest = tf.reduce_sum(state.interests * topic, axis=1)  # [B]
        change = _INTEREST_STEP * (1.0 - tf.abs(interest)) * (1.0 - interest)
        change = tf.where(flip < (interest + 1.0) / 2.0, change, -change)
        interests = tf.clip_by_value(state.interests + change[:, None] * topic, -1.0, 1.0)
        watched = clicked * tf.minimum(state.budget, VIDEO_MINUTES)
        spent = watched * (1.0 - _QUALITY_GAIN * quality)
        budget = state.budget - tf.where(clicked > 0, spent, _NO_CLICK_COST)
        return contract.Outcome(
            state._replace(interests=interests, budget=budget),
            watched if self.config.reward == "watch_time" else clicked,
            clicked,
            tf.ones_like(clicked) * self.slate_size,
            budget <= 0.0,
        )

    def controls(self) -> dict[str, Callable[[], tuple[contract.Simulator, Policy]]]:
        plain = InterestEvolution(self.config)  # the same users without a subclass's columns
        return {
            "random": lambda: (plain, contract.random_policy(plain)),
            "top_interest": lambda: (plain, top_interest(plain)),
            "top_quality": lambda: (plain, top_quality(plain)),
            "heuristic": lambda: (plain, interest_times_quality(plain)),
        }

    def structure(self) -> contract.Structure:
        """One factor for each cluster: an action influences interests in its clusters.

        This is exact for interests: the click depends only on the interests in the clusters of
        the slate, and only the interest in the watched cluster changes.
        """
        return self._structure([(c,) for c in range(CLUSTERS)])

    def _structure(
        self, parts: list[tuple[int, ...]], also: tuple[int, ...] = ()
    ) -> contract.Structure:
        """Factors of the observation; each document also influences those of `also`."""
        size = self.slate_size
        links = [
            (place * CLUSTERS + cluster, part)
            for place in range(size)
            for cluster in range(CLUSTERS)
            for part in (cluster, *also)
        ]
        return contract.Structure(
            state=tuple(parts),
            action=contract.neighbouring([size * CLUSTERS]),
            graphs={"heuristic": links, "true": links},
            user_columns=list(range(CLUSTERS)),
            expected_reward=self.expected_reward,
        )

    def expected_reward(self, observation: tf.Tensor, shown: tf.Tensor) -> tf.Tensor:
        """Expected reward of a step within the budget, float [B].

        Args:
          observation: float [B, O]; its first columns are the interests.
          shown: features of the slate's documents side by side, float [B, k 20].
        """
        documents = tf.reshape(shown, [-1, self.slate_size, CLUSTERS])  # [B, k, 20]
        state = InterestEvolutionState(
            interests=observation[:, :CLUSTERS],
            budget=tf.zeros_like(observation[:, 0]),  # no effect on clicks
            cluster=tf.argmax(documents, axis=2, output_type=tf.int32),
        )
        all_documents = tf.broadcast_to(tf.range(self.slate_size), tf.shape(state.cluster))
        click = 1.0 - self.click_probabilities(state, all_documents)[:, -1]
        return (VIDEO_MINUTES if self.config.reward == "watch_time" else 1.0) * click

    def step(
        self, state: InterestEvolutionState, action: tf.Tensor, seed: tf.Tensor
    ) -> contract.Outcome:
        of_choice, of_flip, of_noise, of_documents = _split(seed, 4)
        batch = tf.shape(action)[0]
        uniform = tf.random.stateless_uniform([batch], of_choice)
        choice = _categorical(self.click_probabilities(state, action), uniform)
        flip = tf.random.stateless_uniform([batch], of_flip)
        noise = tf.random.stateless_normal([batch], of_noise)
        outcome = self.transition(state, action, choice, flip, noise)
        cluster = self._documents(batch, of_documents)
        return outcome._replace(state=outcome.state._replace(cluster=cluster))


@dataclasses.dataclass(frozen=True)
class LongTermSatisfactionConfig(Options):
    """Long-term satisfaction's sizes and its user.

    With the original's sensitivity of 0.01, the document with the most clickbait is also the
    best in the long run; from about 0.1 on it is not.
    """

    candidates: int = option(5, "documents to choose from at a step", at_least=1)
    slate: int = option(
        1, "documents in a recommendation; only the first one counts", at_least=1
    )
    sensitivity: float = option(0.01, "effect of past exposure on satisfaction", at_least=0)
    memory: float = option(
        0.7, "share of past exposure that is remembered, per step", at_least=0, at_most=1
    )
    innovation: float = option(0.05, "standard deviation of the noise in exposure", at_least=0)
    steps: int = option(60, "length of a session", at_least=1)


class LongTermSatisfactionState(NamedTuple):
    """A user whose satisfaction is hidden and the documents to choose from.

    Attributes:
      exposure: float32 [B], net positive exposure; hidden.
      left: int32 [B], remaining steps.
      clickbait: float32 [B, m], clickbait of each candidate, in [0, 1]; observable.
      engagement: float32 [B], the latest one, clipped to 100 as in the original's response.
      tempted: float32 [B], exponential moving average of the shown clickbait with decay .7;
        .5 before the first step.
    """

    exposure: tf.Tensor
    left: tf.Tensor
    clickbait: tf.Tensor
    engagement: tf.Tensor
    tempted: tf.Tensor


class LongTermSatisfaction(contract.Simulator):
    """Clickbait raises engagement at once and lowers satisfaction, a factor of engagement.

    In the original, responses are the only observation of a user. A policy observes the latest
    log(1 + engagement) and the average clickbait that it has shown.
    """

    observation_size = 2
    action_size = 1
    catalogue: tf.Tensor | None = None

    def __init__(
        self,
        config: LongTermSatisfactionConfig = LongTermSatisfactionConfig(),  # noqa: B008  frozen
    ):
        _check_sizes(config.candidates, config.slate)
        self.config = config
        self.slate_size = config.slate

    def _documents(self, batch: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform([batch, self.config.candidates], seed)

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> LongTermSatisfactionState:
        of_user, of_documents = _split(seed, 2)
        start = tf.random.stateless_uniform([batch], of_user, -0.5, 0.5)
        return LongTermSatisfactionState(
            start / (1.0 - self.config.memory),
            tf.fill([batch], self.config.steps),
            self._documents(batch, of_documents),
            tf.zeros([batch]),
            tf.fill([batch], 0.5),
        )

    def observation(self, state: LongTermSatisfactionState) -> tf.Tensor:
        return tf.stack([tf.math.log1p(state.engagement), state.tempted], axis=1)

    def candidates(self, state: LongTermSatisfactionState) -> tf.Tensor:
        return state.clickbait[..., None]

    def transition(
        self,
        state: LongTermSatisfactionState,
        action: tf.Tensor,
        engaged: tf.Tensor,
        innovation: tf.Tensor,
    ) -> contract.Outcome:
        """The transition given two standard normal draws [B]; the candidates do not change."""
        clickbait = tf.gather(state.clickbait, action[:, :1], batch_dims=1)[:, 0]  # [B]
        satisfaction = tf.sigmoid(self.config.sensitivity * state.exposure)
        # Means 5 and 4, standard deviations 1 and 1: chocolate and kale.
        engagement = tf.exp((4.0 + clickbait) * satisfaction + engaged)
        exposure = (
            self.config.memory * state.exposure
            - 2.0 * (clickbait - 0.5)
            + self.config.innovation * innovation
        )
        ones = tf.ones_like(engagement)
        return contract.Outcome(
            state._replace(
                exposure=exposure,
                left=state.left - 1,
                engagement=tf.minimum(engagement, 100.0),
                tempted=tempted_by(state.tempted, clickbait),
            ),
            engagement,
            ones,
            ones * self.slate_size,
            state.left <= 1,
        )

    def step(
        self, state: LongTermSatisfactionState, action: tf.Tensor, seed: tf.Tensor
    ) -> contract.Outcome:
        of_engaged, of_innovation, of_documents = _split(seed, 3)
        batch = tf.shape(action)[0]
        outcome = self.transition(
            state,
            action,
            tf.random.stateless_normal([batch], of_engaged),
            tf.random.stateless_normal([batch], of_innovation),
        )
        clickbait = self._documents(batch, of_documents)
        return outcome._replace(state=outcome.state._replace(clickbait=clickbait))


def tempted_by(tempted: tf.Tensor, clickbait: tf.Tensor) -> tf.Tensor:
    """The moving average of clickbait after one more document."""
    return 0.7 * tempted + 0.3 * clickbait


TOPICS = 2  # of interest exploration's documents
_USER_TYPES = (0.3, 0.7)
_AFFINITY = ((0.1, 0.7), (0.7, 0.1))  # log-mean of each user type to each topic
_TOPIC_SHARE = (0.2, 0.8)
_TOPIC_QUALITY = (0.8, 0.2)  # log-mean
_LOG_SPREAD = 0.1
_NO_CLICK_LOGIT = 5.0


@dataclasses.dataclass(frozen=True)
class InterestExplorationConfig(Options):
    """Interest exploration's sizes."""

    candidates: int = option(10, "documents to choose from at a step", at_least=1)
    slate: int = option(2, "documents in a recommendation", at_least=1)
    steps: int = option(100, "length of a session; the original's never end", at_least=1)


class InterestExplorationState(NamedTuple):
    """A user whose tastes are hidden and the documents to choose from.

    Attributes:
      affinity: float32 [B, 2], affinity to each topic; hidden.
      left: int32 [B], remaining steps.
      topic: int32 [B, m], topic of each candidate; observable.
      quality: float32 [B, m], quality of each candidate; observable.
      shown: float32 [B, 2], shown documents of each topic so far.
      clicks: float32 [B, 2], clicks on each topic so far.
    """

    affinity: tf.Tensor
    left: tf.Tensor
    topic: tf.Tensor
    quality: tf.Tensor
    shown: tf.Tensor
    clicks: tf.Tensor


class InterestExploration(contract.Simulator):
    """One topic has higher quality, but most users have a higher affinity to the other.

    In the original, responses are the only observation of a user. A policy observes log(1 + n)
    of shown and clicked documents of each topic, and quality and topic of each candidate.
    """

    observation_size = 2 * TOPICS
    action_size = 1 + TOPICS
    catalogue: tf.Tensor | None = None

    def __init__(
        self,
        config: InterestExplorationConfig = InterestExplorationConfig(),  # noqa: B008  frozen
    ):
        _check_sizes(config.candidates, config.slate)
        self.config = config
        self.slate_size = config.slate

    def _documents(
        self, batch: int | tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        of_topic, of_quality = _split(seed, 2)
        shape = [batch, self.config.candidates]
        uniform = tf.random.stateless_uniform(shape, of_topic)
        topic = tf.cast(uniform >= _TOPIC_SHARE[0], tf.int32)
        noise = _LOG_SPREAD * tf.random.stateless_normal(shape, of_quality)
        return topic, tf.exp(tf.gather(tf.constant(_TOPIC_QUALITY), topic) + noise)

    def reset(self, batch: int | tf.Tensor, seed: tf.Tensor) -> InterestExplorationState:
        of_type, of_affinity, of_documents = _split(seed, 3)
        kind = tf.cast(
            tf.random.stateless_uniform([batch], of_type) >= _USER_TYPES[0], tf.int32
        )
        noise = _LOG_SPREAD * tf.random.stateless_normal([batch, TOPICS], of_affinity)
        nothing = tf.zeros([batch, TOPICS])
        return InterestExplorationState(
            tf.exp(tf.gather(tf.constant(_AFFINITY), kind) + noise),
            tf.fill([batch], self.config.steps),
            *self._documents(batch, of_documents),
            nothing,
            nothing,
        )

    def observation(self, state: InterestExplorationState) -> tf.Tensor:
        return tf.math.log1p(tf.concat([state.shown, state.clicks], axis=1))

    def candidates(self, state: InterestExplorationState) -> tf.Tensor:
        return tf.concat([state.quality[..., None], tf.one_hot(state.topic, TOPICS)], axis=2)

    def click_probabilities(
        self, state: InterestExplorationState, action: tf.Tensor
    ) -> tf.Tensor:
        """Click probability of each document in the slate, then of no click: [B, k + 1]."""
        topic = tf.gather(state.topic, action, batch_dims=1)  # [B, k]
        score = tf.gather(state.affinity, topic, batch_dims=1)
        score += tf.gather(state.quality, action, batch_dims=1)
        nothing = tf.fill([tf.shape(action)[0], 1], _NO_CLICK_LOGIT)
        return tf.nn.softmax(tf.concat([score, nothing], axis=1))

    def transition(
        self, state: InterestExplorationState, action: tf.Tensor, choice: tf.Tensor
    ) -> contract.Outcome:
        """The transition given the clicked document; the candidates do not change.

        Args:
          state: state of B users.
          action: int32 [B, k], positions among the candidates.
          choice: int32 [B], position of the clicked document in the slate; k for none.
        """
        clicked = tf.cast(choice < self.slate_size, tf.float32)
        topic = tf.one_hot(tf.gather(state.topic, action, batch_dims=1), TOPICS)  # [B, k, 2]
        is_clicked = tf.one_hot(choice, self.slate_size)[..., None]  # [B, k, 1]
        return contract.Outcome(
            state._replace(
                left=state.left - 1,
                shown=state.shown + tf.reduce_sum(topic, axis=1),
                clicks=state.clicks + tf.reduce_sum(topic * is_clicked, axis=1),
            ),
            clicked,
            clicked,
            tf.ones_like(clicked) * self.slate_size,
            state.left <= 1,
        )

    def step(
        self, state: InterestExplorationState, action: tf.Tensor, seed: tf.Tensor
    ) -> contract.Outcome:
        of_choice, of_documents = _split(seed, 2)
        batch = tf.shape(action)[0]
        uniform = tf.random.stateless_uniform([batch], of_choice)
        choice = _categorical(self.click_probabilities(state, action), uniform)
        outcome = self.transition(state, action, choice)
        topic, quality = self._documents(batch, of_documents)
        return outcome._replace(state=outcome.state._replace(topic=topic, quality=quality))


def _check_sizes(candidates: int, slate: int) -> None:
    if not 1 <= slate <= candidates:
        raise ValueError(f"slate={slate}; expected 1 to candidates={candidates}")


def _by(simulator: contract.Simulator, score: Callable[[Timestep], tf.Tensor]) -> Policy:
    return lambda timestep: selection.best_slate(score(timestep), simulator.slate_size)


def _features(timestep: Timestep) -> tf.Tensor:
    assert timestep.candidates is not None, "RecSim's actions are slates of candidates"
    return timestep.candidates


def _interest(timestep: Timestep) -> tf.Tensor:
    """The user's interest in each candidate of interest evolution, [B, m]."""
    return tf.einsum("bmd,bd->bm", timestep.candidates, timestep.observation)


def _cluster_quality(timestep: Timestep) -> tf.Tensor:
    return tf.linalg.matvec(timestep.candidates, tf.constant(CLUSTER_QUALITY, tf.float32))


def top_interest(simulator: InterestEvolution) -> Policy:
    """The myopic optimum: documents of the highest current interest."""
    return _by(simulator, _interest)


def interest_times_quality(simulator: InterestEvolution) -> Policy:
    """Scores by (interest + 1) x mean quality of the cluster, which is hidden.

    The first factor is proportional to the click probability, and the second determines the
    returned budget.
    """
    return _by(
        simulator, lambda timestep: (_interest(timestep) + 1.0) * _cluster_quality(timestep)
    )


def top_quality(simulator: InterestEvolution | InterestExploration) -> Policy:
    """The documents of the highest quality, the same for every user."""
    if isinstance(simulator, InterestExploration):
        return _by(simulator, lambda timestep: _features(timestep)[..., 0])
    return _by(simulator, _cluster_quality)


def most_clickbait(simulator: LongTermSatisfaction) -> Policy:
    """Recommends the documents with the most clickbait, the myopic optimum."""
    return _by(simulator, lambda timestep: _features(timestep)[..., 0])


def least_clickbait(simulator: LongTermSatisfaction) -> Policy:
    """Recommends the documents with the least clickbait, a patient control."""
    return _by(simulator, lambda timestep: -_features(timestep)[..., 0])
