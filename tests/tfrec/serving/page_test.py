"""The page in a real browser: what it asks, what it shows, by keyboard, narrow and dark.

TFREC_SCREENSHOTS=docs/images also writes the pictures of docs/serving.md there, of the
demo's model in TFREC_DEMO (runs/demo by default).
"""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import urllib.parse

import numpy as np
import polars as pl
import pytest
import urllib3
from playwright.sync_api import expect, sync_playwright

from tests.tfrec.serving import fake_ranker
from tfrec import errors
from tfrec.data import feature_encoding, state_encoding, vocabulary
from tfrec.data.feature_schema import FeatureColumn
from tfrec.serving import descriptions, export, loaded, page, requests, server, service

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SCREENSHOTS = os.environ.get("TFREC_SCREENSHOTS", "")
SCRIPT, IMAGE = "<script>window.hacked=1</script>", '<img src=x onerror="window.hacked=1">'
IDS = np.array(["i1", "i2", IMAGE, "i4", SCRIPT, "i6", "i7"], dtype=object)
LIMITS = service.LimitsConfig(max_k=50, max_values=40, drain_seconds=5.0)
USERS = (
    page.User("u1", ("i1", "i6", "gone"), {"click": (1, 0, 1), "watch": (12.34567, 0, 3)}),
    page.User("<b>u2</b>", (), {"click": (), "watch": ()}),
)
NAMELESS = """[...document.querySelectorAll("input, select, button")]
    .filter((e) => !(e.labels?.length && e.labels[0].textContent.trim())
        && !e.ariaLabel && !e.textContent.trim())
    .map((e) => e.outerHTML)"""
expect.set_options(timeout=20_000)  # a loaded machine is no failure


@pytest.fixture(scope="module")
def browser():
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if not executable:
        pytest.skip("no browser to look at the page with; on Debian: apt-get install chromium")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium's does not take root
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=sandbox)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    export.export(fake_ranker.FakeRanker(items=IDS), folder)
    return folder


@pytest.fixture(scope="module")
def model(exported):
    """The same model in this process."""
    return loaded.ExportedModel(exported / "1")


def serve(folder, users=USERS):
    config = server.ServerConfig(port=0, rest_port=0, poll_seconds=3600)
    running = server.Server(folder, config, LIMITS)
    running.show(users)
    return running


@pytest.fixture(scope="module")
def url(exported):
    with serve(exported) as running:
        yield f"http://127.0.0.1:{running.rest_port}/"


ITEM_COLUMNS = (
    FeatureColumn(name="genres", kind="categories", min_items=1),
    FeatureColumn(name="year", kind="number", bins=2),
)
ITEM_TABLE = pl.DataFrame(
    {
        "id": ["i1", "i2", "i3", "i4", "i6"],
        "title": ["Heat", IMAGE, "Lamps, Rugs", None, "The heat"],
        "genres": ["Crime|Drama", SCRIPT, "Drama", "Crime", None],
        "year": [1995.0, 2013.0, None, 1999.0, 1999.99],
    }
)
USER_COLUMNS = (
    FeatureColumn(name="age", kind="number", bins=2),
    FeatureColumn(name="region", min_items=1),
    FeatureColumn(name="tags", kind="categories", slots=2, min_items=1),
    FeatureColumn(name="about", kind="text", slots=1, buckets=10),
    FeatureColumn(name="city", buckets=10),
)
USER_TABLE = pl.DataFrame(
    {
        "user": [1, 2], "age": [20, 30], "region": ["north", "<i>south</i>"],
        "tags": ["a|b", "b"], "about": ["x", "y"], "city": ["u", "v"],
    }
)  # fmt: skip
# age 1 missing, 2 below 25, 3; region 4 missing, 5 rare, 6, 7; tags 8 missing, 9 rare, 10 b,
# 11 a; about 12 missing, 13..22; city 23 missing, 24..33. Then the context: hour 34 missing,
# 35..58.
NO_FEATURES = [1, 4, 8, 0, 12, 23, 34]
ENCODERS = state_encoding.StateEncoder(
    feature_encoding.fit(USER_COLUMNS, USER_TABLE, "users", "user"),
    feature_encoding.fit(
        [FeatureColumn(name="hour", kind="hour")],
        pl.DataFrame({"": ["u1"], "hour": [3]}),
        "log",
        "context",
    ),
)
FEATURED_USERS = (
    page.User(
        "u1", ("i1", "i4"), {"click": (1, 0), "watch": (3, 0)},
        {"age": 31.0, "region": "east", "tags": ["a", "c"], "about": "x", "city": "u"},
    ),
    page.User("u2", (), {"click": (), "watch": ()}),
)  # fmt: skip


class FeatureRanker(fake_ranker.FakeRanker):
    """The ranker with features of users and contexts, which do not change its scores."""

    def __init__(self):
        super().__init__()
        self.spec = dataclasses.replace(
            self.spec,
            user_features=ENCODERS.user.spec,
            context_features=ENCODERS.context.spec,
        )
        ids = vocabulary.Ids(fake_ranker.STRING_IDS.astype(str))
        self.vocabulary = vocabulary.Vocabulary(
            ids, ids, user_features=ENCODERS.user, context_features=ENCODERS.context
        )


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A model with names and features of items and with features of users and contexts."""
    folder, ranker = tmp_path_factory.mktemp("described"), FeatureRanker()
    ITEM_TABLE.write_parquet(folder / "items.parquet")
    of_items = descriptions.read(
        folder / "items.parquet",
        ranker.vocabulary.item_ids,
        feature_encoding.fit(ITEM_COLUMNS, ITEM_TABLE, "items"),
        "title",
    )
    export.export(ranker, folder / "export", descriptions=of_items)
    return folder / "export"


@pytest.fixture(scope="module")
def described_url(described):
    with serve(described, FEATURED_USERS) as running:
        yield f"http://127.0.0.1:{running.rest_port}/"


@pytest.fixture
def look(browser, url):
    """Opens the page; at the end nothing may have gone wrong in it or left this host."""
    contexts, problems = [], []

    def open_page(address=url, width=1280, height=900, color_scheme="light", ready=True):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=color_scheme
        )
        contexts.append(context)
        opened = context.new_page()
        opened.set_default_timeout(20_000)
        opened.on("console", lambda message: problems.append(f"console: {message.text}"))
        opened.on("pageerror", lambda error: problems.append(f"error: {error}"))
        opened.on(
            "request",
            lambda request: request.url.startswith(address) or problems.append(request.url),
        )
        opened.problems = problems
        opened.goto(address)
        if ready:
            expect(opened.locator("tbody tr").first).to_be_visible()
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def shows(opened, answer):
    """Waits for a list and compares it with that of the model: order, scores, measurements."""
    expect(opened.locator("#list")).to_have_attribute("aria-busy", "false")
    expect(opened.locator("tbody th")).to_have_text(answer.item)
    scores = [float(text) for text in opened.locator("tbody .score").all_inner_texts()]
    np.testing.assert_allclose(scores, answer.score, rtol=5e-3, atol=5e-3)
    cells = opened.locator("tbody .value").all_inner_texts()
    values = np.array([float(text.replace(",", "")) for text in cells])
    np.testing.assert_allclose(
        values.reshape(answer.measurements.shape), answer.measurements, rtol=5e-3
    )


def add(opened, text, field="#add-event"):
    opened.fill(field, text)
    opened.press(field, "Enter")


def test_it_opens_with_the_models_first_goal(look, model):
    opened = look()
    shows(opened, model.rank([requests.Request(goal_name="clicks")])[0])
    expect(opened.locator("#status")).to_contain_text("7 items, all that may be recommended")
    expect(opened.locator("h1")).to_have_text("ranker")
    expect(opened.locator("#about")).to_contain_text("Version 1, 7 items")
    labels = opened.locator(".slider label").all_inner_texts()
    assert labels == ["click, now\nper 0.5 clicks", "watch, 1+ later\nper 10 seconds"]
    expect(opened.locator("thead .group")).to_have_text(["clickclicks", "watchseconds"])


def test_a_typed_history_and_a_moved_slider_give_the_models_own_list(look, model):
    opened = look()
    add(opened, "i1")
    add(opened, "i4, i6")  # several at once
    rows = opened.locator("#history li")
    expect(rows).to_have_count(3)
    rows.nth(0).get_by_role("spinbutton").fill("7.5")
    rows.nth(1).get_by_role("checkbox").uncheck()
    opened.fill("#step", "1")
    opened.fill("#k", "4")
    request = requests.Request(
        ("i1", "i4", "i6"), ((1, 7.5), (0, 0), (1, 0)), step=1, goal_name="clicks", k=4
    )
    shows(opened, model.rank([request])[0])

    opened.locator("#weight-1").fill("0.8")
    opened.locator("#weight-0").fill("-0.25")
    moved = dataclasses.replace(request, goal_name="", goal=(-0.25, 0.8))
    shows(opened, model.rank([moved])[0])
    expect(opened.get_by_role("radio", name="your own")).to_be_checked()

    opened.get_by_role("radio", name="watch").check(force=True)
    shows(opened, model.rank([dataclasses.replace(request, goal_name="watch")])[0])
    expect(opened.locator("#weight-1-value")).to_have_text("1")

    opened.get_by_label("and the history’s items").check()
    add(opened, "i7", "#add-exclusion")
    fewer = dataclasses.replace(request, goal_name="watch", exclude=("i1", "i4", "i6", "i7"))
    shows(opened, model.rank([fewer])[0])
    opened.get_by_role("button", name="Remove i4").click()
    left = dataclasses.replace(
        fewer, history=("i1", "i6"), feedback=((1, 7.5), (1, 0)), exclude=("i1", "i6", "i7")
    )
    shows(opened, model.rank([left])[0])


def test_moves_against_another_goal(look, model):
    opened = look()
    first, second = (
        model.rank([requests.Request(goal_name=name, k=7)])[0].item
        for name in ("clicks", "watch")
    )
    up = [second.index(item) - place for place, item in enumerate(first)]
    expected = [f"▲ {by}" if by > 0 else f"▼ {-by}" if by < 0 else "=" for by in up]
    arrows = opened.locator("tbody .move [aria-hidden]")
    expect(opened.locator("#against")).to_have_value("watch")
    expect(arrows).to_have_text(expected)
    assert expected[0] == "▲ 6" and "▼ 5" in expected and "=" not in expected[:1]
    expect(opened.locator("tbody .move").first).to_contain_text("6 up: place 7 under watch")

    # Places are those of the whole list, not of the few that are shown.
    opened.fill("#k", "2")
    expect(arrows).to_have_text(expected[:2])
    expect(opened.locator("#gone")).to_have_text(
        "In the first 2 under watch, not here: i6, i4."
    )
    means = opened.locator("tfoot tr").nth(1).locator(".value").all_inner_texts()
    best = model.rank([requests.Request(goal_name="watch", k=2)])[0].measurements
    np.testing.assert_allclose([float(m) for m in means], best.mean(axis=0), rtol=5e-3)

    opened.select_option("#against", "")
    expect(arrows).to_have_count(0)
    opened.click("#keep")  # and against a goal of one's own
    opened.locator("#weight-1").fill("1")
    expect(opened.locator("#status")).to_contain_text("moves against the kept goal")
    mixed = model.rank([requests.Request(goal=(1.0, 1.0), k=2)])[0].item
    up = [first.index(item) - place for place, item in enumerate(mixed)]
    expect(arrows).to_have_text([f"▲ {by}" if by else "=" for by in up])


def test_suggestions(look):
    opened = look()
    opened.locator("#add-event").press_sequentially("I")
    options = opened.locator("[role=option]")
    expect(options).to_have_text(["i1", "i2", "i4", "i6", "i7", IMAGE, SCRIPT])
    opened.keyboard.press("Escape")
    expect(options).to_have_count(0)
    opened.keyboard.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    opened.keyboard.press("ArrowUp")
    expect(options.last).to_have_attribute("aria-selected", "true")
    options.nth(1).click()
    expect(opened.locator("#history .item")).to_have_text(["i2"])
    expect(opened.locator("#add-event")).to_have_value("")


def test_the_keyboard_is_enough(look, model):
    opened = look()

    def tab_to(selector):
        """Tabs on until an element has the focus, and a ring around it shows that."""
        for _ in range(40):
            opened.keyboard.press("Tab")
            focused = opened.evaluate_handle("document.activeElement")
            if focused.evaluate("(e, s) => e.matches(s)", selector):
                break
        else:
            pytest.fail(f"Tab never came to {selector}")
        ring = focused.evaluate(
            "e => getComputedStyle(e.type === 'radio' ? e.nextSibling : e).outline"
        )
        assert "solid 3px" in ring, ring

    tab_to(".skip")
    tab_to("#add-event")
    opened.keyboard.type("i")
    expect(opened.locator("[role=option]").first).to_be_visible()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        opened.keyboard.press(key)
    expect(opened.locator("#history .item")).to_have_text(["i2"])
    tab_to("[name=goal]")
    opened.keyboard.press("ArrowRight")
    request = requests.Request(("i2",), ((1, 0),), goal_name="watch")
    shows(opened, model.rank([request])[0])
    tab_to("#weight-0")
    for _ in range(3):
        opened.keyboard.press("ArrowRight")
    expect(opened.locator("#weight-0-value")).to_have_text("0.15")
    expect(opened.locator("#weight-0")).to_have_attribute("aria-valuetext", "0.15")
    shows(opened, model.rank([dataclasses.replace(request, goal_name="", goal=(0.15, 1.0))])[0])
    tab_to("#k")
    opened.keyboard.press("Control+A")
    opened.keyboard.type("3")
    expect(opened.locator("tbody tr")).to_have_count(3)
    for _ in range(30):  # and back, to take the event away again
        opened.keyboard.press("Shift+Tab")
        if opened.evaluate("document.activeElement.className") == "remove":
            break
    opened.keyboard.press("Enter")
    expect(opened.locator("#history li")).to_have_count(0)
    expect(opened.locator("#add-event")).to_be_focused()


def test_names_are_text_whatever_they_hold(look):
    opened = look()
    add(opened, SCRIPT)
    add(opened, IMAGE)
    add(opened, "<i>unknown</i>")
    add(opened, SCRIPT, "#add-exclusion")
    expect(opened.locator("#history .item")).to_have_text([SCRIPT, IMAGE, "<i>unknown</i>"])
    expect(opened.locator("#exclusions .item")).to_have_text([SCRIPT])
    expect(opened.locator("tbody th", has_text=IMAGE)).to_be_visible()
    expect(opened.locator("tbody th", has_text=SCRIPT)).to_have_count(0)
    opened.fill("#add-event", "<")
    expect(opened.locator("[role=option]")).to_have_text([SCRIPT, IMAGE][::-1])
    opened.select_option("#user", "<b>u2</b>")
    expect(opened.locator("#history li")).to_have_count(0)
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("img, main script, main b, main i").count() == 0


def test_wrong_input_is_told_in_words_and_mended(look):
    opened = look()
    problem, ranking = opened.get_by_role("alert"), opened.locator("#ranking")
    expect(problem).to_be_hidden()
    for wrong in ("0", "51", "2.5", "", "1e9"):
        opened.fill("#k", wrong)
        expect(problem).to_have_text("No new list: k must be a whole number from 1 to 50")
        expect(opened.locator("#k")).to_have_attribute("aria-invalid", "true")
        expect(ranking).to_have_class("stale")
        opened.fill("#k", "5")
        expect(problem).to_be_hidden()
    expect(opened.locator("#k")).to_have_attribute("aria-invalid", "false")
    expect(ranking).not_to_have_class("stale")

    opened.fill("#step", "-1")
    expect(problem).to_contain_text("steps in the running session must be a whole number")
    opened.fill("#step", "0")
    opened.locator("#weight-0").fill("0")
    expect(problem).to_contain_text("every weight is 0")
    expect(opened.locator("#goal-problem")).to_be_visible()
    opened.locator("#weight-0").fill("1")

    add(opened, "nothing")
    expect(opened.locator("#history li")).to_contain_text("unknown to the model, left out")
    add(opened, "i1")
    watched = opened.locator("#history").get_by_role("spinbutton")
    for wrong in ("-1", "", "1e39"):
        watched.fill(wrong)
        expect(problem).to_contain_text("watch of event 2, i1, in seconds: it must be a")
        watched.fill("1")
        expect(problem).to_be_hidden()
    # The page shows the server's reason of a rejection.
    add(opened, ",".join(["i1"] * 20))
    expect(problem).to_have_text(
        "No new list: history_feedback: 44 values; this server takes at most 40"
    )
    assert all("413" in problem for problem in opened.problems)
    opened.problems.clear()
    opened.click("#clear-history")
    expect(problem).to_be_hidden()


def test_a_user_of_the_log(look, model):
    opened = look()
    opened.select_option("#user", "u1")
    expect(opened.locator("#history .item")).to_have_text(["i1", "i6", "gone"])
    expect(opened.locator("#history-hint")).to_have_text(
        "3 events, oldest first; the last 4 count."
    )
    request = requests.Request(
        ("i1", "i6", "gone"), ((1, 12.35), (0, 0), (1, 3)), goal_name="clicks"
    )
    shows(opened, model.rank([request])[0])
    opened.click("#clear-history")
    expect(opened.locator("#user")).to_have_value("")
    shows(opened, model.rank([requests.Request(goal_name="clicks")])[0])


def test_every_field_has_a_name_and_results_are_announced(look):
    opened = look()
    add(opened, "i1")
    assert opened.evaluate(NAMELESS) == []
    expect(opened.locator("#status")).to_have_attribute("role", "status")
    expect(opened.get_by_role("table", name="Ranked items")).to_be_visible()
    expect(opened.get_by_role("rowheader", name="i4")).to_be_visible()


def test_names_and_features_of_items(look, described_url):
    opened = look(described_url)
    names = opened.locator("tbody th .name")
    expect(names).to_have_text(["Heat", IMAGE, "Lamps, Rugs", "The heat"])
    ids = opened.locator("tbody th.item")
    expect(ids.nth(0)).to_have_text("Heat i1genres Crime, Drama · year 1995")
    expect(ids.nth(1)).to_have_text(f"{IMAGE} i2genres {SCRIPT} · year 2013")
    expect(ids.nth(3)).to_have_text("i4genres Crime · year 1999")  # without a name
    expect(ids.nth(4)).to_have_text("i5")  # and without any value
    opened.fill("#k", "1")
    expect(opened.locator("#gone")).to_have_text(
        "In the first 1 under watch, not here: The heat."
    )

    opened.locator("#add-event").press_sequentially("hea")
    options = opened.locator("[role=option]")
    expect(options).to_have_text(["Heat i1", "The heat i6"])
    options.nth(1).click()
    add(opened, "Heat")  # a whole name
    add(opened, "Lamps, Rugs")
    add(opened, "i4, i5")
    add(opened, IMAGE, "#add-exclusion")
    history = opened.locator("#history .item")
    expect(history).to_have_text([
        "The heat i6year 1999.99", "Heat i1genres Crime, Drama · year 1995",
        "Lamps, Rugs i3genres Drama", "i4genres Crime · year 1999", "i5",
    ])  # fmt: skip
    expect(opened.get_by_label("watch of event 2, Heat, in seconds")).to_be_visible()
    expect(opened.locator("#exclusions .item")).to_have_text([f"{IMAGE} i2"])
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("img, main script").count() == 0


def test_features_of_user_and_context(look, described_url):
    opened = look(described_url)
    asked = []
    opened.on(
        "request",
        lambda request: (
            ":predict" in request.url
            and asked.append(json.loads(request.post_data)["inputs"]["context_values"])
        ),
    )

    def ranks_with(expected):
        """Waits for the next list, and compares the numbers in its request."""
        expect(opened.locator("#list")).to_have_attribute("aria-busy", "false")
        assert asked[-1] == [expected]

    opened.fill("#k", "3")
    ranks_with(NO_FEATURES)
    options = opened.get_by_label("region", exact=True).locator("option")
    expect(options).to_have_text(["missing", "<i>south</i>", "north"])
    opened.get_by_label("age").fill("31")
    ranks_with([3, *NO_FEATURES[1:]])
    opened.get_by_label("region", exact=True).select_option("north")
    opened.locator("#features").get_by_role("checkbox", name="a", exact=True).check(force=True)
    ranks_with([3, 7, 11, 0, 12, 23, 34])
    opened.get_by_label("hour").select_option("14:00")
    ranks_with([3, 7, 11, 0, 12, 23, 49])
    opened.get_by_label("about").fill("x y")
    opened.get_by_label("city").fill("z")
    values = {"age": 31, "region": "north", "tags": ["a"], "about": "x y", "city": "z"}
    ranks_with(list(ENCODERS.encode_one(values, {"hour": 14})))

    # A mistake is shown with its column, beside the field and above the list.
    opened.get_by_label("age").fill("old")
    message = "user: age is 'old'; expected a finite number"
    expect(opened.get_by_role("alert")).to_have_text(f"No new list: {message}")
    expect(opened.locator("#features .problem:visible")).to_have_text([message])
    expect(opened.get_by_label("age")).to_have_attribute("aria-invalid", "true")
    opened.get_by_label("age").fill("")
    expect(opened.get_by_role("alert")).to_be_hidden()
    expect(opened.locator("#features .problem:visible")).to_have_count(0)

    # A user of the log fills the fields, with categories that the model does not know, too. The
    # context of the request stays.
    opened.select_option("#user", "u1")
    expect(opened.locator("#history li")).to_have_count(2)
    ranks_with(list(ENCODERS.encode_one(FEATURED_USERS[0].features, {"hour": 14})))
    expect(opened.get_by_label("age")).to_have_value("31")
    expect(opened.get_by_label("region", exact=True)).to_have_value("east")
    checked = opened.locator("#features input:checked")
    assert [box.get_attribute("value") for box in checked.all()] == ["a", "c"]
    opened.select_option("#user", "u2")
    expect(opened.locator("#history li")).to_have_count(0)
    ranks_with([*NO_FEATURES[:-1], 49])
    opened.get_by_label("age").fill("20")
    opened.click("#clear-history")
    expect(opened.get_by_label("age")).to_have_value("")
    expect(opened.get_by_label("hour")).to_have_value("")
    ranks_with(NO_FEATURES)
    assert opened.locator("#features i").count() == 0


def test_hours_and_weekdays_are_chosen_by_name(look):
    columns = [
        {"name": kind, "kind": kind, "are_all": True, "categories": [*map(str, range(count))]}
        for kind, count in (("hour", 24), ("weekday", 7))
    ]
    texts, empty, filled = look().evaluate(
        """columns => import('/feature_form.js').then(({ featureForm }) => {
            const parent = document.createElement('div');
            const form = featureForm(parent, columns, () => {});
            const empty = form.values();
            form.fill({ hour: 0, weekday: 6 });
            return [[...parent.querySelectorAll('option')].map((one) => one.text),
                empty, form.values()];
        })""",
        columns,
    )
    assert texts[:3] == ["missing", "0:00", "1:00"] and len(texts) == 2 + 24 + 7
    assert texts[25:28] == ["missing", "Monday", "Tuesday"] and texts[-1] == "Sunday"
    assert (empty, filled) == ({}, {"hour": 0, "weekday": 6})


def test_the_fields_of_a_user_have_names_and_fit_a_narrow_window(look, described_url):
    opened = look(described_url, width=360)
    add(opened, "i1")
    assert opened.evaluate(NAMELESS) == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    expect(opened.get_by_role("group", name="Features of the user")).to_be_visible()


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 800, 360])
def test_any_window_shows_it_whole_and_readable(look, width, color_scheme):
    opened = look(width=width, color_scheme=color_scheme)
    add(opened, IMAGE * 3)  # a long name breaks
    expect(opened.locator("#history li")).to_have_count(1)
    wide = opened.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    for selector in ("#add-event", "#weight-1", "#k", "#against", "tbody tr >> nth=6"):
        expect(opened.locator(selector)).to_be_visible()
    # WCAG AA: text 4.5, what is no text 3.
    for text in ("--ink", "--quiet", "--accent", "--up", "--down"):
        assert contrast(opened, text, "--paper") >= 4.5, text
    assert contrast(opened, "--quiet", "--ground") >= 4.5
    assert contrast(opened, "--on-accent", "--accent") >= 4.5
    assert contrast(opened, "--bad", "--bad-ground") >= 4.5
    for shape in ("--field", "--plus", "--minus"):
        assert contrast(opened, shape, "--paper") >= 3, shape


def contrast(opened, *variables):
    """The contrast ratio of two colours of the page, as WCAG 2 defines it."""
    style = "getComputedStyle(document.documentElement).getPropertyValue"
    light = []
    for variable in variables:
        color = opened.evaluate(f"{style.replace('getPropertyValue', '')}"
                                f"getPropertyValue('{variable}')").strip()  # fmt: skip
        rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        light.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(light) / min(light)


def test_a_new_version_takes_over_and_a_server_that_ends_is_told(
    look, exported, model, tmp_path
):
    folder = tmp_path / "served"
    shutil.copytree(exported / "1", folder / "1")
    with serve(folder) as running:
        opened = look(f"http://127.0.0.1:{running.rest_port}/")
        opened.locator("#weight-1").fill("0.4")
        shutil.copytree(exported / "1", folder / "2")
        running.versions.poll()  # version 1 goes
        opened.fill("#k", "3")
        expect(opened.locator("#about")).to_contain_text("Version 2")
        shows(opened, model.rank([requests.Request(goal=(1.0, 0.4), k=3)])[0])
    opened.fill("#k", "2")
    expect(opened.get_by_role("alert")).to_have_text(
        "No new list: the server does not answer; is it still running?"
    )
    # The browser itself reports the one rejected version and the lost server, nothing else.
    assert all("Failed to load resource" in problem for problem in opened.problems)
    opened.problems.clear()


def test_json_that_javascript_would_round_or_reject(look):
    opened = look()
    text = '[9223372036854775807, -1.2345678901234567e-3, Infinity, "NaN 9223372036854775807"]'
    assert opened.evaluate("t => import('/api.js').then((api) => api.parse(t))", text) == [
        "9223372036854775807", -1.2345678901234567e-3, None, "NaN 9223372036854775807",
    ]  # fmt: skip
    body = opened.evaluate(
        """() => import('/api.js').then((api) => api.written(
            { item_dtype: "int64", feedback: [{}] },
            { history: ["9007199254740993", "x"], feedback: [[1], [0]], step: 0, goal: [],
              goalName: "a", exclude: ["007"], k: 3 }))"""
    )
    inputs = json.loads(body)["inputs"]
    assert inputs["history_item"] == [[9007199254740993, -1]]
    assert inputs["exclude"] == [[7]] and inputs["goal_name"] == ["a"]


@pytest.mark.skipif(not SCREENSHOTS, reason="TFREC_SCREENSHOTS names no folder for pictures")
def test_screenshots(browser):
    """The pictures of README.md and docs/serving.md, of the command that stands there."""
    demo = pathlib.Path(os.environ.get("TFREC_DEMO", "runs/demo"))
    command = [
        sys.executable, "-m", "launch.serve", f"--model={demo / 'export'}", "--ui",
        f"--users={demo / 'data'}", "--port=0", "--rest_port=0",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = next(line.split()[1] for line in process.stdout if line[:4] == "page")
            for name, size, scheme, act in (
                ("page", (1360, 1000), "light", weigh_exits),
                ("page_goal_dark", (1360, 1000), "dark", weigh_exits),
                ("page_dark", (1360, 1000), "dark", type_an_item),
                ("page_narrow", (400, 900), "light", weigh_exits),
            ):
                context = browser.new_context(
                    viewport={"width": size[0], "height": size[1]},
                    color_scheme=scheme,
                    device_scale_factor=1.25,
                )
                opened = context.new_page()
                opened.goto(address)
                opened.select_option("#user", index=3)
                expect(opened.locator("#history li").first).to_be_visible()
                act(opened)
                expect(opened.locator("#list")).to_have_attribute("aria-busy", "false")
                if size[0] < size[1]:
                    opened.evaluate("document.getElementById('list').scrollIntoView()")
                opened.screenshot(path=pathlib.Path(SCREENSHOTS, f"{name}.png"))
                context.close()
        finally:
            process.terminate()


def weigh_exits(opened):
    opened.get_by_label("click, 4+ later").fill("0.3")
    opened.get_by_label("watch_seconds, 1–3 later").fill("0.3")
    opened.get_by_label("exit, now").fill("-0.4")
    opened.get_by_label("and the history’s items").check()
    expect(opened.locator("#status")).to_contain_text("your own goal")


def type_an_item(opened):
    opened.locator("#add-event").press_sequentially("i1")
    expect(opened.locator("[role=option]").nth(2)).to_be_visible()
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("ArrowDown")


# ---- Without a browser ----------------------------------------------------------------


def get(url, path, **query):
    response = urllib3.request("GET", f"{url}{path}?{urllib.parse.urlencode(query)}")
    return response.status, response.headers["Content-Type"], response.data


def test_items_are_found_by_what_was_typed(url):
    def items(like):
        status, _, body = get(url, "page/items", like=like)
        assert status == 200
        return json.loads(body)

    assert items("i4") == {"items": ["i4"], "names": {}, "known": True}
    assert items("I4") == {"items": ["i4"], "names": {}, "known": False}
    assert items("i")["items"] == ["i1", "i2", "i4", "i6", "i7", IMAGE, SCRIPT]
    assert items("") == {"items": list(IDS), "names": {}, "known": False}
    for nothing in ("x" * 5000, "i4\ni5", "\n", "\\", ".*", "\x00"):
        assert items(nothing)["known"] is False
    assert items(".*")["items"] == []


def post(url, path, document):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    response = urllib3.request("POST", f"{url}{path}", body=body)
    return response.status, json.loads(response.data)


def test_items_are_found_by_their_names(described_url):
    def items(like):
        return json.loads(get(described_url, "page/items", like=like)[2])

    names = {"i1": "Heat", "i6": "The heat"}
    assert items("heat") == {"items": ["i1", "i6"], "names": names, "known": False}
    assert items("i1") == {"items": ["i1"], "names": {"i1": "Heat"}, "known": True}
    # Ids come before names.
    assert items("i")["items"] == ["i1", "i2", "i3", "i4", "i5", "i6", "i7"]
    assert items("img")["items"] == ["i2"] and items(".*")["items"] == []


def test_descriptions_of_items(described_url, url):
    assert post(described_url, "page/descriptions", {"items": ["i2", "i5", "no"]}) == (200, {
        "descriptions": {
            "i2": {"name": IMAGE, "features": {"genres": [SCRIPT], "year": 2013.0}},
            "i5": {"name": None, "features": {}},
            "no": {"name": None, "features": {}},
        }
    })  # fmt: skip
    assert post(url, "page/descriptions", {"items": ["i2"]}) == (200, {"descriptions": {}})
    for document, status, message in (
        (
            {"items": ["i"] * 1001},
            413,
            "descriptions of 1001 items; the page takes at most 1000",
        ),
        ({"items": [5]}, 400, "items: expected ids as text"),
        ({"items": "i1"}, 400, "expected an object with 'items', a list"),
        (["i1"], 400, "expected an object with 'items', a list"),
        (b"{", 400, "not JSON: "),
    ):
        answered, reply = post(described_url, "page/descriptions", document)
        assert answered == status and message in reply["error"]


def test_numbers_of_features_and_mistakes_in_them(described_url, url):
    def encode(user, **context):
        given = {"user": user, "context": context}
        return post(described_url, "page/context_values", given)[1]

    fine = {"user": {}, "context": {}}
    assert encode({}) == {"context_values": NO_FEATURES, "problems": fine}
    assert encode({}, hour=23)["context_values"] == [*NO_FEATURES[:-1], 58]
    assert encode({"age": 31, "region": "<i>south</i>", "tags": ["b", "a"]}) == {
        "context_values": [3, 6, 10, 11, 12, 23, 34], "problems": fine,
    }  # fmt: skip
    bad = {"age": "old", "region": "moon", "tags": ["a"] * 1001, "size": 3}
    assert encode(bad, hour=24) == {
        "context_values": [],
        "problems": {
            "user": {
                "age": "user: age is 'old'; expected a finite number",
                "tags": "user: tags has 1,001 values; expected at most 1,000",
                "size": "user: 'size' is not a column; there are age, region, tags, about, "
                "city",
            },
            "context": {"hour": "context: hour is 24; expected a whole number from 0 to 23"},
        },
    }
    _, reply = post(described_url, "page/context_values", {"user": {}, "context": []})
    assert reply["error"] == "expected an object with 'context', an object"
    _, reply = post(url, "page/context_values", {"user": {"age": 3}, "context": {}})
    assert "expected none" in reply["problems"]["user"]["age"]


def test_the_fields_of_the_form(described_url, url):
    model = json.loads(get(described_url, "page/model")[2])
    fields, [hour] = model["user_features"], model["context_features"]
    assert (hour["kind"], hour["categories"][-1], hour["are_all"]) == ("hour", "23", True)
    assert [(field["name"], field["kind"], field["categories"]) for field in fields] == [
        ("age", "number", []), ("region", "category", ["<i>south</i>", "north"]),
        ("tags", "categories", ["b", "a"]), ("about", "text", []), ("city", "category", []),
    ]  # fmt: skip
    assert [field["are_all"] for field in fields] == [False, True, True, False, False]
    assert json.loads(get(url, "page/model")[2])["user_features"] == []
    user = json.loads(get(described_url, "page/user", name="u1")[2])
    assert user["features"] == FEATURED_USERS[0].features


def test_a_column_with_many_categories_names_the_first(tmp_path):
    table = pl.DataFrame({"user": range(201), "region": [f"r{n:03}" for n in range(201)]})
    columns = [FeatureColumn(name="region", min_items=1)]
    encoder = feature_encoding.fit(columns, table, "users", "user")
    [field] = page._form(encoder)
    assert field["categories"] == [f"r{n:03}" for n in range(200)]
    assert not field["are_all"]


def test_paths_of_the_page(url, exported):
    assert get(url, "")[:2] == (200, "text/html; charset=utf-8")
    assert get(url, "page.js")[1] == "text/javascript; charset=utf-8"
    status, kind, body = get(url, "page/model")
    assert (status, kind) == (200, "application/json")
    described = json.loads(body)
    assert described["users"] == [user.name for user in USERS]
    assert described["named_goals"] == {"clicks": [1.0, 0.0], "watch": [0.0, 1.0]}
    assert get(url, "page/user", name="nobody")[0] == 404
    for path in ("index.html", "page_files/page.js", "../page.py", "%2e%2e/page.py", "x"):
        assert get(url, path)[0] == 404
    assert urllib3.request("POST", url, body=b"{}").status == 404
    config = server.ServerConfig(port=0, rest_port=0, poll_seconds=3600)
    with server.Server(exported, config, LIMITS) as plain:  # without a page
        assert get(f"http://127.0.0.1:{plain.rest_port}/", "")[0] == 404


def test_a_model_without_goals_is_rejected(exported, tmp_path):
    folder = tmp_path / "policy"  # e.g. a TF-Agents policy
    shutil.copytree(exported / "1", folder / "1")
    path = folder / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["named_goals"], manifest["measurements"]
    path.write_text(json.dumps(manifest))
    config = server.ServerConfig(port=0, rest_port=0, poll_seconds=3600)
    with server.Server(folder, config, LIMITS) as running:
        with pytest.raises(errors.UserError, match=r"no measurements, named_goals\); the page"):
            running.show()


def test_nothing_of_the_page_names_another_host():
    files = sorted(pathlib.Path(page.__file__).with_name("page_files").iterdir())
    assert len(files) == 10
    for path in files:
        assert "//" not in path.read_text().replace("// ", ""), path
