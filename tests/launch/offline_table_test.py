"""launch.reproduce --table=II: what it plans, runs, keeps and shows."""

import dataclasses
import json
import pathlib

import numpy as np
import polars as pl
import pytest

from launch import flags
from launch.experiments import offline_plan, offline_table, offline_table_report
from tfimrl import published
from tfrec.baselines.sequential import methods as sequential
from tfrec.errors import UserError
from tfrec.evaluation import next_items
from tfrec.methods import registry

pytestmark = pytest.mark.slow

SMOKE = offline_plan.SCALES["smoke"]


def table(out=pathlib.Path("out"), logs=None, methods=(), **changes):
    scale = dataclasses.replace(SMOKE, **changes)
    return offline_table.TableTwo(out, logs or {"embedded": ""}, methods, "smoke", scale)


def test_the_rows_are_the_papers_and_stamp():
    printed = set(published.TABLE_II["netflix"])
    assert printed < set(offline_plan.ROWS)
    assert set(offline_plan.ROWS) - printed == {"stamp", "casr_sasrec"}
    assert set(offline_plan.SEQUENTIAL) <= set(sequential.METHODS)
    assert set(sequential.ABLATIONS) < set(offline_plan.ABLATIONS)
    for method in (*offline_plan.REINFORCEMENT, *offline_plan.ABLATIONS):
        if method not in sequential.ABLATIONS:
            registry.get(method, "users")
    assert set(offline_plan.DATA_SETS) == {*published.TABLE_II, offline_plan.GENERATED}


def test_cells_come_seed_by_seed():
    cells = table(logs={"netflix": "n", "movielens": "m"}, seeds=2).cells()
    assert len(cells) == len(set(cells)) == 2 * 2 * 11
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    few = table(methods=("imrl_e", "stamp")).cells()
    assert [cell.method for cell in few] == ["imrl_e", "stamp"]
    with pytest.raises(UserError, match="--methods=rainbow: Table II has"):
        table(methods=("rainbow",)).cells()


def test_methods_share_a_process_at_the_smoke_scale_alone():
    assert len(offline_table._jobs(table())) == 1
    assert len(offline_table._jobs(table(one_process=False))) == 11
    assert not offline_table._tunings(table())
    tunings = offline_table._tunings(table(trials=3))
    assert len(tunings) == 11
    assert {job.arguments[-1] for job in tunings} == {"--trials=3"}


def test_a_folder_is_read_in_the_form_that_it_holds(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3,4\n")
    made_with = offline_table.preparation("movielens", str(tmp_path), SMOKE)
    assert (
        "--source=movielens" in made_with["prepare"]
        and "--max_users=200" in made_with["prepare"]
    )
    assert (
        list(made_with["log"]) == ["ratings.csv"] and len(made_with["log"]["ratings.csv"]) == 64
    )
    (tmp_path / "interactions.csv").write_text("user,item,order\n1,2,0\n")
    made_with = offline_table.preparation("movielens", str(tmp_path), SMOKE)
    assert "--time_unit=order" in made_with["prepare"]
    assert "--min_item_rows=5" not in made_with["prepare"]
    sampled = offline_table.preparation(
        "movielens", str(tmp_path), offline_plan.SCALES["sample"]
    )
    assert sampled["prepare"][-2:] == ["--max_users=600", "--min_item_rows=5"]
    with pytest.raises(UserError, match="--netflix=.*: holds no log of Netflix: combined_data"):
        offline_table.preparation("netflix", str(tmp_path), SMOKE)


def evaluation(values):
    by_user = {f"{metric}@20": np.array(values) for metric in published.METRICS}
    return next_items.Evaluation(np.zeros([len(values), 20], np.int32), by_user, {20: 0.5})


def test_differences_are_to_imrl_and_to_the_best_of_the_others():
    random = np.random.default_rng(0)
    users, noise = random.uniform(size=100), 0.01 * random.normal(size=(2, 4, 100))
    seeds = [[users, users + 0.3, users + 0.2, users + 0.9] + noise[seed] for seed in range(2)]
    every = {
        name: [evaluation(seeds[seed][row]) for seed in range(2)]
        for row, name in enumerate(("ease", "stamp", "imrl", "imrl_e"))
    }
    to_imrl, to_best = offline_table_report.differences(every, "ndcg@20")
    assert (to_imrl.reference, to_best.reference) == ("imrl", "stamp")
    means = {name: x["mean"] for name, x in to_imrl.by_method.items()}
    assert means == pytest.approx({"ease": -0.2, "stamp": 0.1, "imrl_e": 0.7}, abs=0.01)
    # IMRL and STAMP are compared once: five comparisons, the smallest p counts five times.
    assert set(to_best.by_method) == {"ease", "imrl_e"}
    compared = [*to_imrl.by_method.values(), *to_best.by_method.values()]
    smallest = min(compared, key=lambda x: x["p_value"])
    assert smallest["holm"] == pytest.approx(5 * smallest["p_value"])
    assert all(x["low"] < x["mean"] < x["high"] for x in compared)

    [only] = offline_table_report.differences({"ease": every["ease"], "stamp": every["stamp"]},
                                              "ndcg@20")  # fmt: skip
    assert only.reference == "stamp" and list(only.by_method) == ["ease"]
    assert offline_table_report.differences({}, "ndcg@20") == []


def test_ranks_are_compared_with_the_papers():
    every = {"imrl": [evaluation([0.1, 0.2])], "sasrec": [evaluation([0.3, 0.3])],
             "pgpr": [evaluation([0.0, 0.1])], "ease": [evaluation([0.9, 0.9])]}  # fmt: skip
    ranks = offline_table_report.agreement("amazon_cds", every, SMOKE)["recall@20"]
    # The paper: IMRL 9.213, PGPR 6.619, SASRec 5.129. EASE is not among its methods.
    assert ranks.first == {"sasrec": 3, "pgpr": 2, "imrl": 1}
    assert ranks.second == {"sasrec": 1, "imrl": 2, "pgpr": 3}
    assert ranks.rho == pytest.approx(1 - 6 * (4 + 1 + 1) / (3 * 8))
    none = offline_table_report.agreement("embedded", every, SMOKE)["recall@20"]
    assert none.rho is None and not none.second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--table=1,II",), "expected II alone, or some of 1 to 3"),
        (("--table=4",), "--table=4"),
        (("--table=II", "--taobao=log"), "the logs read here are amazon_cds"),
        (("--table=1", "--netflix=log"), "the logs read here are movielens, taobao"),
        (("--figure=2", "--movielens=log"), "the figures read no log"),
        (("--table=II", "--methods=rainbow"), "Table II has"),
        (("--table=II", "--movielens=absent"), "--movielens=absent: holds no log of MovieLens"),
    ],
)
def test_mistakes_are_messages_and_leave_nothing(tmp_path, capsys, arguments, message):
    out = tmp_path / "out"
    assert flags.call("launch.reproduce", (*arguments, f"--out={out}")) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A sequential method and one of reinforcement learning, each with a trial."""
    out = tmp_path_factory.mktemp("table2") / "out"
    arguments = ("--table=II", "--scale=smoke", "--methods=stamp,tpgr", "--trials=2",
                 "--jobs=1", f"--out={out}")  # fmt: skip
    assert flags.call("launch.reproduce", arguments) == 0
    return out, arguments


def test_a_run_leaves_tables_and_a_page(finished):
    out, _ = finished
    frame = pl.read_csv(out / "table.csv")
    assert set(frame["method"]) == {
        "popularity", "recent_popularity", "item_neighbours", "ease", "users_of_play", "stamp",
        "tpgr",
    }  # fmt: skip
    assert set(frame["metric"]) == {"recall@20", "precision@20", "ndcg@20"}
    assert frame["mean"].is_between(0, 1).all()
    assert frame.filter(method="stamp")["trials"].to_list() == [2] * 3
    text = (out / "table.md").read_text()
    assert "2 settings tried on validation events and 1 seeds" in text
    assert "at least 5 events, events with a click alone" in text
    assert "| TPGR | 2 of 2 | 2 iterations | 1 of 1 | learning_rate=" in text
    assert "the best of the others (6 comparisons in this data set)" in text
    assert "data:image/png" in (out / "report.html").read_text()
    assert (out / "table_embedded.png").stat().st_size > 10_000
    assert not list(out.glob("embedded/*/seed0/checkpoints"))
    assert not list(out.glob("embedded/tuning/*/trials/*"))


def test_a_second_call_runs_nothing_and_shows_what_was_not_run(finished, capfd):
    out, arguments = finished
    path = out / "embedded/stamp/seed0/evaluation.npz"
    before = path.stat().st_mtime_ns
    again = ("--methods=stamp,tpgr,imrl", "--report_only")
    assert flags.call("launch.reproduce", (*arguments, *again)) == 0
    assert "2 of 3 cells are done" in capfd.readouterr().out
    assert path.stat().st_mtime_ns == before
    assert "| IMRL | not run |" in (out / "table.md").read_text()


def test_other_settings_are_rejected(finished, capsys):
    out, arguments = finished
    other = [a.replace("smoke", "sample") for a in arguments]
    assert flags.call("launch.reproduce", other) == 2
    assert "was prepared from another log or with other settings" in capsys.readouterr().err
    assert flags.call("launch.reproduce", (*other, "--report_only")) == 2
    assert "settings.epochs: was 1, is now 60" in capsys.readouterr().err
    cell = out / "embedded/stamp/seed0/cell.json"
    original = cell.read_text()
    cell.write_text(json.dumps({"tuned": {"width": 7}}))
    assert flags.call("launch.reproduce", arguments) == 2
    assert "was begun with other settings than tuning has chosen" in capsys.readouterr().err
    cell.write_text(original)
