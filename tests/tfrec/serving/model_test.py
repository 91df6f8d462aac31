"""The exported graph: what it answers, and that nothing but state and goal matters."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.serving import fake_ranker
from tfrec.serving import export, golden, requests, warmup

# Empty history, so that scores are g . item: see fake_ranker.ITEMS.
BY_CLICKS = ["i1", "i2", "i3", "i4", "i5", "i6", "i7"]
BY_WATCH = ["i6", "i4", "i7", "i2", "i3", "i5", "i1"]
CLICKS, WATCH = (1.0, 0.0), (0.0, 1.0)


class Model:
    """A saved model that takes Requests."""

    def __init__(self, ranker, directory):
        self.ranker = ranker
        self.path = export.export(ranker, directory)
        self.loaded = tf.saved_model.load(str(self.path))
        self.item_dtype = export.check(ranker)

    def ask(self, *batch, signature="rank", **replaced):
        inputs = requests.arrays(batch, signature, self.item_dtype, num_feedback=2)
        inputs |= replaced
        answer = self.loaded.signatures[signature](
            **{name: tf.constant(value) for name, value in inputs.items()}
        )
        return {name: value.numpy() for name, value in answer.items()}

    def items(self, *batch, **replaced):
        """The item ids of the first request's answer."""
        raw_ids = self.ask(*batch, **replaced)["item"][0].tolist()
        return [item.decode() if isinstance(item, bytes) else item for item in raw_ids]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    return {
        "bilinear": Model(fake_ranker.FakeRanker(True), folder / "bilinear"),
        "mlp": Model(fake_ranker.FakeRanker(False, fake_ranker.INT_IDS), folder / "mlp"),
    }


@pytest.fixture(scope="module")
def model(models):
    return models["bilinear"]


def test_another_goal_is_another_order_as_g_dot_m_says(model):
    assert model.items(requests.Request(goal=CLICKS)) == BY_CLICKS
    assert model.items(requests.Request(goal=WATCH)) == BY_WATCH
    # g . m is .420 .601 .460 .882 .340 1.724 .421 for i1..i7.
    goal = (0.6, 0.802)
    answer = model.ask(requests.Request(goal=goal))
    assert [item.decode() for item in answer["item"][0]] == [
        "i6", "i4", "i2", "i3", "i7", "i1", "i5",
    ]  # fmt: skip
    unit = np.array(goal) / np.hypot(*goal)
    assert answer["score"][0, 0] == pytest.approx(0.2 * unit[0] + 2.0 * unit[1], abs=1e-6)


def test_the_length_of_a_goal_changes_nothing(model):
    answers = model.ask(*(requests.Request(goal=(3 * x, 4 * x)) for x in (1e-20, 1, 1e30)))
    assert np.ptp(answers["score"], axis=0) == pytest.approx(np.zeros(7), abs=1e-6)


def test_measurements_are_in_raw_units(model):
    # i6: V 0, A (0.2, 2.0); raw = A * (0.5, 10) + (2, 30).
    best = model.ask(requests.Request(goal=WATCH, k=1))
    assert best["measurements"][0, 0] == pytest.approx([2.1, 50.0])


def test_history_step_and_feedback_reach_the_model(model):
    # s = 1 x i2 + 1/4 x i1 = (0.6 + 0.175, 0.3); the click between them was on nothing.
    history = requests.Request(
        ("i1", "i5", "i2"), ((1, 5.0), (0, 9.0), (1, 0.0)), step=2, goal=CLICKS, k=1
    )
    answer = model.ask(history)
    value = 0.775 + 0.2
    assert answer["item"][0, 0] == b"i1"
    assert answer["score"][0, 0] == pytest.approx(value + 0.7 * 1.775)
    assert answer["measurements"][0, 0] == pytest.approx(
        [2 + 0.5 * (value + 0.7 * 1.775), 30 + 10 * value]
    )


def test_steps_beyond_the_cap_count_as_the_last_step(model):
    answer = model.ask(requests.Request(goal=CLICKS, k=1, step=5), requests.Request(
        goal=CLICKS, k=1, step=500))  # fmt: skip
    assert answer["score"][:, 0] == pytest.approx([1.2, 1.2])


@pytest.fixture(scope="module")
def without_watch(tmp_path_factory):
    ranker = fake_ranker.FakeRanker()
    ranker.named_goals.pop("watch")
    ranker.discarded = {"watch@1..": "far_windows=exit"}
    return Model(ranker, tmp_path_factory.mktemp("discarded"))


@pytest.mark.parametrize(
    ("signature", "fields"),
    [("rank", {"goal": (1.0, 0.1)}), ("rank_weights", {"weights": (0.0, -2.0)})],
)
def test_weights_of_a_measurement_that_ranks_nothing_are_rejected(
    without_watch, signature, fields
):
    name = next(iter(fields))
    said = r"goal or weights must be 0 for watch@1\.\.: far_windows=exit gives every item"
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        without_watch.ask(requests.Request(**fields), signature=signature)
    allowed = requests.Request(**{name: (2.0, 0.0)})
    assert without_watch.ask(allowed, signature=signature)["valid"].all()
    assert without_watch.items(requests.Request(goal_name="clicks")) == BY_CLICKS
    # A prediction ranks nothing.
    request = requests.Request(goal=(1.0, 1.0), candidates=("i1",))
    assert without_watch.ask(request, signature="predict_measurements")["known"].all()


def test_named_goals_and_vectors_share_a_batch(model):
    named = requests.Request(goal_name="watch")
    answer = model.ask(named, requests.Request(goal=CLICKS))
    assert [item.decode() for item in answer["item"][0]] == BY_WATCH
    assert [item.decode() for item in answer["item"][1]] == BY_CLICKS
    # A name wins over a vector, and an absent input may be empty altogether.
    assert model.items(requests.Request(goal_name="watch", goal=CLICKS)) == BY_WATCH
    empty = np.zeros([0], "S1")
    assert model.items(requests.Request(goal=CLICKS), goal_name=empty) == BY_CLICKS


def test_weights_rank_by_the_weighted_sum_in_raw_units(model):
    weights = np.array([10.0, 0.1])  # values of a click and of a second
    answer = model.ask(requests.Request(weights=tuple(weights)), signature="rank_weights")
    score = answer["measurements"][0] @ weights
    assert np.all(np.diff(score) < 0)
    # 10 x 0.5 clicks and 0.1 x 10 seconds a standard deviation: goal (5, 1) / sqrt(26).
    unit = np.array([5, 1]) / np.sqrt(26)
    assert answer["score"][0] == pytest.approx(np.sort(fake_ranker.ITEMS @ unit)[::-1])


@pytest.mark.parametrize("head", ["bilinear", "mlp"])
def test_python_and_saved_model_agree_on_random_requests(models, head):
    model = models[head]
    random, ids = np.random.default_rng(3), model.ranker.vocabulary.items.tolist()
    batch = []
    for _ in range(60):
        history = tuple(random.choice(ids, random.integers(8)).tolist())
        feedback = tuple(
            (float(random.integers(2)), float(random.exponential(20))) for _ in history
        )
        batch.append(
            requests.Request(
                history,
                feedback,
                step=int(random.integers(8)),
                goal=tuple(random.normal(size=2).tolist()),
                candidates=tuple(random.choice(ids, random.integers(6)).tolist()),
                exclude=tuple(random.choice(ids, random.integers(4)).tolist()),
                k=5,
            )
        )
    expected = golden.reference(model.ranker, batch)
    together = model.ask(*batch)
    for row, request in enumerate(batch):
        alone = {name: value[0] for name, value in model.ask(request).items()}
        for actual in (alone, {name: value[row] for name, value in together.items()}):
            items = [i.decode() if isinstance(i, bytes) else i for i in actual["item"].tolist()]
            assert items == expected["item"][row].tolist()
            np.testing.assert_allclose(actual["score"], expected["score"][row], atol=1e-5)
            np.testing.assert_allclose(
                actual["measurements"], expected["measurements"][row], rtol=1e-5
            )


def test_padding_anywhere_and_events_beyond_h_change_nothing(model):
    rows = ((1, 3.0), (0, 8.0), (1, 2.0), (1, 1.0))
    request = requests.Request(("i1", "i2", "i3", "i4"), rows, goal=WATCH, step=2)
    plain = model.ask(request)
    junk = (1.0, 99.0)
    gaps = requests.Request(
        ("", "i1", "", "i2", "i3", "i4", ""),
        (junk, rows[0], junk, *rows[1:], junk),
        goal=WATCH,
        step=2,
    )
    longer = requests.Request(("i7", "i6", *request.history), ((1, 1), (1, 1), *rows), 2, WATCH)
    for same in (gaps, longer):
        for name, value in model.ask(same).items():
            np.testing.assert_array_equal(value, plain[name])


def test_events_of_unknown_items_are_left_out_with_their_steps(model):
    without_unknown = requests.Request(("i1", "i2"), ((1, 3.0), (1, 8.0)), step=1, goal=WATCH)
    with_unknown = requests.Request(
        ("zz", "i1", "i2", "?"), ((1, 5.0), (1, 3.0), (1, 8.0), (1, 4.0)), step=2, goal=WATCH
    )
    plain = model.ask(without_unknown)
    for name, value in model.ask(with_unknown).items():
        np.testing.assert_array_equal(value, plain[name])


def test_order_and_repetition_of_candidates_change_nothing(model):
    answers = [
        model.ask(requests.Request(goal=(1.0, 0.2), candidates=candidates, k=4))
        for candidates in (
            ("i3", "i1", "i6"),
            ("i6", "i3", "i1", "i3", "i1"),
            ("i1", "zz", "i6", "", "i3"),
        )
    ]
    assert answers[0]["item"][0].tolist() == [b"i1", b"i6", b"i3", b""]
    for answer in answers[1:]:
        for name, value in answer.items():
            np.testing.assert_array_equal(value, answers[0][name])


def test_ties_go_to_the_item_that_the_vocabulary_has_first(model):
    assert model.items(requests.Request(goal=WATCH))[4:6] == ["i3", "i5"]
    for candidates in (("i5", "i3"), ("i3", "i5")):
        tied = requests.Request(goal=WATCH, candidates=candidates, k=2)
        assert model.items(tied) == ["i3", "i5"]


def test_exclusion(model):
    excluded = requests.Request(goal=CLICKS, exclude=("i1", "zz", "i3"), k=3)
    assert model.items(excluded) == ["i2", "i4", "i5"]
    both = requests.Request(goal=CLICKS, exclude=("i1",), candidates=("i1", "i2"), k=3)
    assert model.items(both) == ["i2", "", ""]


def test_fewer_than_k_remain(model):
    answer = model.ask(requests.Request(goal=CLICKS, candidates=("i2", "zz"), k=3))
    assert answer["item"][0].tolist() == [b"i2", b"", b""]
    assert answer["valid"][0].tolist() == [True, False, False]
    assert np.isneginf(answer["score"][0, 1:]).all()
    assert not answer["measurements"][0, 1:].any()
    nothing = model.ask(requests.Request(goal=CLICKS, candidates=("zz",), k=2))
    assert not nothing["valid"].any()
    everything_excluded = requests.Request(goal=CLICKS, exclude=tuple(BY_CLICKS), k=2)
    assert not model.ask(everything_excluded)["valid"].any()


def test_k_is_cut_to_the_catalogue_and_may_differ_by_row(model):
    assert len(model.items(requests.Request(goal=CLICKS, k=10_000))) == 7
    answer = model.ask(requests.Request(goal=CLICKS, k=1), requests.Request(goal=CLICKS, k=3))
    assert answer["valid"].tolist() == [[True, False, False], [True, True, True]]
    shared = model.ask(*[requests.Request(goal=CLICKS)] * 2, k=np.int32(2))
    assert shared["item"].shape == (2, 2)


def test_integer_ids(models):
    model = models["mlp"]
    ids = dict(zip(BY_CLICKS, range(101, 108), strict=True))
    assert model.items(requests.Request(goal=WATCH)) == [ids[name] for name in BY_WATCH]
    few = requests.Request(goal=WATCH, candidates=(104, 999, 101), exclude=(101,), k=2)
    assert model.items(few) == [104, -1]


def test_predict_measurements(model):
    request = requests.Request(("i1",), ((1, 0.0),), goal=CLICKS, candidates=("i2", "zz", "i2"))
    answer = model.ask(request, signature="predict_measurements")
    # s = (0.7, 0): V = 0.7 twice; i2 adds (0.6 x 1.7, 0.3 x 1). Unknown: V alone.
    measured = [2 + 0.5 * (0.7 + 1.02), 30 + 10 * (0.7 + 0.3)]
    assert answer["measurements"][0] == pytest.approx(
        np.array([measured, [2 + 0.35, 30 + 7.0], measured])
    )
    assert answer["known"][0].tolist() == [True, False, True]


BAD = [
    ({"goal": np.zeros([1, 2], np.float32)}, "goal.*a weight other than 0"),
    ({"goal": np.zeros([1, 0], np.float32)}, "goal.*clicks, watch.*a weight other than 0"),
    ({"goal": np.array([[np.nan, 1]], np.float32)}, "goal.*must be finite"),
    ({"goal": np.array([[np.inf, 1]], np.float32)}, "goal.*must be finite"),
    ({"goal": np.ones([1, 3], np.float32)}, r"goal must have 2 columns: click@0, watch@1\.\."),
    ({"goal": np.ones([2, 2], np.float32)}, "goal must have as many rows as history_item"),
    (
        {"goal_name": np.array([b"profit"])},
        "unknown goal_name; the named goals are clicks",
    ),
    ({"history_feedback": np.zeros([1, 2, 3], np.float32)}, "2 values .click, watch. for each"),
    ({"history_feedback": np.zeros([1, 1, 2], np.float32)}, "for each event of history_item"),
    ({"history_feedback": np.full([1, 2, 2], np.nan, np.float32)}, "feedback must be finite"),
    ({"history_feedback": np.full([1, 2, 2], -1, np.float32)}, "must not be negative"),
    ({"history_feedback": np.full([1, 2, 2], 3e38, np.float32)}, "scores are not finite"),
    ({"step": np.array([-1], np.int32)}, "step must not be negative"),
    ({"step": np.array([1, 1], np.int32)}, "step must have one number a row"),
    ({"k": np.array([0], np.int32)}, "k must be at least 1"),
    ({"k": np.array([1, 2, 3], np.int32)}, "k must be one number or one a row"),
    ({"candidates": np.array([[b"i1"], [b"i2"]])}, "candidates must have as many rows"),
    ({"exclude": np.array([[b"i1"], [b"i2"]])}, "exclude must have as many rows"),
]


@pytest.mark.parametrize("replaced, message", BAD, ids=[message for _, message in BAD])
def test_bad_requests_are_rejected_with_a_message(model, replaced, message):
    good = requests.Request(("i1", "i2"), ((1, 1.0), (1, 1.0)), goal=CLICKS)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.ask(good, **replaced)


def test_bad_weights_are_rejected(model):
    for weights, message in (((0.0, 0.0), "other than 0"), ((np.nan, 1.0), "finite")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            model.ask(requests.Request(weights=weights), signature="rank_weights")


def test_many_candidates_and_a_long_history_are_answered(model):
    request = requests.Request(
        ("i1", "zz") * 500,
        ((1, 1.0),) * 1000,
        goal=CLICKS,
        candidates=tuple(f"x{i}" for i in range(20_000)) + ("i4", "i5"),
        exclude=tuple(f"y{i}" for i in range(5_000)),
        k=3,
    )
    assert model.items(request) == ["i4", "i5", ""]


def test_warm_up_requests_cover_every_signature(model):
    logged = warmup.read(model.path)
    assert {name for name, _ in logged} == {"serving_default", *requests.SIGNATURES}
    for signature, inputs in logged:
        answer = model.loaded.signatures[signature](**inputs)
        assert np.isfinite(answer["measurements"].numpy()).all()
