"""Warm starts: what a run keeps of an agent of another day, what is new, what is rejected."""

import shutil

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

import tfgoalrec
import tfrec
from tfgoalrec import exporting
from tfrec import types
from tfrec.data import feature_encoding, feature_schema, identity
from tfrec.methods import catalogue, registry, warm_start
from tfrec.nn import item_embedding, state_features
from tfrec.training import checkpoint, optimizers

pytestmark = pytest.mark.slow

# The most shown item of Monday is the rarest of Tuesday, so that dense ids differ.
MONDAY = {"lamp": 6, "mug": 5, "rug": 4, "desk": 3, "vase": 2}
TUESDAY = {"sofa": 7, "vase": 6, "rug": 5, "stool": 4, "mug": 3, "lamp": 2}
ITEMS = pl.DataFrame(
    {
        "item": ["lamp", "mug", "rug", "desk", "vase", "sofa", "stool"],
        "room": ["hall", "kitchen", "hall", "kitchen", "hall", "lounge", "lounge"],
        "price": [5.0, 2.0, 9.0, 7.0, 4.0, 30.0, 3.0],
        "title": ["a lamp", "blue mug", "red rug", "a desk", "vase", "red sofa", "a stool"],
    }
)
COLUMNS = {
    "room": {"kind": "category", "cross": 8},
    "price": {"kind": "number", "bins": 3},
    "title": {"kind": "text", "buckets": 12, "slots": 2, "cross": 8},
}
CONTEXT_COLUMNS = {"device": {"kind": "category", "min_items": 1}, "hour": "hour"}
USER_COLUMNS = {"region": "category", "age": {"kind": "number", "bins": 3}}
REGIONS = ("north", "south", "west")
SMALL = {
    "embedding": 4, "units": 4, "state": 4, "batch": 8, "updates_per_round": 3,
    "log_rounds": 2, "replay_sessions": 64, "sessions_per_round": 8,
}  # fmt: skip
CLASSES = {
    "goalrec": (tfgoalrec.GoalRec, {"goal_units": 4, "stream": 4, "item_vector": 4}),
    "dien": (tfrec.baselines.DIEN, {"hidden": 4}),
    "rainbow": (tfrec.baselines.Rainbow, {"hidden": 4, "atoms": 5}),
    "dyna_q": (tfrec.baselines.DynaQ, {"hidden": 4, "batch": 24, "warm_up": 2}),
    "wide_and_deep": (tfrec.baselines.WideAndDeep, {"hidden": 4, "buckets": 64}),
}


def agent(name, **changes):
    made, sizes = CLASSES[name]
    return made(seed=3, **(SMALL | sizes | changes))


def prepare(folder, day, features=True, columns=None, watch=1, others=None, **changes):
    """A log in which users see each item of a day as often as it says."""
    rng = np.random.default_rng(len(day))
    devices = ("phone", "desk") if "desk" in day else ("phone", "desk", "watch")
    shown = [item for item, times in day.items() for _ in range(times)]
    rows = [
        (
            f"u{user}",
            item,
            1_700_000_000 + 3600 * user + 30 * step,
            int(rng.random() < 0.5),
            watch * step,
            devices[user % len(devices)],
        )
        for user in range(12)
        for step, item in enumerate(rng.permutation(shown))
    ]
    columns_of_log = ["user", "item", "time", "click", "watch", "device"]
    table = pl.DataFrame(rows, columns_of_log, orient="row")
    folder.mkdir()
    table.write_csv(folder / "log.csv")
    ITEMS.write_csv(folder / "items.csv")
    regions = REGIONS[: 2 if "desk" in day else 3]  # the west is new on Tuesday
    users = [(f"u{u}", regions[u % len(regions)], 20 + 5 * u) for u in range(12)]
    pl.DataFrame(users, ["user", "region", "age"], orient="row").write_csv(folder / "users.csv")
    declared = {
        "item_features": folder / "items.csv", "feature_columns": columns or COLUMNS,
        "user_features": folder / "users.csv", "user_feature_columns": USER_COLUMNS,
        "context_columns": CONTEXT_COLUMNS,
    }  # fmt: skip
    return tfrec.read_log(
        folder / "log.csv",
        out=folder / "data",
        **({"feedback": ["click", "watch:seconds"], "max_steps": 8, "history_length": 5}
           | changes | (declared if features else {})),
    )  # fmt: skip


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    folder = tmp_path_factory.mktemp("days")
    return prepare(folder / "monday", MONDAY), prepare(folder / "tuesday", TUESDAY, watch=3)


@pytest.fixture(scope="module")
def plain_days(tmp_path_factory):
    """The same days without features."""
    folder = tmp_path_factory.mktemp("plain")
    return [
        prepare(folder / name, day, features=False)
        for name, day in (("monday", MONDAY), ("tuesday", TUESDAY))
    ]


@pytest.fixture(scope="module")
def monday_run(days, tmp_path_factory):
    """A DIEN run of Monday in a folder."""
    run = tmp_path_factory.mktemp("runs") / "monday"
    agent("dien").fit(days[0], out=run)
    return run


def started(fitted, data):
    """A new learner of `data` before its first update, with the plan and the start."""
    method, config = fitted._method, fitted.config
    start = warm_start.Start("monday", fitted.agent, fitted._learner)
    change = warm_start.plan(start, method, config, data)
    log = data.episodes("train")
    learner = method.make(config, change.spec, log, None, None, 5, change.features)
    fresh = values(learner)
    start.apply(learner, change, log)
    return start, change, learner, fresh


def values(module):
    return {k: v.numpy() for k, v in checkpoint.named_variables(module).items()}


def by_item(table, vocabulary):
    return dict(zip(vocabulary.items.tolist(), table[1:], strict=True))


def by_value(table, encoder):
    names = encoder.names(np.arange(1, encoder.spec.values + 1))
    return dict(zip(names, table[1:], strict=True))


def embeddings(learner):
    return [p for p in learner.submodules if isinstance(p, item_embedding.ItemEmbedding)]


@pytest.fixture(scope="module", params=CLASSES)
def warm(request, days):
    fitted = agent(request.param).fit(days[0])
    return request.param, fitted, *started(fitted, days[1])


def test_rows_of_items_move_with_their_slots(warm, days):
    _, fitted, _, change, learner, _ = warm
    old, new = days[0].vocabulary, change.vocabulary
    assert old.items.tolist() != new.items[: len(old.items)].tolist()
    pairs = list(zip(embeddings(fitted._learner), embeddings(learner), strict=True))
    assert pairs
    for before, after in pairs:
        rows = [(before.ids, after.ids)]
        for ours, theirs in zip(fitted._learner.optimizers, learner.optimizers, strict=True):
            rows += zip(
                optimizers.slots(ours, before.ids),
                optimizers.slots(theirs, after.ids),
                strict=True,
            )
        for one, other in rows:
            kept, moved = by_item(one.numpy(), old), by_item(other.numpy(), new)
            for item in ("lamp", "mug", "rug", "vase"):
                np.testing.assert_array_equal(moved[item], kept[item])
            for item in ("sofa", "stool"):
                np.testing.assert_array_equal(moved[item], 0.0)
    trained = [
        slot
        for optimizer in learner.optimizers
        for part in embeddings(learner)
        for slot in optimizers.slots(optimizer, part.ids)
    ]
    assert len(trained) >= 2 and all(np.abs(slot.numpy()).max() > 0 for slot in trained)


def test_values_of_features_move_by_their_names(warm, days):
    _, fitted, _, change, learner, _ = warm
    old, new = days[0].vocabulary.item_features, change.vocabulary.item_features
    assert [code.categories for code in new.codes][0] == ("hall", "kitchen", "lounge")
    assert new.codes[1].edges == old.codes[1].edges
    for before, after in zip(embeddings(fitted._learner), embeddings(learner), strict=True):
        tables = [(before.value_embedding, after.value_embedding)]
        for ours, theirs in zip(fitted._learner.optimizers, learner.optimizers, strict=True):
            tables += zip(
                optimizers.slots(ours, before.value_embedding),
                optimizers.slots(theirs, after.value_embedding),
                strict=True,
            )
        for one, other in tables:
            kept, moved = by_value(one.numpy(), old), by_value(other.numpy(), new)
            assert moved.keys() - kept.keys() == {"room=lounge"}
            for name, row in kept.items():
                np.testing.assert_array_equal(moved[name], row, err_msg=name)
            np.testing.assert_array_equal(moved["room=lounge"], kept["room=rare"])
        sofa = after.encoded.values[change.vocabulary.encode(["sofa"])[0]]
        assert new.names(sofa)[0] == "room=lounge"


def by_state_value(table, encoders):
    """Rows by the names of the values of users and contexts."""
    names = [x.names(np.arange(1, x.spec.values + 1)) for x in encoders]
    return dict(zip([*names[0], *names[1]], table[1:], strict=True))


def test_values_of_users_and_contexts_move_by_their_names(warm, days):
    _, fitted, _, change, learner, _ = warm
    old, new = days[0].vocabulary.state_encoder, days[1].vocabulary.state_encoder
    assert change.vocabulary.state_encoder == new
    towers = [
        [p for p in x.submodules if isinstance(p, state_features.StateFeatures)]
        for x in (fitted._learner, learner)
    ]
    assert towers[0]
    for before, after in zip(*towers, strict=True):
        tables = [(before.context_embedding, after.context_embedding)]
        for ours, theirs in zip(fitted._learner.optimizers, learner.optimizers, strict=True):
            tables += zip(
                optimizers.slots(ours, before.context_embedding),
                optimizers.slots(theirs, after.context_embedding),
                strict=True,
            )
        for one, other in tables:
            kept, moved = (by_state_value(x.numpy(), y) for x, y in ((one, old), (other, new)))
            for name in ("region=north", "region=south", "region missing", "age missing"):
                np.testing.assert_array_equal(moved[name], kept[name], err_msg=name)
            np.testing.assert_array_equal(moved["region=west"], kept["region=rare"])
            same = {
                *(f"hour={hour}" for hour in range(24)),
                *("hour missing", "device missing", "device=phone", "device=desk"),
            }
            for name in same:
                np.testing.assert_array_equal(moved[name], kept[name], err_msg=name)
            np.testing.assert_array_equal(moved["device=watch"], kept["device=rare"])


def test_all_else_is_kept_but_the_run(warm):
    _, fitted, _, _, learner, fresh = warm
    before, after = values(fitted._learner), values(learner)
    excluded = warm_start._of_run(learner)
    named = checkpoint.named_variables(learner)
    # Tables of items and of feature values, and hashes of ids, with their slots.
    tables = (
        "item_embedding", "value_embedding", "context_embedding", "feature_values",
        "item_weight", "weight",
    )  # fmt: skip
    compared = 0
    for key, value in after.items():
        name = named[key].name.removeprefix("m/").removeprefix("v/")
        if id(named[key]) in excluded:
            if not key.startswith(("replay", "held_out")):  # GoalRec measures its log anew
                np.testing.assert_array_equal(value, fresh[key], err_msg=key)
        elif not name.startswith((*tables, "frozen_item_embedding")):
            np.testing.assert_array_equal(value, before[key], err_msg=key)
            compared += 1
    assert compared > 20
    assert int(learner.iteration) == 0
    counters = [x for x in after if x.endswith(("optimizer/_iterations", "updates"))]
    assert counters and all(after[x] == 6 for x in counters)


def scores(learner, vocabulary, spec):
    """Of each item, after a history of known items with feedback."""
    length = spec.history_length
    history = vocabulary.encode(["rug", "mug", "vase", "lamp", "rug"])[-length:]
    feedback = np.tile([[1.0, 7.0], [0.0, 0.0]], [3, 1])[:length]
    observation = types.Observation(
        tf.constant(history[None]),
        tf.constant(feedback[None], tf.float32),
        tf.constant([2]),
        tf.constant(
            [vocabulary.state_encoder.encode_one({"region": "north"}, {"hour": 23})], tf.int32
        ),
    )
    if hasattr(learner, "agent") and hasattr(learner.agent, "averaged"):
        model, goals = learner.agent.averaged, learner.agent.named_goals["click"]
        goal = tf.constant(goals[None], tf.float32)
        found = model.scores(model.encode(observation, goal), goal)
    else:
        found = learner.scores(observation, None)
    return dict(zip(vocabulary.items.tolist(), found[0].numpy(), strict=True))


def test_the_first_ranking_is_that_of_the_start(warm, days):
    name, fitted, _, change, learner, _ = warm
    before = scores(fitted._learner, days[0].vocabulary, days[0].spec)
    after = scores(learner, change.vocabulary, change.spec)
    shared = ["lamp", "mug", "rug", "vase"]
    if name == "wide_and_deep":  # its crosses of ids start anew
        assert not learner.network.wide.weight.numpy().any()
        return
    # Rainbow's advantages are against the mean of the catalogue, which changes.
    differences = [after[x] - before[x] for x in shared]
    np.testing.assert_allclose(differences, differences[0], atol=1e-5)
    if name != "rainbow":
        assert abs(differences[0]) < 1e-5
    assert after["sofa"] != after["stool"]  # by their features


def test_feedback_keeps_its_scale_and_the_data_their_origin(days, tmp_path):
    assert days[0].spec.feedback[1].scale != days[1].spec.feedback[1].scale
    fitted = agent("dien").fit(days[0])
    later = agent("dien").fit(days[1], start=fitted)
    assert later.agent.spec.feedback == days[0].spec.feedback
    assert later.agent.about["started from"] == [
        {
            "agent": fitted.fingerprint,
            "data": days[0].fingerprint,
            "split": days[0].manifest["split"],
        }
    ]
    later.save(tmp_path / "agent")
    opened = tfrec.load(tmp_path / "agent")
    ranked = opened.rank(["rug", "mug"], k=6)
    assert set(ranked.items) == set(TUESDAY)
    exporting.metadata(opened.agent, "a", "b", name="c", data=days[1])
    with pytest.raises(tfrec.UserError, match="started from an agent that was trained on"):
        identity.check(opened.agent.origin("later"), days[1].origin, same_split=True)


def test_without_features_a_new_item_starts_as_in_any_run(plain_days):
    fitted = agent("dien").fit(plain_days[0])
    _, change, learner, fresh = started(fitted, plain_days[1])
    [table] = [key for key in fresh if key.endswith("item_embedding") and "m/" not in key]
    rows = by_item(values(learner)[table], change.vocabulary)
    at_random = by_item(fresh[table], change.vocabulary)
    before = by_item(values(fitted._learner)[table], plain_days[0].vocabulary)
    for item in TUESDAY:
        expected = before[item] if item in MONDAY else at_random[item]
        np.testing.assert_array_equal(rows[item], expected)


def test_hashed_ids_start_anew_where_ids_change(days):
    fitted = agent("dien", crossed=16).fit(days[0])
    table = fitted._learner.network.towers.tower.crossed.table
    assert table.numpy().any()
    _, change, learner, _ = started(fitted, days[1])
    assert change.renumbered
    assert not learner.network.towers.tower.crossed.table.numpy().any()
    _, same, again, _ = started(fitted, days[0])
    assert not same.renumbered
    np.testing.assert_array_equal(again.network.towers.tower.crossed.table, table)


def test_the_folder_of_a_run_is_as_good_as_its_recommender(days, monday_run):
    monday = agent("dien").fit(days[0])
    in_memory = agent("dien").fit(days[1], start=monday)
    for start in (monday_run / "agent", tfrec.load(monday_run / "agent")):
        from_folder = agent("dien").fit(days[1], start=start)
        assert from_folder.fingerprint == in_memory.fingerprint
    assert in_memory.fingerprint != agent("dien").fit(days[1]).fingerprint


def test_a_chain_of_days_in_folders(days, tmp_path):
    runs = [tmp_path / f"day_{number}" for number in range(3)]
    start = None
    for number, run in enumerate(runs):
        fitted = agent("goalrec").fit(days[number % 2], start=start, out=run)
        start = run / "agent_off"
    chain = fitted.agent.about["started from"]
    assert [x["data"] for x in chain] == [days[0].fingerprint, days[1].fingerprint]
    assert set(fitted.agent.vocabulary.item_features.codes[0].categories) == {
        "hall", "kitchen", "lounge",
    }  # fmt: skip


class Stop(Exception):
    pass


def test_an_interrupted_warm_run_ends_with_the_same_bits(
    days, monday_run, tmp_path, monkeypatch
):
    start, make = monday_run / "agent", registry.Method.make
    whole = agent("dien", log_rounds=4).fit(days[1], start=start, out=tmp_path / "whole")

    def interrupted(method, *arguments, **named):
        learner = make(method, *arguments, **named)
        advance = learner.advance

        def advance_twice():
            if int(learner.iteration) == 2:
                raise Stop
            return advance()

        learner.advance = advance_twice
        return learner

    monkeypatch.setattr(registry.Method, "make", interrupted)
    with pytest.raises(Stop):
        agent("dien", log_rounds=4).fit(
            days[1], start=start, out=tmp_path / "run", save_every=1
        )
    monkeypatch.setattr(registry.Method, "make", make)
    with pytest.raises(tfrec.UserError, match="start: was .*agent with fingerprint .* none"):
        agent("dien", log_rounds=4).fit(days[1], out=tmp_path / "run")
    resumed = agent("dien", log_rounds=4).fit(days[1], start=start, out=tmp_path / "run")
    assert resumed.fingerprint == whole.fingerprint
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("run", "whole")]
    assert lines[0] == lines[1]


def test_a_copy_of_an_agent_is_rejected(days, monday_run, tmp_path):
    shutil.copytree(monday_run / "agent", tmp_path / "agent")
    with pytest.raises(
        tfrec.UserError, match=r"no checkpoint with its weights .*there is none"
    ):
        agent("dien").fit(days[1], start=tmp_path / "agent", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_agent_with_changed_items_is_rejected(days, monday_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(monday_run, run)
    ITEMS.write_csv(tmp_path / "items.csv")
    changed = tfrec.load(run / "agent").with_items(tmp_path / "items.csv")
    with pytest.raises(tfrec.UserError, match="its items were changed; expected a fitted"):
        agent("dien").fit(days[1], start=changed)
    changed.save(run / "agent")
    with pytest.raises(tfrec.UserError, match="has no checkpoint with its weights"):
        agent("dien").fit(days[1], start=run / "agent")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": 8}, "embedding is 4 in monday and 8 in the run"),
        ({"crossed": 16}, "crossed is 0 in monday and 16 in the run"),
        ({"query": "candidate"}, "query is 'latest' in monday and 'candidate' in the run"),
        ({"use_features": False}, "are room, price, title in monday and none in .*features=F"),
    ],
)
def test_other_networks_are_rejected(changes, message, days, monday_run):
    method = registry.get("dien")
    start = warm_start.read(monday_run / "agent", method)._replace(path="monday")
    with pytest.raises(tfrec.UserError, match=message):
        warm_start.plan(start, method, agent("dien", **changes).config, days[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"history_length": 4}, "history_length is 5 in monday and 4 in .*data"),
        ({"max_steps": 7}, "max_steps is 8 in monday and 7 in .*data"),
        (
            {"feedback": ["click"]},
            r"feedback is click .*, watch \(amount, seconds\) in monday and click \(binary, "
            r"clicks\) in",
        ),
        ({"features": False}, "features of items are room, price, title in monday and none in"),
        (
            {"columns": {"room": "category", "price": "number"}},
            "the columns are 'room', 'price', 'title' and 'room', 'price'; expected the same",
        ),
        (
            {"columns": COLUMNS | {"price": {"kind": "number", "bins": 4}}},
            "column 'price': bins is 3 and 4; expected the same declaration",
        ),
        ({"day": {"oak": 3, "elm": 4}, "features": False}, "none of the items of .*'elm'"),
        ({"day": {"1": 3, "2": 4}, "features": False}, "ids are text in monday and numbers in"),
    ],
)
def test_other_data_are_rejected(changes, message, monday_run, tmp_path):
    method = registry.get("dien")
    start = warm_start.read(monday_run / "agent", method)._replace(path="monday")
    data = prepare(tmp_path / "other", **({"day": TUESDAY} | changes))
    with pytest.raises(tfrec.UserError, match=message):
        warm_start.plan(start, method, agent("dien").config, data)


def test_another_method_is_rejected(days, monday_run):
    with pytest.raises(
        tfrec.UserError, match="agent is an agent of dien; expected one of rain"
    ):
        agent("rainbow").fit(days[1], start=monday_run / "agent")
    with pytest.raises(tfrec.UserError, match="is an agent of dien; expected one of goalrec"):
        agent("goalrec").fit(days[1], start=agent("dien").fit(days[0]))


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (tfrec.baselines.TD3, "td3 cannot start .*: its actions are vectors made of the log"),
        (tfrec.baselines.ItemCounts, "item_counts cannot start .*: it counts what the log"),
        (
            tfgoalrec.GoalRec,
            "goalrec cannot start .*: item_input is log: .*a new item has none",
        ),
    ],
)
def test_a_method_that_cannot_says_why(made, why, days, tmp_path):
    fields = {line.partition(" ")[0] for line in made.describe().splitlines()}
    sizes = {k: v for k, v in SMALL.items() if k in fields}
    sizes |= {"item_input": "log"} if "item_input" in fields else {}
    made(seed=1, **sizes).fit(days[0], out=tmp_path / "run")
    agents = [tmp_path / "run" / name for name in ("agent", "agent_off")]
    [start] = [path for path in agents if path.is_dir()]
    with pytest.raises(tfrec.UserError, match=why):
        made(seed=1, **sizes).fit(days[1], start=start)


def test_a_chain_of_splits_by_time_is_evaluated_on_later_sessions(days):
    one = days[0].origin
    times = {"split": "time", "train_until_ms": 20, "validation_until_ms": 30}
    earlier = [{"agent": "1", "data": "0", "split": times | {"train_until_ms": 10}}]
    other = one.__class__(one.path, one.vocabulary, one.spec, "2", times)
    trained = one.__class__(one.path, one.vocabulary, one.spec, "2", times, earlier)
    identity.check(trained, other, same_split=True)
    late = [{"agent": "1", "data": "0", "split": times | {"train_until_ms": 31}}]
    trained = one.__class__(one.path, one.vocabulary, one.spec, "2", times, late)
    with pytest.raises(tfrec.UserError, match="fingerprint 0, split .*31.*split=time, so that"):
        identity.check(trained, other, same_split=True)


def test_a_bin_of_users_is_that_which_holds_its_middle():
    def encoder(edges, region):
        age = feature_schema.FeatureColumn(name="age", kind="number", bins=3)
        regions = feature_schema.FeatureColumn(name="region")
        codes = (
            feature_encoding.ColumnCode(age, 1, edges=edges),
            feature_encoding.ColumnCode(regions, 3 + len(edges), categories=region),
        )
        return feature_encoding.FeatureEncoder(codes)

    # Numbers before: age 1 missing, 2..30, 3 30..50, 4 50..; region 5 missing, 6 rare, 7 8.
    before = encoder((30.0, 50.0), ("north", "south"))
    # Now: age 1 missing, 2 ..20, 3 20..28 (middle 24), 4 28..; region 5, 6, 7 west, 8 north.
    now = encoder((20.0, 28.0), ("west", "north"))
    expected = [0, 1, 2, 2, 2, 5, 6, 6, 7]
    assert feature_encoding.nearest_values(before, now).tolist() == expected
    later = encoder((40.0, 60.0), ("north",))  # middles 39, 50 and 60
    expected = [0, 1, 3, 4, 4, 5, 6, 7]
    assert feature_encoding.nearest_values(before, later).tolist() == expected
    assert feature_encoding.nearest_values(before, before).tolist() == list(range(9))


def test_a_renumbered_catalogue_is_told_from_an_appended_one(days):
    def change(*rows):
        return catalogue.Catalogue(
            days[0].vocabulary, days[0].spec, np.array(rows), None, added=0, removed=0
        )

    new = catalogue.NEW
    assert not change(0, 1, 2, 3, new, new).renumbered
    assert change(0, 1, 2, new, 3).renumbered  # new candidates before other items
    assert change(0, 2, 1).renumbered
