"""Ranked lists of all users of a log, computed in parts so that a run can be resumed.

    lists.parquet          user, rank, item, score
    .lists.parquet.parts/  during a run: request.json and a file for each part of the users

Axes: U users, E events, B users in a batch, H history, A candidates.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from tfrec import outputs, types
from tfrec.data import parquet, sequences
from tfrec.errors import UserError
from tfrec.options import Options, option

if TYPE_CHECKING:
    from tfrec.data import sequence_logs, storage
    from tfrec.data import vocabulary as vocabulary_lib
    from tfrec.methods import trained

_REQUEST = "request.json"
COLUMNS = ("user", "rank", "item", "score")


@dataclasses.dataclass(frozen=True)
class ListsConfig(Options):
    """Options of the lists and of their computation."""

    k: int = option(20, "items of a list", at_least=1)
    goal: str = option("", "a named goal of the agent; the first one by default")
    exclude_seen: bool = option(False, "exclude the items of the user's history")
    batch: int = option(256, "users in a batch", at_least=1)
    users_per_part: int = option(
        10_000, "users between two saves; an interruption loses at most their lists", at_least=1
    )


class Lister(Protocol):
    """What makes lists for the users of a log: a saved agent, or a user model.

    Attributes:
      reads_feedback: whether the lists depend on the feedback in a history.
      spec: the log's spec.
      vocabulary: raw ids.
    """

    spec: types.DataSpec
    vocabulary: vocabulary_lib.Vocabulary

    @property
    def reads_feedback(self) -> bool: ...

    def lists_of_users(
        self,
        users: np.ndarray,
        observation: types.Observation,
        blocked: np.ndarray,
        k: int,
        goal: str = "",
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `trained.SavedAgent.lists_of_users`."""


@dataclasses.dataclass(frozen=True)
class Histories:
    """Events of the users of a log, in the ids of an agent.

    Attributes:
      users: raw user ids [U].
      events: a row of event numbers, 1..E, for each user, oldest first.
      item: int32 [E + 1], the agent's dense id of each event's item; 0 for event 0.
      feedback: float32 [E + 1, F], raw units; 0 for event 0.
      fingerprint: fingerprint of the log.
      context_values: int32 [U, K], numbers of the features of users, and of a context without
        any value; () if the agent reads none.
    """

    users: np.ndarray
    events: sequences.Sequences
    item: np.ndarray
    feedback: np.ndarray
    fingerprint: str
    context_values: np.ndarray | tuple[()] = ()

    def observation(self, rows: np.ndarray, length: int) -> types.Observation:
        """The states of users at the start of a new session; B rows, the last H events."""
        number = self.events.select(rows).padded(length)  # [B, H]
        steps, values = np.zeros(len(rows), np.int32), self.context_values
        return types.Observation(
            self.item[number],
            self.feedback[number],
            steps,
            values if isinstance(values, tuple) else values[rows],
        )

    def seen(self, rows: np.ndarray, candidates: int) -> np.ndarray:
        """Mask of the candidates in the histories of users, bool [B, A]."""
        events = self.events.select(rows)
        seen = np.zeros([len(rows), candidates + 1], bool)
        item = self.item[events.items]
        is_candidate = item <= candidates
        seen[events.rows[is_candidate], item[is_candidate]] = True
        return seen[:, 1:]


def of_log(log: sequence_logs.SequenceLog, agent: trained.SavedAgent, path: str) -> Histories:
    """The histories of a log of items without events of items that the agent lacks.

    Args:
      log: the log.
      agent: the agent with its ids and feedback columns.
      path: path of the log, for messages.

    Raises:
      UserError: if the agent reads feedback, or its ids are of another kind.
    """
    if agent.reads_feedback:
        raise UserError(
            f"--data={path}: {agent.method} reads the feedback to each event, "
            f"{', '.join(agent.spec.feedback_names)}, which a log of this form lacks; expected "
            "a folder of prepared data and --format=prepared"
        )
    dense = agent.vocabulary.encode(log.vocabulary.items)
    item = dense[log.sequences.items - 1]
    return _histories(
        log.vocabulary.users,
        log.sequences.rows,
        item,
        np.zeros([len(item), len(agent.spec.feedback)], np.float32),
        None,
        log.source.fingerprint,
    )


def of_prepared(
    data: storage.PreparedData, agent: Lister, lengths: np.ndarray | None = None
) -> Histories:
    """The histories of all sessions of prepared data, with their feedback.

    Args:
      data: the prepared data.
      agent: the agent with its ids and feedback columns.
      lengths: int [U], number of first events of each user to read; all by default.

    Raises:
      UserError: if the data has other feedback columns than the agent reads, its ids are of
        another kind, or it has no features of users, which the agent reads.
    """
    events = sequences.events_of(data)
    if lengths is not None:
        in_length = events.place < lengths[events.row]
        events = sequences.Events(*(column[in_length] for column in events))
    feedback = events.feedback  # [E, F]
    if not agent.reads_feedback:
        feedback = np.zeros([len(feedback), len(agent.spec.feedback)], np.float32)
    elif data.spec.feedback_names != agent.spec.feedback_names:
        raise UserError(
            f"--data={data.directory}: its feedback columns are "
            f"{', '.join(data.spec.feedback_names)}; expected those of the agent, "
            f"{', '.join(agent.spec.feedback_names)}"
        )
    dense = agent.vocabulary.encode(data.vocabulary.items)
    histories = _histories(
        data.vocabulary.users,
        events.row,
        dense[events.item - 1],
        feedback,
        events.start_ms,
        data.fingerprint,
    )
    missing = agent.spec.state_features
    if missing is None:
        return histories
    encoders = agent.vocabulary.state_encoder.of(agent.spec)
    if encoders.user is None:
        values = np.tile(np.array(missing.missing, np.int32), (len(histories.users), 1))
    else:
        users = data.user_values(encoders.user)
        assert users is not None  # the agent has an encoder
        values = encoders.joined(user=users[1:])
    return dataclasses.replace(histories, context_values=values)


def _histories(
    users: np.ndarray,
    rows: np.ndarray,
    item: np.ndarray,
    feedback: np.ndarray,
    times: np.ndarray | None,
    fingerprint: str,
) -> Histories:
    """Histories of events in any order; see `sequences.of_events`."""
    in_catalogue = np.flatnonzero(item)
    numbers = np.arange(1, len(in_catalogue) + 1)
    events = sequences.of_events(
        rows[in_catalogue],
        numbers,
        len(users),
        max(1, len(in_catalogue)),
        None if times is None else times[in_catalogue],
    )
    no_event = np.zeros([1, feedback.shape[1]], np.float32)
    return Histories(
        users,
        events,
        np.concatenate([[0], item[in_catalogue]]).astype(np.int32),
        np.concatenate([no_event, feedback[in_catalogue]]).astype(np.float32),
        fingerprint,
    )


def check(out: str | os.PathLike, agent: trained.SavedAgent, config: ListsConfig) -> None:
    """Rejects requests that cannot be met, before the log is read.

    Raises:
      UserError: if the file exists or is no .parquet file, the list is longer than the
        catalogue, or the agent has no such goal.
    """
    path = pathlib.Path(out)
    if path.suffix != ".parquet":
        raise UserError(f"--out={out}: expected a file that ends in .parquet")
    if path.exists():
        raise UserError(f"--out={out}: is there already; remove it, or choose another file")
    if config.k > agent.spec.num_candidates:
        raise UserError(
            f"--k={config.k}: expected at most {agent.spec.num_candidates}, the items that the "
            "agent recommends"
        )
    if config.goal and config.goal not in agent.named_goals:
        goals = ", ".join(filter(None, agent.named_goals)) or "none"
        raise UserError(f"--goal={config.goal}: the agent has no such goal; it has {goals}")


def write(
    agent: trained.SavedAgent,
    histories: Histories,
    out: str | os.PathLike,
    config: ListsConfig,
    on_part: Callable[[int, int], None] = lambda done, users: None,
) -> int:
    """Writes the lists of all users to a Parquet file, whole or not at all.

    Parts of an interrupted call for the same agent, log and configuration are reused.

    Args:
      agent: the agent that ranks.
      histories: histories of the users.
      out: the output file, accepted by `check`.
      config: options of the lists.
      on_part: called after each part with the number of completed users and of all users.

    Returns:
      Number of users completed by an earlier call.

    Raises:
      UserError: if the file cannot be written.
    """
    path = pathlib.Path(out)
    parts = path.with_name(f".{path.name}.parts")
    request = dataclasses.asdict(config) | {
        "agent": agent.fingerprint,
        "log": histories.fingerprint,
    }
    users, size = len(histories.users), config.users_per_part
    done = 0
    with outputs.writing(path):
        _begin(parts, request)
        for first in range(0, users, size):
            part = parts / f"{first:012}.parquet"
            rows = np.arange(first, min(first + size, users))
            if part.exists():
                done += len(rows)
                continue
            frame = _lists(agent, histories, rows, config)
            with outputs.replacing_file(part) as partial:
                parquet.write(frame, partial)
            on_part(int(rows[-1]) + 1, users)
        with outputs.replacing_file(path) as whole:
            _join(sorted(parts.glob("[0-9]*.parquet")), whole)
        shutil.rmtree(parts)
    return done


def _begin(parts: pathlib.Path, request: dict[str, Any]) -> None:
    """Creates the folder of the parts, and removes parts of another request."""
    path = parts / _REQUEST
    if path.exists() and json.loads(path.read_text()) == request:
        return
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    outputs.write_json(path, request)


def _lists(
    agent: trained.SavedAgent, histories: Histories, rows: np.ndarray, config: ListsConfig
) -> pl.DataFrame:
    """The lists of the users in `rows`, a row for each listed item."""
    batches = []
    for first in range(0, len(rows), config.batch):
        batch = rows[first : first + config.batch]
        shape = (len(batch), agent.spec.num_candidates)
        blocked = (
            histories.seen(batch, shape[1]) if config.exclude_seen else np.zeros(shape, bool)
        )
        observation = histories.observation(batch, agent.spec.history_length)
        item, score = agent.lists_of_users(
            histories.users[batch], observation, blocked, config.k, config.goal
        )
        row, place = np.nonzero(item)  # ordered by user, best first
        batches.append((batch[row], place + 1, item[row, place], score[row, place]))
    user, rank, item, score = map(np.concatenate, zip(*batches, strict=True))
    columns = (
        histories.users[user],
        rank.astype(np.int32),
        agent.vocabulary.decode(item),
        score.astype(np.float32),
    )
    return pl.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def _join(parts: list[pathlib.Path], path: pathlib.Path) -> None:
    """Concatenates Parquet files."""
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(parts[0])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for part in parts:
            writer.write_table(pyarrow.parquet.read_table(part))
