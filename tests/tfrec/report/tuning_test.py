"""The page and the picture of a study."""

from tfrec.report import tuning


def trial(number, score, state="complete", rate=0.1):
    return {"number": number, "score": score, "state": state, "overrides": {"rate": rate},
            "updates": 1000, "seconds": 61.2}  # fmt: skip


STUDY = {
    "trials": [
        trial(0, 2.0), trial(1, 3.5, rate=0.01), trial(2, 1.0, "pruned", 0.3),
        trial(4, None, "diverged", 9.0), trial(5, 2.5, rate=0.02),
    ],
    "overrides": {"rate": 0.01}, "defaults": {"rate": 0.1}, "score": 3.5, "default_score": 2.0,
    "updates": 5000, "importance": {"rate": 1.0},
}  # fmt: skip


def test_the_page_has_the_budget_the_best_and_every_trial(tmp_path):
    tuning.write(tmp_path, STUDY, "Rainbow on films", "clicks per session")
    text = (tmp_path / "tuning.md").read_text()
    assert "# Rainbow on films" in text
    assert "5 trials (3 complete, 1 pruned, 1 diverged), 5,000 updates in all." in text
    assert "Best: 3.5 clicks per session; the defaults: 2." in text
    assert "| rate | 0.1 | 0.01 | 100% |" in text
    rows = [line.split(" | ")[0] for line in text.splitlines() if "1,000" in line]
    assert rows == ["| 1", "| 5", "| 0", "| 2", "| 4"]  # best first, the unfinished last
    assert "| 4 |  | diverged | 1,000 | 61 | 9.0 |" in text
    assert (tmp_path / "tuning.png").stat().st_size > 5000


def test_the_line_is_the_best_so_far():
    (axes,) = tuning.picture(STUDY["trials"], {}, "A study", "clicks").axes
    (line,) = axes.lines
    assert list(line.get_xdata()) == [0, 1, 5]
    assert list(line.get_ydata()) == [2.0, 3.5, 3.5]
    both = tuning.picture(STUDY["trials"], STUDY["importance"], "A study", "clicks").axes
    assert [label.get_text() for label in both[1].get_yticklabels()] == ["rate"]


def test_defaults_that_diverged_are_said():
    study = STUDY | {"default_score": None}
    assert "the defaults: diverged." in tuning.page(study, "x", "clicks")


def test_a_study_that_counts_no_updates_shows_none():
    trials = [trial | {"updates": 0} for trial in STUDY["trials"]]
    text = tuning.page(STUDY | {"updates": 0, "trials": trials}, "x", "clicks")
    assert "updates" not in text
    assert "5 trials (3 complete, 1 pruned, 1 diverged). Best" in text
    assert "| 4 |  | diverged | 61 | 9.0 |" in text
