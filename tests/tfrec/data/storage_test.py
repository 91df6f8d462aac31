import dataclasses
import json
import shutil

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from tfrec import types
from tfrec.data import blocks, episodes, identity, pipeline, schema, storage
from tfrec.errors import UserError

SCHEMA = schema.Schema(
    feedback=(
        types.FeedbackColumn("click", "binary", "clicks"),
        types.FeedbackColumn("watch", "amount", "seconds"),
    ),
    category=True,
    propensity=True,
)
CONFIG = episodes.PrepareConfig(
    history_length=4, max_steps=3, max_sessions_per_user=0, test_fraction=0.3, shards=2
)


def random_log(num_users=40, seed=0):
    """Sessions of 1 to 5 steps, a day apart; item n has category n % 3."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(num_users):
        for day in range(rng.integers(1, 6)):
            for step in range(rng.integers(1, 6)):
                rows.append((f"u{user:02}", rng.integers(1, 9), day * 86_400_000 + step * 1000))
    user, item, time = zip(*rows, strict=True)
    frame = pl.DataFrame({"user": user, "item": item, "time_ms": time}).with_columns(
        click=pl.Series(rng.integers(0, 2, len(rows))),
        watch=pl.Series(rng.random(len(rows)).astype(np.float32)),
        category=pl.col("item") % 3,
        propensity=pl.Series(rng.uniform(0.1, 1.0, len(rows)).astype(np.float32)),
    )
    return schema.validate(frame, SCHEMA, "log.csv")


def write(directory, config=CONFIG, **options):
    prepared = episodes.prepare(random_log(), SCHEMA, config)
    return storage.write(directory, prepared, SCHEMA, config, "test", **options)


def expected_sessions(frame, config):
    """The same sessions by a plain loop: {(user, start): everything about it}."""
    sessions = {}
    for (user,), rows in frame.group_by("user", maintain_order=True):
        events = rows.rows(named=True)
        starts = [
            n
            for n, event in enumerate(events)
            if n == 0 or event["time_ms"] - events[n - 1]["time_ms"] > 3_600_000
        ]
        for start, end in zip(starts, [*starts[1:], len(events)], strict=True):
            sessions[user, events[start]["time_ms"]] = {
                "history": events[max(0, start - config.history_length) : start],
                "steps": events[start:end][: config.max_steps],
                "exited": end - start < config.max_steps,
            }
    return sessions


def test_what_was_written_is_what_is_read(tmp_path):
    data = write(tmp_path / "data")
    expected = expected_sessions(random_log(), CONFIG)
    read, (start_ms, _) = data.episodes("all"), data.session_times("all")
    category, propensity = data.column("all", "category"), data.column("all", "propensity")
    assert len(read.user) == len(expected)
    for n in range(len(read.user)):
        session = expected[data.vocabulary.users[read.user[n] - 1], start_ms[n]]
        steps, history = session["steps"], session["history"]
        assert read.length[n] == len(steps)
        assert read.exited[n] == session["exited"]
        shown = data.vocabulary.decode(read.item[n])
        assert shown.tolist() == [s["item"] for s in steps] + [-1] * (3 - len(steps))
        before = data.vocabulary.decode(read.history_item[n])
        assert before.tolist() == [-1] * (4 - len(history)) + [s["item"] for s in history]
        for column, name in enumerate(("click", "watch")):
            assert read.feedback[n, : len(steps), column].tolist() == [s[name] for s in steps]
            assert (read.feedback[n, len(steps) :, column] == 0).all()
            padding = 4 - len(history)
            in_history = read.history_feedback[n, :, column]
            assert (in_history[:padding] == 0).all()
            assert in_history[padding:].tolist() == [s[name] for s in history]
        assert propensity[n, : len(steps)].tolist() == [s["propensity"] for s in steps]
        kinds = data.vocabulary.category_ids.decode(category[n, : len(steps)])
        assert kinds.tolist() == [s["category"] for s in steps]


def test_types_and_shapes(tmp_path):
    data = write(tmp_path / "data")
    read = data.episodes("train")
    size = data.num_sessions("train")
    assert [(part.dtype.name, part.shape) for part in tf.nest.flatten(read)] == [
        ("int32", (size,)),
        ("int32", (size, 4)),
        ("float32", (size, 4, 2)),
        ("int32", (size, 3)),
        ("float32", (size, 3, 2)),
        ("int32", (size,)),
        ("bool", (size,)),
    ]


def test_splits_hold_other_users_and_the_manifest_counts_them(tmp_path):
    data = write(tmp_path / "data")
    seen = set()
    for split in episodes.SPLITS:
        read, entry = data.episodes(split), data.manifest["splits"][split]
        users = set(read.user.tolist())
        assert not users & seen
        seen |= users
        assert entry["users"] == len(users)
        assert entry["sessions"] == len(read.user)
        assert entry["steps"] == read.length.sum()
        assert entry["clicks"] == read.feedback[:, :, 0].sum()
        assert entry["exited"] == read.exited.sum()
    assert len(seen) == 40 == data.spec.num_users
    first, _, _, rule, *rows = str(data).splitlines()
    assert first == "8 items; feedback: click (clicks), watch (seconds)"
    assert rule == "| --- | ---: | ---: | ---: | ---: |"
    train = data.manifest["splits"]["train"]
    counts = (f"{train[name]:,}" for name in ("users", "sessions", "steps", "clicks"))
    assert rows[0] == f"| train | {' | '.join(counts)} |" and len(rows) == 3
    assert data.manifest["seed"] == CONFIG.seed
    assert data.manifest["config"] == dataclasses.asdict(CONFIG)


def test_history_across_a_split_by_time(tmp_path):
    config = dataclasses.replace(CONFIG, split="time", validation_fraction=0.0)
    data = write(tmp_path / "data", config)
    expected = expected_sessions(random_log(), config)
    read, (start_ms, _) = data.episodes("test"), data.session_times("test")
    assert len(read.user)
    with_history = 0
    for n in range(len(read.user)):
        session = expected[data.vocabulary.users[read.user[n] - 1], start_ms[n]]
        before = [int(raw) for raw in data.vocabulary.decode(read.history_item[n]) if raw != -1]
        assert before == [event["item"] for event in session["history"]]
        with_history += bool(before)
    assert with_history > len(read.user) / 2
    _, train_end = data.session_times("train")
    assert train_end.max() < start_ms.min()


def test_many_blocks_hold_whole_users(monkeypatch, tmp_path):
    whole = write(tmp_path / "one").episodes("all")
    monkeypatch.setattr(blocks, "SESSIONS_PER_BLOCK", 7)
    monkeypatch.setattr(blocks, "EVENTS_PER_BLOCK", 20)
    data = write(tmp_path / "many", dataclasses.replace(CONFIG, shards=3))
    assert len(data.files("train")) == 3
    for one, many in zip(whole, data.episodes("all"), strict=True):
        np.testing.assert_array_equal(one, many)


def test_an_empty_split_is_empty(tmp_path):
    config = dataclasses.replace(CONFIG, test_fraction=0.0)
    data = write(tmp_path / "data", config)
    assert data.num_sessions("test") == 0
    shapes = [part.shape for part in tf.nest.flatten(data.episodes("test"))]
    assert shapes[1:4] == [(0, 4), (0, 4, 2), (0, 3)]
    assert data.column("test", "propensity").shape == (0, 3)


def test_same_log_same_fingerprint_other_log_another(tmp_path):
    first, again = write(tmp_path / "a"), write(tmp_path / "b")
    other = write(tmp_path / "c", dataclasses.replace(CONFIG, seed=8))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_same_log_gives_the_same_bytes_in_every_process(tmp_path):
    """Protobuf otherwise writes the fields in an order that depends on memory addresses."""
    data = write(tmp_path / "data")
    for record in pipeline.records(data.files("all")).as_numpy_iterator():
        ordered = tf.train.Example.FromString(record).SerializeToString(deterministic=True)
        assert record == ordered


def test_an_unknown_split_and_column(tmp_path):
    data = write(tmp_path / "data")
    with pytest.raises(ValueError, match="split is 'dev'; expected one of"):
        data.episodes("dev")
    with pytest.raises(UserError, match="no column 'price'"):
        data.column("train", "price")


def test_damaged_files_are_named(tmp_path):
    data = write(tmp_path / "data")
    shard = tmp_path / "data" / data.manifest["splits"]["train"]["files"][0]
    good = shard.read_bytes()

    shard.write_bytes(good[:-7])
    with pytest.raises(UserError, match=rf"{shard.name}: damaged: .* bytes; expected"):
        storage.PreparedData.open(tmp_path / "data")
    shard.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    with pytest.raises(UserError, match=rf"{shard.name}: damaged: its checksum"):
        storage.PreparedData.open(tmp_path / "data")
    shard.unlink()
    with pytest.raises(UserError, match=rf"{shard.name}: absent"):
        storage.PreparedData.open(tmp_path / "data")
    shard.write_bytes(good)
    storage.PreparedData.open(tmp_path / "data")


def test_a_folder_without_or_with_another_manifest(tmp_path):
    with pytest.raises(UserError, match="no prepared data here"):
        storage.PreparedData.open(tmp_path)
    (tmp_path / storage.MANIFEST).write_text("{")
    with pytest.raises(UserError, match="not readable as JSON"):
        storage.PreparedData.open(tmp_path)
    (tmp_path / storage.MANIFEST).write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="format is 99; expected 1"):
        storage.PreparedData.open(tmp_path)


def test_an_error_leaves_nothing_behind(monkeypatch, tmp_path):
    def fails(*_):
        raise RuntimeError("disk full")

    monkeypatch.setattr(blocks, "serialise", fails)
    with pytest.raises(RuntimeError, match="disk full"):
        write(tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_replaced_only_on_request_and_only_if_it_is_ours(tmp_path):
    first = write(tmp_path / "data")
    with pytest.raises(UserError, match="holds prepared data already; pass --overwrite"):
        write(tmp_path / "data")
    second = write(tmp_path / "data", dataclasses.replace(CONFIG, seed=9), overwrite=True)
    assert second.fingerprint != first.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["data"]

    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds other files than prepared data"):
        write(tmp_path / "data", overwrite=True)
    assert (tmp_path / "data" / "thesis.tex").exists()


def test_what_an_interrupted_run_left_is_removed(tmp_path):
    (tmp_path / ".data.partial").mkdir()
    (tmp_path / ".data.partial" / "train-00000-of-00001.tfrecord").write_bytes(b"half")
    write(tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_items_without_a_stored_training_step_are_counted(tmp_path):
    # User a has a session a day: items 1 1 4, 2 3 3 and 5. The last two days are stored, cut
    # at two steps, with two events of history: 1 and 4, then 3 and 3.
    days = [(1, 1, 4), (2, 3, 3), (5,)]
    rows = [
        ("a", item, 1_700_000_000_000 + day * 86_400_000 + step * 1000, step % 2, 1.0, 0, 0.5)
        for day, items in enumerate(days)
        for step, item in enumerate(items)
    ]
    frame = pl.DataFrame(rows, schema=list(SCHEMA.columns), orient="row")
    config = dataclasses.replace(
        CONFIG, history_length=2, max_steps=2, max_sessions_per_user=2, test_fraction=0.0,
        validation_fraction=0.0,
    )  # fmt: skip
    prepared = episodes.prepare(schema.validate(frame, SCHEMA, "l"), SCHEMA, config)
    data = storage.write(tmp_path / "a", prepared, SCHEMA, config, "t", warnings=["odd"])
    assert data.manifest["items"] == {
        "count": 5, "without_training_step": 2, "unseen_in_training": 0,
    }  # fmt: skip
    assert data.manifest["warnings"] == ["odd"]
    assert data.untrained_items.startswith("2 of 5 items stand in no stored training step, 0")
    assert "--max_sessions_per_user=0" in data.untrained_items
    # One event of history: item 1 is gone, item 4 is still seen.
    config = dataclasses.replace(config, history_length=1)
    prepared = episodes.prepare(schema.validate(frame, SCHEMA, "l"), SCHEMA, config)
    data = storage.write(tmp_path / "b", prepared, SCHEMA, config, "t")
    assert data.manifest["items"]["unseen_in_training"] == 1
    everything = dataclasses.replace(config, max_steps=3, max_sessions_per_user=0)
    prepared = episodes.prepare(schema.validate(frame, SCHEMA, "l"), SCHEMA, everything)
    data = storage.write(tmp_path / "c", prepared, SCHEMA, everything, "t")
    assert (data.num_untrained_items, data.untrained_items) == (0, "")


def test_counts_of_items_are_those_of_the_stored_sessions(tmp_path):
    config = dataclasses.replace(CONFIG, history_length=1, max_steps=2, max_sessions_per_user=1)
    data = write(tmp_path / "data", config)
    train = data.episodes("train")
    items = np.arange(1, data.spec.num_items + 1)
    trained = np.isin(items, train.item)
    seen = trained | np.isin(items, train.history_item)
    assert data.manifest["items"] == {
        "count": len(items),
        "without_training_step": int((~trained).sum()),
        "unseen_in_training": int((~seen).sum()),
    }


def test_the_manifest_says_what_dense_ids_stand_for(tmp_path):
    data = write(tmp_path / "data")
    assert data.manifest["ids"] == identity.ids_of(data.vocabulary, data.spec)
    assert data.origin.path == str(tmp_path / "data")
    assert data.origin.data == data.source.fingerprint == data.fingerprint
    same = dataclasses.replace(CONFIG, min_steps=2)  # fewer sessions, the same test users
    identity.check(data.origin, write(tmp_path / "same", same).origin, same_split=True)
    other = dataclasses.replace(CONFIG, validation_fraction=0.2)
    with pytest.raises(UserError, match="differ|validation_fraction is 0.1 in .* and 0.2 in"):
        identity.check(data.origin, write(tmp_path / "other", other).origin, same_split=True)


def test_a_split_by_time_is_known_by_its_times(tmp_path):
    config = dataclasses.replace(CONFIG, split="time", max_steps=5)
    data = write(tmp_path / "data", config)
    train_end = int(data.session_times("train")[1].max())
    assert data.provenance["split"] == {
        "split": "time", "train_until_ms": train_end,
        "validation_until_ms": int(data.session_times("validation")[1].max()),
    }  # fmt: skip
