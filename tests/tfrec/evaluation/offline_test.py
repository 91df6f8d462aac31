"""Parts of an offline comparison: training events, an agent's lists, means and differences."""

import json

import numpy as np
import pytest

import tfrec
from tfrec import types
from tfrec.data import protocols, sequences
from tfrec.errors import UserError
from tfrec.evaluation import next_items, offline, offline_report, rankers

# A user's items, two sessions each: the second begins a day later.
LOG = {"u": ["a", "b", "c", "d", "e"], "v": ["b", "c", "a"], "w": ["e", "d", "a", "b"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("offline"), LOG)


def prepared(folder, log):
    rows = ["user,item,time,click"]
    for user, items in log.items():
        for place, item in enumerate(items):
            time = 1_700_000_000 + place + (86_400 if place >= 2 else 0)
            rows.append(f"{user},{item},{time},{(place + 1) % 2}")
    (folder / "log.csv").write_text("\n".join(rows) + "\n")
    return tfrec.read_log(
        folder / "log.csv",
        out=folder / "data",
        feedback=["click"],
        max_steps=9,
        history_length=4,
        test_fraction=0.0,
        validation_fraction=0.0,
    )


def raw(data, items):
    return ["-" if item == 0 else data.vocabulary.items[item - 1] for item in items]


def of_user(data, user):
    return data.vocabulary.users.tolist().index(user)


def test_training_data_holds_the_first_events_of_each_user(data, tmp_path):
    log = sequences.of_prepared(data)
    split = protocols.user_ratio(log)
    training = offline.first_events(split.train)
    out = tmp_path / "training"
    train = offline.training_data(data, training, out, max_steps=5, history_length=3)
    retained = sequences.of_prepared(train)
    for user, items in LOG.items():
        count = split.train.lengths[of_user(data, user)]
        assert raw(train, retained.row(of_user(train, user))) == items[:count]
    assert train.spec.history_length == 3 and train.spec.max_steps == 5
    clicks = sequences.events_of(train).feedback[:, 0]
    assert clicks.sum() == sum((n + 1) // 2 for n in split.train.lengths)
    # What is there already is opened.
    again = offline.training_data(data, training, out, max_steps=5, history_length=3)
    assert again.fingerprint == train.fingerprint
    with pytest.raises(UserError, match="holds training events of .*; expected other events"):
        offline.training_data(data, training, out, 5, history_length=3, about="other events of")


@pytest.mark.parametrize("users", [9, 10, 30])
def test_one_user_at_least_is_held_out_of_ten_or_more(users, tmp_path):
    data = prepared(tmp_path, {f"u{n}": LOG["u"] for n in range(users)})
    training = offline.first_events(sequences.of_prepared(data))
    train = offline.training_data(data, training, tmp_path / "t", 5, history_length=3)
    held_out = [set(train.episodes(split).user.tolist()) for split in ("validation", "test")]
    assert list(map(len, held_out)) == ([0, 0] if users == 9 else [1, 1])


def test_a_session_beyond_max_steps_becomes_several_and_no_event_is_lost(data, tmp_path):
    split = protocols.user_ratio(sequences.of_prepared(data))
    training = offline.first_events(split.train)
    train = offline.training_data(data, training, tmp_path / "t", 1, history_length=3)
    retained = sequences.of_prepared(train)
    for user, items in LOG.items():
        count = split.train.lengths[of_user(data, user)]
        assert raw(train, retained.row(of_user(train, user))) == items[:count]
    assert train.num_sessions("all") == split.train.lengths.sum()


def test_times_of_sessions_are_two_pauses_apart():
    # Two users; the first has a session of five steps and one of a step, the second one of two.
    events = sequences.Events(
        row=np.array([0, 0, 0, 0, 0, 0, 1, 1]),
        item=np.ones(8, np.int32),
        start_ms=np.array([7, 7, 7, 7, 7, 9, 9, 9]),
        step=np.array([0, 1, 2, 3, 4, 0, 0, 1]),
        feedback=np.zeros([8, 1], np.float32),
    )
    times = offline.session_times(events, max_steps=2, gap_minutes=0.001)  # 60 ms
    assert times.tolist() == [0, 1, 120, 121, 240, 360, 0, 1]


class Agent:
    """Lists the items after the last one of the history, in the order of its own ids."""

    reads_feedback = True

    def __init__(self, data):
        self.spec, self.vocabulary, self.asked = data.spec, data.vocabulary, []

    def lists(self, observation, blocked, k):
        self.asked.append(types.rows(observation, slice(None)))
        size = self.spec.num_candidates
        last = observation.history_item[:, -1:]
        item = (last + np.arange(size)) % size + 1
        hidden = np.take_along_axis(blocked, item - 1, axis=1)
        order = np.argsort(hidden, axis=1, kind="stable")[:, :k]
        listed = np.take_along_axis(np.where(hidden, 0, item), order, axis=1)
        return listed.astype(np.int32), np.zeros(listed.shape, np.float32)

    def lists_of_users(self, users, *arguments):
        return self.lists(*arguments)


def test_an_agent_reads_the_history_of_the_test_and_lists_none_of_it(data):
    split = protocols.leave_one_out(sequences.of_prepared(data))
    agent = Agent(data)
    lists = offline.lists(agent, data, split.test, k=4)
    [request] = agent.asked
    for row, number in enumerate(split.test.users):
        user = data.vocabulary.users[number]
        before = LOG[user][:-1]
        shown = ["-"] * (4 - len(before)) + before[-4:]
        assert raw(data, request.history_item[row]) == shown
        clicks = [0.0] * (4 - len(before)) + [float((n + 1) % 2) for n in range(len(before))]
        assert request.history_feedback[row, :, 0].tolist() == clicks[-4:]
        listed = [item for item in raw(data, lists[row]) if item != "-"]
        assert sorted(listed) == sorted(set("abcde") - set(before))
    assert (request.step == 0).all()


def evaluation(values, coverage=0.5):
    by_user = {f"{name}@2": np.array(values) for name in ("recall", "precision", "ndcg")}
    by_user |= {f"{name}@2": np.array(values) for name in ("mrr", "map", "novelty")}
    return next_items.Evaluation(np.ones([len(values), 2], np.int32), by_user, {2: coverage})


def test_means_over_seeds_and_their_spread():
    seeds = [evaluation([0.0, 1.0, 0.5]), evaluation([1.0, 1.0, 0.1], coverage=0.7)]
    both = offline.estimates(seeds)
    assert offline.mean(seeds, "ndcg@2") == both["ndcg@2"].mean == pytest.approx(0.6)
    # Coverage .5 and .7: t of one degree of freedom, 12.706, times the error .1.
    assert both["coverage@2"] == pytest.approx((0.6, 0.6 - 1.2706, 0.6 + 1.2706), abs=1e-4)
    # Seed means .5 and .7: the interval is at least that of two seeds.
    assert both["ndcg@2"].high - both["ndcg@2"].mean >= 1.2706 - 1e-4
    alone = offline.estimates(seeds[:1])
    assert alone["coverage@2"] == (0.5, 0.5, 0.5)
    # Values 0, 1, .5: standard deviation .5, error .5 / sqrt 3, t of two degrees 4.3027.
    assert alone["ndcg@2"].high == pytest.approx(0.5 + 4.3027 * 0.5 / 3**0.5, abs=1e-4)
    # Means .5 and .7: their standard deviation is .2 / sqrt 2.
    assert offline.spread(seeds, "ndcg@2") == pytest.approx(0.2 / 2**0.5)
    assert offline.spread(seeds[:1], "ndcg@2") is None


def test_a_difference_is_paired():
    one, other = evaluation([0.2, 0.6, 1.0]), evaluation([0.1, 0.5, 0.8])
    result = offline.difference([one], [other], "ndcg@2")
    # Differences .1, .1, .2: mean .4 / 3, standard deviation .0577, error .0333, t = 4.
    assert result.mean == pytest.approx(0.4 / 3)
    assert result.low == pytest.approx(0.4 / 3 - 4.3027 / 30, abs=1e-5)
    assert result.p_value == pytest.approx(0.0572, abs=1e-4)
    assert offline.difference([one], [one], "ndcg@2") == (0.0, 0.0, 0.0, 1.0, 0.0)


def test_a_difference_covers_other_seeds():
    control = [evaluation([0.1, 0.5, 0.8])]
    first, second = evaluation([0.2, 0.6, 0.9]), evaluation([0.4, 0.8, 1.1])
    # Each seed is .1 and .3 above the control for every user: error .1, t of one degree.
    result = offline.difference([first, second], control, "ndcg@2")
    assert result[:3] == pytest.approx((0.2, 0.2 - 1.2706, 0.2 + 1.2706), abs=1e-4)
    assert result.p_value == pytest.approx(0.2952, abs=1e-4)
    # Both move by the seed alike: seeds are compared in pairs.
    other = [evaluation([0.0, 0.4, 0.7]), evaluation([0.2, 0.6, 0.9]), evaluation([9.0] * 3)]
    assert offline.difference([first, second], other, "ndcg@2").p_value < 1e-6
    lonely = offline.difference([evaluation([0.3])], [evaluation([0.1])], "ndcg@2")
    assert lonely[:3] == pytest.approx((0.2, 0.2, 0.2))


def test_an_evaluation_is_kept_as_arrays(tmp_path):
    made = evaluation([0.25, 0.75])
    np.savez(tmp_path / "kept.npz", **offline.saved(made))
    with np.load(tmp_path / "kept.npz") as arrays:
        result = offline.restored(dict(arrays))
    assert result.coverage == made.coverage and result.by_user.keys() == made.by_user.keys()
    np.testing.assert_array_equal(result.by_user["recall@2"], [0.25, 0.75])
    np.testing.assert_array_equal(result.items, made.items)


def test_the_table_names_the_best_and_what_one_seed_does_not_say(tmp_path):
    result = {
        "popularity": [evaluation([0.1, 0.1, 0.2])],
        "sasrec": [evaluation([0.2, 0.6, 1.0]), evaluation([0.4, 0.6, 1.0])],
    }
    about = {"protocol": "user_ratio", "seeds": 2}
    table = offline_report.write(tmp_path, result, 2, about)
    assert table["sasrec"]["ndcg@2"]["mean"] == pytest.approx(3.8 / 6)
    page = (tmp_path / "table.md").read_text()
    assert "| Popularity | – | – | – |" in page and "mean, SASRec, on the same users" in page
    document = json.loads((tmp_path / "table.json").read_text())
    assert document["best"] == "sasrec" and document["about"]["protocol"] == "user_ratio"
    assert list(document["difference_to_the_best"]["ndcg@2"]) == ["popularity"]
    assert (tmp_path / "table.png").stat().st_size > 1000


def test_p_values_are_corrected_for_the_number_of_comparisons(tmp_path):
    # Differences to the best of -.1, -.1, -.2: t = 4, p = .0572 at two degrees of freedom.
    best = [evaluation([0.9, 0.8, 1.0])]
    others = {name: [evaluation([0.8, 0.7, 0.8])] for name in ("popularity", "ease")}
    about = {"protocol": "user_ratio", "seeds": 1}
    offline_report.write(tmp_path, {"sasrec": best, **others}, 2, about)
    document = json.loads((tmp_path / "table.json").read_text())
    for difference in document["difference_to_the_best"]["ndcg@2"].values():
        assert difference["p_value"] == pytest.approx(0.0572, abs=1e-4)
        assert difference["holm"] == pytest.approx(2 * 0.0572, abs=2e-4)
    page = (tmp_path / "table.md").read_text()
    assert "for the 2 comparisons" in page and page.count("| 0.057 | 0.114 |") == 2


def test_what_a_part_gains_is_paired_with_the_method_that_lacks_it(tmp_path):
    result = {
        "casr_stamp": [evaluation([0.2, 0.6, 1.0])],
        "stamp": [evaluation([0.1, 0.5, 0.8])],
        "causerec": [evaluation([0.5, 0.5, 0.5])],  # without its anchor
        "cocorec_alone": [],
    }
    # As above: differences .1, .1, .2, t = 4 at two degrees of freedom.
    (pair,), (gain,) = zip(
        *offline.gains(result, rankers.ANCHORS, "ndcg@2").items(), strict=True
    )
    assert pair == ("casr_stamp", "stamp")
    assert gain == offline.difference(result["casr_stamp"], result["stamp"], "ndcg@2")
    text = offline_report.gains_table(result, "ndcg@2")
    assert "| CASR (STAMP) | STAMP | +13.33 [-1.01, +27.68] |" in text
    assert "| 0.057 | 0.057 |" in text and text.count("\n| C") == 1
    assert offline_report.gains_table({"stamp": result["stamp"]}, "ndcg@2") == ""
    del result["cocorec_alone"]
    offline_report.write(tmp_path, result, 2, {"protocol": "user_ratio", "seeds": 1})
    assert (tmp_path / "table.md").read_text().endswith(text)
