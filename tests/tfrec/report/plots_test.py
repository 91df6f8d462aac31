"""Plots: what they draw is what they were given."""

import warnings

import matplotlib.image
import numpy as np
import pytest

from tfrec.metrics import reliability
from tfrec.report import model_plots, plots, style


def _interval(mean):
    return {"mean": mean, "low": mean * 0.9, "high": mean * 1.1}


SUMMARIES = {
    name: {"reward": _interval(r), "ctr": _interval(r / d), "depth": _interval(d)}
    for name, r, d in (("optimum", 16.0, 30.0), ("random", 5.0, 15.0), ("goalrec", 14.0, 28.0))
}


def _texts(figure):
    figure.draw_without_rendering()
    return " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def test_policies_has_a_bar_for_each_policy_in_its_colour():
    figure = plots.policies(SUMMARIES)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Reward", "CTR", "Depth"]
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == [5.0, 14.0, 16.0]  # random, goalrec, optimum
    assert [matplotlib.colors.to_hex(bar.get_facecolor(), False).upper() for bar in bars] == [
        style.policy_colour(name) for name in ("random", "goalrec", "optimum")
    ]
    lines = figure.axes[0].collections[-1].get_segments()  # the intervals
    assert np.asarray(lines)[:, :, 0] == pytest.approx(
        np.array([[4.5, 5.5], [12.6, 15.4], [14.4, 17.6]])
    )
    assert "clicks per step" in _texts(figure)
    assert figure.get_suptitle().endswith("(mean, 95% interval over users and seeds)")
    one_seed = plots.policies(SUMMARIES, seeds=1)
    assert one_seed.get_suptitle().endswith("(mean, 95% interval over users)")


def test_a_long_title_stays_on_the_picture():
    figure = plots.policies(SUMMARIES, ("reward", "ctr"), "A title that is long " * 6)
    figure.draw_without_rendering()
    assert figure._suptitle.get_window_extent().x1 < figure.bbox.x1
    assert "\n" in figure.get_suptitle()


def test_a_picture_is_written_whole_and_its_folder_made(tmp_path):
    path = plots.save(plots.policies(SUMMARIES, ("reward",)), tmp_path / "plots" / "a.png")
    height, width, _ = matplotlib.image.imread(path).shape
    assert width > 400 and height > 200
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_survival_counts_who_has_not_left():
    figure = plots.survival({"random": np.array([1, 2, 2, 4])})
    steps, there = figure.axes[0].lines[0].get_data()
    assert steps.tolist() == [1, 2, 3, 4]
    assert there.tolist() == [1.0, 0.75, 0.25, 0.25]


def test_learning_curve_draws_the_mean_over_seeds_and_the_references():
    by_seed = np.array([[1.0, 3.0, np.nan], [3.0, 5.0, 7.0]])
    figure = plots.learning_curve(
        [0, 10, 20], {"goalrec": by_seed}, {"optimum": 9.0}, "updates"
    )
    lines = figure.axes[0].lines
    assert lines[-2].get_ydata().tolist() == [2.0, 4.0, 7.0]
    assert list(lines[-1].get_ydata()) == [9.0, 9.0]
    assert "Optimum" in _texts(figure)
    assert figure.axes[0].get_xlabel() == "updates"
    assert figure.axes[0].get_ylabel() == "Reward (clicks per user session)"
    minutes = plots.learning_curve([0, 10, 20], {"sac": by_seed}, ylabel="minutes")
    assert minutes.axes[0].get_ylabel() == "minutes"
    one = plots.learning_curve([0, 10, 20], {"goalrec": by_seed[1]})
    assert one.axes[0].lines[0].get_ydata().tolist() == [3.0, 5.0, 7.0]
    assert "1 seed GoalRec" in _texts(one)
    assert "mean of 2 seeds, range shaded GoalRec" in _texts(figure)
    both = plots.learning_curve([0, 10, 20], {"goalrec": by_seed, "sac": by_seed[1]})
    for text in ("GoalRec (2 seeds)", "(1 seed)", "mean over seeds, range shaded"):
        assert text in _texts(both)


def test_learning_curve_marks_few_evaluations_and_has_whole_numbers_below():
    few = plots.learning_curve([1, 2, 3], {"goalrec": np.array([1.0, 3.0, 2.0])}).axes[0]
    few.figure.draw_without_rendering()
    assert few.lines[0].get_marker() == "o"
    assert all(tick == round(tick) for tick in few.get_xticks())
    many = plots.learning_curve(range(21), {"goalrec": np.zeros(21)}).axes[0]
    assert many.lines[0].get_marker() == "None"


def test_goals_have_a_colour_for_each_policy_and_a_marker_for_each_goal():
    keys = [style.under_goal(p, g) for p in ("goalrec", "mine") for g in ("click", "watch")]
    figure = plots.goals(dict.fromkeys(keys, SUMMARIES["goalrec"]), "ctr", "depth")
    points = [bar.lines[0] for bar in figure.axes[0].containers]
    colours = [point.get_color() for point in points]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert [point.get_marker() for point in points] == ["o", "s", "o", "s"]


def test_goals_places_each_goal_at_its_two_means():
    figure = plots.goals(SUMMARIES, "ctr", "depth", ("", "steps"))
    points = [container.lines[0].get_data() for container in figure.axes[0].containers]
    assert [float(y[0]) for _, y in points] == [15.0, 28.0, 30.0]
    assert [float(x[0]) for x, _ in points] == pytest.approx([5 / 15, 14 / 28, 16 / 30])
    assert figure.axes[0].get_ylabel() == "Depth (steps)"


def test_measurement_error_compares_with_predicting_the_mean():
    figure = model_plots.measurement_error(
        ["click_now", "clicks_after"], {"training users": [0.5, 0.6], "test users": [0.7, 1.4]}
    )
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.5, 0.6, 0.7, 1.4]
    assert figure.axes[0].lines[0].get_xdata() == [1.0, 1.0]
    assert figure.axes[0].get_xlim()[1] > 1.4
    assert all(word in _texts(figure) for word in ("click now", "0.70", "predicting the mean"))


def test_reliability_draws_each_head_against_the_diagonal():
    rng = np.random.default_rng(0)
    predicted = rng.random(500)
    curves = {
        "click": reliability.curve(predicted, rng.random(500) < predicted),
        "watch_seconds": reliability.curve(9 * predicted, 9 * predicted),
    }
    figure = model_plots.reliability(curves, {"watch_seconds": "seconds"})
    click, watch = figure.axes
    x, y = click.containers[0].lines[0].get_data()
    assert np.array_equal(x, curves["click"].predicted)
    assert np.array_equal(y, curves["click"].observed)
    assert watch.get_xlabel() == "predicted (seconds)"
    assert click.get_xlabel() == "predicted (probability)"
    assert "mean error 0" in _texts(figure)


def test_drawing_leaves_the_callers_style_alone():
    before = dict(matplotlib.rcParams)
    plots.policies(SUMMARIES)
    assert dict(matplotlib.rcParams) == before


def test_labels_of_levels_do_not_overlap():
    assert plots.apart([3.0, 1.0, 1.1], 0.5) == [3.0, 1.0, 1.5]
    assert plots.apart([1.0, 1.0, 1.0], 0.5) == [1.0, 1.5, 2.0]
    assert plots.apart([], 0.5) == []


def test_logged_numbers_stand_at_their_iterations(tmp_path):
    first, second, other = (tmp_path / f"{name}.jsonl" for name in "abc")
    first.write_text('{"iteration": 1, "x": 2.0}\n{"iteration": 2}\n{"iteration": 4, "x": 3}\n')
    second.write_text('{"iteration": 2, "x": 5.0}\n{"iteration": 4, "x": null}\n')
    other.write_text('{"iteration": 3}\n')
    iterations, curves = plots.logged({"td3": [first, second], "dien": [other]}, "x")
    np.testing.assert_array_equal(iterations, [1, 2, 4])
    assert list(curves) == ["td3"]
    np.testing.assert_array_equal(curves["td3"], [[2, np.nan, 3], [np.nan, 5, np.nan]])


def test_a_curve_that_ends_early_is_drawn_to_its_end():
    values = {"td3": np.array([[1.0, 2.0, 3.0]]), "dien": np.array([[1.0, np.nan, np.nan]])}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.learning_curve([1, 2, 3], values)
    drawn = [list(line.get_xdata()) for line in figure.axes[0].lines]
    assert drawn == [[1, 2, 3], [1]]
