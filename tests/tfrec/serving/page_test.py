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
import pytest
import urllib3
from playwright.sync_api import expect, sync_playwright

from tests.tfrec.serving import fake_ranker
from tfrec import errors
from tfrec.serving import export, loaded, page, requests, server, service

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SCREENSHOTS = os.environ.get("TFREC_SCREENSHOTS", "")
SCRIPT, IMAGE = "<script>window.hacked=1</script>", '<img src=x onerror="window.hacked=1">'
IDS = np.array(["i1", "i2", IMAGE, "i4", SCRIPT, "i6", "i7"], dtype=object)
LIMITS = service.LimitsConfig(max_k=50, max_values=40, drain_seconds=5.0)
USERS = (
    page.User("u1", ("i1", "i6", "gone"), {"click": (1, 0, 1), "watch": (12.34567, 0, 3)}),
    page.User("<b>u2</b>", (), {"click": (), "watch": ()}),
)
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
    nameless = opened.evaluate(
        """[...document.querySelectorAll("input, select, button")]
        .filter((e) => !(e.labels?.length && e.labels[0].textContent.trim())
            && !e.ariaLabel && !e.textContent.trim())
        .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    expect(opened.locator("#status")).to_have_attribute("role", "status")
    expect(opened.get_by_role("table", name="Ranked items")).to_be_visible()
    expect(opened.get_by_role("rowheader", name="i4")).to_be_visible()


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

    assert items("i4") == {"items": ["i4"], "known": True}
    assert items("I4") == {"items": ["i4"], "known": False}
    assert items("i")["items"] == ["i1", "i2", "i4", "i6", "i7", IMAGE, SCRIPT]
    assert items("") == {"items": list(IDS), "known": False}
    for nothing in ("x" * 5000, "i4\ni5", "\n", "\\", ".*", "\x00"):
        assert items(nothing)["known"] is False
    assert items(".*")["items"] == []


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
    assert len(files) == 8
    for path in files:
        assert "//" not in path.read_text().replace("// ", ""), path
