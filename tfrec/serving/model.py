"""The graph that is exported: raw request -> ranked list with predicted measurements.

The graph contains all steps between the client's arrays and the world model: raw ids to dense
ids, padding, named goals, exclusion, top-k, raw units.

For a bilinear head, ranking is a search of the precomputed item table (see `tables`). For other
heads, it is `scores` of every item, or of the items from a search of its `surrogate`. The
BruteForce layer of tensorflow_recommenders accepts neither k nor candidates with the request,
excludes items only by over-fetching, and takes its top k of all scores.
"""

import numpy as np
import tensorflow as tf

from tfrec import types
from tfrec.serving import decoding, requests, surrogate, tables
from tfrec.serving import ranker as ranker_lib

_NOTHING = tables.NOTHING


class ServingModel:
    """Signatures over one ranker.

    Args:
      ranker: a trained agent.
      vocabulary_file: file of raw ids, one a line, in dense order; an asset of the model.
      item_dtype: tf.string or tf.int64, the type of the raw ids.
      precision: precision of the item table, one of tables.PRECISIONS. A reduced table
        selects `tables.shortlist(k)` items, which the world model then scores.
      shortlist: number of items that a head that is not bilinear scores, selected by a
        surrogate; 0 for all items, without a table.
    """

    def __init__(
        self,
        ranker: ranker_lib.Ranker,
        vocabulary_file: str,
        item_dtype: tf.DType,
        precision: str = "float32",
        shortlist: int = 0,
    ):
        self._model = ranker.world_model
        self._count = ranker.spec.num_candidates  # A
        self._reads_context = ranker.spec.state_features is not None
        self._shortlist = shortlist
        self._item_dtype = item_dtype
        self._decoder = decoding.Decoder(ranker, vocabulary_file, item_dtype)
        self._mean = tf.constant(np.asarray(ranker.measurements.mean, np.float32))  # [M]
        self._std = tf.constant(np.asarray(ranker.measurements.std, np.float32))  # [M]
        items = tf.constant(ranker.vocabulary.items.tolist(), item_dtype)
        self._raw_ids = tf.Variable(
            tf.concat([self._decoder.padding[None], items], 0), trainable=False, name="raw_ids"
        )  # [N + 1]
        self.table: tables.ItemTable | None = None
        self._surrogate: surrogate.Surrogate | None = None
        if self._model.bilinear:
            self.table = tables.ItemTable(self._model.item_vectors().numpy(), precision)
        elif shortlist:
            self._surrogate, vectors = surrogate.fit(ranker)
            self.table = tables.ItemTable(vectors, precision)
        # Whether scores of the table are final, or select the items that the model scores.
        self._exact = self._model.bilinear and precision == "float32"

    def trackable(self) -> tf.Module:
        """The object to save, which owns every table and variable of the signatures."""
        root = tf.Module(name="ranker")
        root.tables = self._decoder.tables
        root.own_variables = [self._raw_ids]
        root.item_table = self.table
        root.world_model_variables = list(self._model.variables)
        return root

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Concrete functions by signature name; `serving_default` is `rank`."""
        ids = tf.TensorSpec([None, None], self._item_dtype)
        rows = tf.TensorSpec([None, None], tf.float32)
        specs = {
            "history_item": ids,
            # The widths are left open so that the graph's assertions report wrong ones.
            "history_feedback": tf.TensorSpec([None, None, None], tf.float32),
            "step": tf.TensorSpec([None], tf.int32),
            "goal": rows,
            "goal_name": tf.TensorSpec([None], tf.string),
            "weights": rows,
            "candidates": ids,
            "exclude": ids,
            "k": tf.TensorSpec(None, tf.int32),
            "context_values": tf.TensorSpec([None, None], tf.int32),
        }

        def concrete(method, *names):
            arguments = [
                tf.TensorSpec(specs[name].shape, specs[name].dtype, name) for name in names
            ]
            return tf.function(method, autograph=False).get_concrete_function(*arguments)

        context = ("context_values",) if self._reads_context else ()
        methods = {name: getattr(self, name) for name in requests.SIGNATURES}
        functions = {
            name: concrete(method, *requests.SIGNATURES[name], *context)
            for name, method in methods.items()
        }
        return {"serving_default": functions["rank"], **functions}

    def rank(
        self,
        history_item: tf.Tensor,
        history_feedback: tf.Tensor,
        step: tf.Tensor,
        goal: tf.Tensor,
        goal_name: tf.Tensor,
        candidates: tf.Tensor,
        exclude: tf.Tensor,
        k: tf.Tensor,
        context_values: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """The k best items for a state and a goal (GoalRec eqs 7-8).

        Args:
          history_item: raw ids [B, L], oldest first; padding and events of unknown items
            are dropped, and the last H of the others are used.
          history_feedback: float32 [B, L, F], raw units.
          step: int32 [B], steps already taken in this session.
          goal: float32 [B, M] standardised weights, any nonzero vector, or [B, 0].
          goal_name: string [B], or [0]; unless it is "", it replaces `goal`.
          candidates: raw ids [B, A]; a row without any (A = 0, or only padding) means the
            whole catalogue. Unknown and repeated ids are ignored.
          exclude: raw ids [B, E] to leave out of the answer.
          k: int32, one number or one for each row; at most the catalogue's size.
          context_values: int32 [B, K], numbers of the features of users and contexts; a row of
            zeros, or [B, 0], if they are missing. None if the model reads none.

        Returns:
          item: raw ids [B, k], best first; padding after the last item.
          score: float32 [B, k], g.(V + A); -inf after the last item.
          measurements: float32 [B, k, M], predicted, raw units; 0 after the last item.
          valid: bool [B, k], False after the last item, if fewer than k remain.
        """
        observation = self._decoder.observation(
            history_item, history_feedback, step, context_values
        )
        batch = tf.shape(history_item)[0]
        goal = self._decoder.goal(goal, goal_name, batch)
        return self._ranked(observation, goal, candidates, exclude, k)

    def rank_weights(
        self,
        history_item: tf.Tensor,
        history_feedback: tf.Tensor,
        step: tf.Tensor,
        weights: tf.Tensor,
        candidates: tf.Tensor,
        exclude: tf.Tensor,
        k: tf.Tensor,
        context_values: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """`rank` for weights of one raw unit of each measurement, [B, M].

        The goal is g_j ~ weight_j x std_j: the order is that of the weighted sum of the
        predicted measurements in raw units.
        """
        observation = self._decoder.observation(
            history_item, history_feedback, step, context_values
        )
        goal = self._decoder.weights(weights, tf.shape(history_item)[0])
        return self._ranked(observation, goal, candidates, exclude, k)

    def predict_measurements(
        self,
        history_item: tf.Tensor,
        history_feedback: tf.Tensor,
        step: tf.Tensor,
        goal: tf.Tensor,
        goal_name: tf.Tensor,
        candidates: tf.Tensor,
        context_values: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Predicts the measurements of each candidate under a goal.

        Returns:
          `measurements`, float32 [B, A, M], raw units, where an unknown item gets V only, the
          average over items; and `in_vocabulary`, bool [B, A].
        """
        observation = self._decoder.observation(
            history_item, history_feedback, step, context_values
        )
        goal = self._decoder.goal(goal, goal_name, tf.shape(history_item)[0])
        candidates = decoding.rows(candidates, tf.shape(history_item)[0], "candidates")
        not_empty = tf.debugging.assert_greater(
            tf.shape(candidates)[1], 0, "candidates must hold at least one item id"
        )
        dense = self._decoder.dense(decoding.checked(candidates, not_empty))  # [B, A]
        in_vocabulary = dense > 0
        code = self._model.encode(observation, goal)
        advantage = self._model.advantage(code, tf.maximum(dense, 1))  # [B, A, M]
        advantage = tf.where(in_vocabulary[..., None], advantage, 0.0)
        return {
            "measurements": self._raw(self._model.value(code)[:, None, :] + advantage),
            "known": in_vocabulary,
        }

    def _ranked(
        self,
        observation: types.Observation,
        goal: tf.Tensor,
        candidates: tf.Tensor,
        exclude: tf.Tensor,
        k: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        goal = self._decoder.ranking(goal)
        batch = tf.shape(goal)[0]
        k = tf.reshape(k, [-1])
        one_or_all = tf.logical_or(tf.equal(tf.size(k), 1), tf.equal(tf.size(k), batch))
        k = decoding.checked(
            k,
            tf.debugging.assert_equal(one_or_all, True, "k must be one number or one a row"),
            tf.debugging.assert_positive(k, "k must be at least 1"),
        )
        width = tf.minimum(tf.reduce_max(k), self._count)
        candidates = decoding.rows(candidates, batch, "candidates")
        # Per row: a server may put requests with and without candidates in one batch.
        has_candidates = tf.reduce_any(candidates != self._decoder.padding, axis=1)  # [B]
        candidates = self._decoder.dense(candidates)
        exclude = self._decoder.dense(decoding.rows(exclude, batch, "exclude"))
        code = self._model.encode(observation, goal)
        value = self._model.value(code)  # [B, M]
        empty = tf.fill([batch, width], _NOTHING), tf.fill([batch, width], types.PAD)
        best_candidates = tf.cond(
            tf.reduce_any(has_candidates),
            lambda: self._best_candidates(code, value, goal, candidates, exclude, width),
            lambda: empty,
        )
        best_of_all = tf.cond(
            tf.reduce_all(has_candidates),
            lambda: empty,
            lambda: self._best_of_all(code, value, goal, exclude, width),
        )
        score = tf.where(
            has_candidates[:, None], best_candidates[0], best_of_all[0]
        )  # [B, width]
        item = tf.where(has_candidates[:, None], best_candidates[1], best_of_all[1])
        within_k = tf.range(width)[None, :] < k[:, None]  # [1 or B, width]
        valid = tf.logical_and(within_k, score > _NOTHING)
        item = tf.where(valid, item, types.PAD)
        advantage = self._model.advantage(code, tf.maximum(item, 1))  # [B, width, M]
        raw = self._raw(value[:, None, :] + advantage)
        return {
            "item": tf.gather(self._raw_ids, item),  # [B, width]
            "score": tf.where(valid, score, _NOTHING),
            "measurements": tf.where(valid[..., None], raw, 0.0),
            "valid": valid,
        }

    def _best_of_all(
        self,
        code: ranker_lib.StateGoal,
        value: tf.Tensor,
        goal: tf.Tensor,
        exclude: tf.Tensor,
        width: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and dense ids of the best of the catalogue, [B, width] each."""
        base = tf.reduce_sum(goal * value, axis=-1, keepdims=True)  # [B, 1]
        if self.table is None:
            scores = _finite(self._model.scores(code, goal))  # [B, N]
            score, index = tables.best_of_scores(scores, exclude - 1, width)
            return score, index + 1
        if self._surrogate is None:
            query = self._model.query(code, goal)  # [B, D]
        else:
            query = self._surrogate.query(self._model, code, goal)  # [B, L]
        largest = self.table.bound(query)[:, None] + tf.abs(base)
        query = decoding.checked(query, _finite(largest))
        if self._exact:
            score, index = self.table.best(query, exclude - 1, width)
            return base + score, index + 1
        shortlist_size = tf.maximum(tables.shortlist(width, self._count), self._shortlist)
        table_score, index = self.table.best(query, exclude - 1, shortlist_size)
        # In the order of the vocabulary, for ties. Excluded items keep their -inf.
        index, table_score = tables.by_index(index, table_score)
        score = base + _finite(self._advantage_scores(code, goal, index + 1))
        score, column = tf.math.top_k(
            tf.where(table_score > _NOTHING, score, _NOTHING), k=width
        )
        return score, tf.gather(index, column, batch_dims=1) + 1

    def _best_candidates(
        self,
        code: ranker_lib.StateGoal,
        value: tf.Tensor,
        goal: tf.Tensor,
        candidates: tf.Tensor,
        exclude: tf.Tensor,
        width: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and dense ids of the best candidates, [B, width] each."""
        # Sorted, so that order and repetition have no effect and the smaller dense id wins
        # ties, as in the catalogue.
        item = tf.where(candidates > self._count, types.PAD, candidates)  # not recommended
        item = tf.sort(item, axis=1)  # [B, A]
        repeated = tf.pad(item[:, 1:] == item[:, :-1], [[0, 0], [1, 0]])
        # Dense id 0 (padding, and ids that cannot be recommended) is excluded too.
        excluded = tables.among(item, tf.sort(tf.pad(exclude, [[0, 0], [1, 0]]), axis=1))
        valid_item = tf.maximum(item, 1)
        if self._exact and self.table is not None:
            query = self._model.query(code, goal)  # [B, D]
            scores = tf.einsum("bd,bad->ba", query, self.table.vectors(valid_item - 1))
        else:
            scores = self._advantage_scores(code, goal, valid_item)
        scores = _finite(scores + tf.reduce_sum(goal * value, axis=-1, keepdims=True))
        scores = tf.where(tf.logical_or(repeated, excluded), _NOTHING, scores)
        padding = [[0, 0], [0, tf.maximum(width - tf.shape(scores)[1], 0)]]
        scores = tf.pad(scores, padding, constant_values=_NOTHING)
        score, column = tf.math.top_k(scores, k=width)
        return score, tf.gather(tf.pad(item, padding), column, batch_dims=1)

    def _advantage_scores(
        self, code: ranker_lib.StateGoal, goal: tf.Tensor, item: tf.Tensor
    ) -> tf.Tensor:
        """g.A of dense items by the world model, [B, A]."""
        return tf.einsum("bm,bam->ba", goal, self._model.advantage(code, item))

    def _raw(self, standardised: tf.Tensor) -> tf.Tensor:
        return standardised * self._std + self._mean  # [B, A, M]


def _finite(scores: tf.Tensor) -> tf.Tensor:
    return tf.debugging.assert_all_finite(
        scores,
        "the model's scores are not finite: is the feedback far outside its usual range?",
    )
