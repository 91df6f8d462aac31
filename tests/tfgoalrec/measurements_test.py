"""Every kind of measurement, on sessions that are checked by hand."""

import numpy as np
import pytest

from tests.tfgoalrec import small
from tfgoalrec import measurements

CASES = {
    # Session 0: clicks 1 0 1 1, then an exit. Session 1: clicks 0 1 0 0 1. Session 2: one miss.
    "click@0": [[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]],
    "click@1": [[0, 1, 1, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]],
    "click@0..": [[3, 2, 2, 1, 0], [2, 2, 1, 1, 1], [0, 0, 0, 0, 0]],
    "click@1..": [[2, 2, 1, 0, 0], [2, 1, 1, 1, 0], [0, 0, 0, 0, 0]],
    "click@1..2": [[1, 2, 1, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]],
    "click@7..": np.zeros((3, 5)),
    "watch@0..1": [[10, 4, 10, 6, 0], [2, 2, 0, 8, 8], [0, 0, 0, 0, 0]],
    "watch@2..": [[10, 6, 0, 0, 0], [8, 8, 8, 0, 0], [0, 0, 0, 0, 0]],
    "step@0..": [[4, 3, 2, 1, 0], [5, 4, 3, 2, 1], [1, 0, 0, 0, 0]],
    "step@1..": [[3, 2, 1, 0, 0], [4, 3, 2, 1, 0], [0, 0, 0, 0, 0]],
    # Session 1 ended at the cap without an exit.
    "exit@0": [[0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]],
    "exit@0..": [[1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]],
    "mean(click)": [
        [3 / 4, 2 / 3, 1, 1, 0],
        [2 / 5, 2 / 4, 1 / 3, 1 / 2, 1],
        [0, 0, 0, 0, 0],
    ],
    "mean(watch)": [
        [5, 10 / 3, 5, 6, 0],
        [2, 10 / 4, 8 / 3, 4, 8],
        [0, 0, 0, 0, 0],
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_a_measurement_at_every_step(name):
    measured = measurements.Measurements((name,), small.SPEC, small.VECTORS)
    raw = measured.raw(small.tensors(small.sessions())).numpy()
    assert raw.shape == (3, 5, 1)
    np.testing.assert_allclose(raw[..., 0], CASES[name], atol=1e-5)


def test_the_mean_embedding_of_clicked_items():
    measured = measurements.Measurements(("embedding(click)",), small.SPEC, small.VECTORS)
    raw = measured.raw(small.tensors(small.sessions())).numpy()
    # Session 0 clicks items 1 (1, 0), 3 (2, 2) and 4 (-1, 4) at steps 0, 2 and 3.
    np.testing.assert_allclose(
        raw[0], [[2 / 3, 2], [0.5, 3], [0.5, 3], [-1, 4], [0, 0]], atol=1e-6
    )
    # Session 1 clicks items 1 and 3 at steps 1 and 4.
    np.testing.assert_allclose(raw[1], [[1.5, 1], [1.5, 1], [2, 2], [2, 2], [2, 2]], atol=1e-6)
    np.testing.assert_allclose(raw[2], 0.0)  # never clicked: no taste, and no division by 0


def test_padding_is_not_measured():
    clean = small.sessions()
    dirty = clean._replace(item=clean.item.copy(), feedback=clean.feedback.copy())
    dirty.item[0, 4:], dirty.item[2, 1:] = 6, 6
    dirty.feedback[0, 4:], dirty.feedback[2, 1:] = 99.0, 99.0
    names = (*CASES, "embedding(click)", "embedding(watch)")
    measured = measurements.Measurements(names, small.SPEC, small.VECTORS)
    np.testing.assert_allclose(
        measured.raw(small.tensors(dirty)), measured.raw(small.tensors(clean)), atol=1e-6
    )


def test_columns_and_units_line_up():
    measured = measurements.Measurements(
        ("exit@0", "embedding(click)", "watch@1..3", "mean(click)", "step@1.."),
        small.SPEC,
        small.VECTORS,
    )
    assert measured.dim == 6
    assert measured.size.tolist() == [1, 2, 1, 1, 1]
    assert measured.columns == (
        "exit@0", "embedding(click)[0]", "embedding(click)[1]", "watch@1..3", "mean(click)",
        "step@1..",
    )  # fmt: skip
    assert measured.units == ("exits", "embedding", "seconds", "clicks per step", "steps")


def test_standardised_with_the_steps_of_training_sessions():
    measured = measurements.Measurements(("click@0", "click@7.."), small.SPEC, small.VECTORS)
    measured.fit(small.sessions(), block=2)  # in two blocks: 9 steps and 1 step
    # Ten live steps, five clicks; the second column is constant and keeps its scale.
    np.testing.assert_allclose(measured.mean, [0.5, 0.0])
    np.testing.assert_allclose(measured.std, [0.5, 1.0])
    standardised = measured.standardised(small.tensors(small.sessions())).numpy()
    np.testing.assert_allclose(standardised[0, :4, 0], [1, -1, 1, 1])
    np.testing.assert_allclose(standardised[..., 1], 0.0)


def test_the_default_set_covers_every_column_of_the_log():
    assert measurements.default_names(small.SPEC) == (
        "click@0", "click@1..3", "click@4..", "watch@0", "watch@1..3", "watch@4..", "exit@0",
        "step@1..", "mean(click)", "embedding(click)",
    )  # fmt: skip
    assert measurements.Measurements((), small.SPEC, small.VECTORS).dim == 11


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clicks", "expected e.g. click@0"),
        ("click@", "expected e.g. click@0"),
        ("click@-1", "expected e.g. click@0"),
        ("click@1..3..5", "expected e.g. click@0"),
        ("mean(click", "expected e.g. click@0"),
        ("share@0", "no column 'share'; there are click, watch, step, exit"),
        ("mean(step)", "no column 'step'; there are click, watch"),
        ("embedding(exit)", "no column 'exit'"),
        ("click@3..1", "the window ends before it starts"),
    ],
)
def test_a_bad_declaration_is_named(name, message):
    with pytest.raises(ValueError, match="measurement '") as caught:
        measurements.Measurements(("click@0", name), small.SPEC, small.VECTORS)
    assert repr(name) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("unit", [2.0**-60, 2.0**-27, 2.0**30, 2.0**60])
def test_the_unit_of_an_amount_changes_no_standardised_measurement(unit):
    """Scaling by a power of two is exact, so that the results are equal."""
    names = ("watch@0", "watch@1..3", "watch@4..", "mean(watch)")
    plain = small.sessions()
    scaled = plain._replace(feedback=plain.feedback * np.array([1, unit], np.float32))
    standardised = []
    for log in (plain, scaled):
        measured = measurements.Measurements(names, small.SPEC, small.VECTORS)
        measured.fit(log)
        standardised.append(measured.standardised(small.tensors(log)).numpy())
    np.testing.assert_array_equal(standardised[0], standardised[1])
    assert measured.std.numpy() == pytest.approx(small.fitted(names).std.numpy() * unit)


def test_a_constant_column_is_divided_by_its_size():
    log = small.sessions()
    live = np.arange(5) < log.length[:, None]
    log = log._replace(feedback=np.stack([0 * live, 3e-9 * live], axis=-1).astype(np.float32))
    measured = measurements.Measurements(("watch@0", "click@0"), small.SPEC, small.VECTORS)
    measured.fit(log)
    assert measured.std.numpy() == pytest.approx([3e-9, 1.0])


def test_a_measurement_is_declared_once():
    with pytest.raises(ValueError, match="measurement 'click@0' is given twice"):
        measurements.Measurements(("click@0", "exit@0", "click@0"), small.SPEC, small.VECTORS)


def test_a_window_far_past_the_end_is_empty():
    names = ("click@99999999999", "click@0..99999999999", "click@0..")
    measured = measurements.Measurements(names, small.SPEC, small.VECTORS)
    far, near, whole = measured.raw(small.tensors(small.sessions())).numpy().transpose(2, 0, 1)
    assert not far.any()
    np.testing.assert_array_equal(near, whole)
