"""The script's real main on small logs: its files, going on, and mistakes of the user."""

import csv
import json

import numpy as np
import polars as pl
import pytest

from launch import flags
from tfrec.methods import ranking, registry

SMALL = ("--width=8", "--inner=8", "--blocks=1", "--length=6", "--batch=16")


def write_log(path, users=30, with_times=False):
    """Users walk along a cycle of 20 items, one a day, from any start."""
    rng, lines = np.random.default_rng(0), []
    for user in range(1, users + 1):
        start, first_day = rng.integers(20), rng.integers(30)
        for step in range(rng.integers(4, 9)):
            event = f"{user} {(start + step) % 20 + 101}"
            if with_times:
                event = f"{event} {(first_day + step) * 86_400} 1".replace(" ", ",")
            lines.append(f"{event}\n")
    if with_times:
        lines.insert(0, "user,item,when,click\n")
    path.write_text("".join(lines))
    return path


def call(*arguments):
    return flags.call("launch.train_sequential", ["--method=sasrec", *SMALL, *arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    log = write_log(folder / "log.txt")
    arguments = (f"--data={log}", f"--out={folder / 'out'}", "--epochs=2", "--cutoffs=5")
    assert call(*arguments) == 0
    return folder / "out", arguments


def test_the_folder_holds_the_comparison(run):
    out, _ = run
    document = json.loads((out / "rankings.json").read_text())
    assert document["about"]["protocol"] == "leave_one_out"
    assert "no sampled negatives" in document["about"]["conditions"]
    # The log has no times, so that recent popularity is left out.
    assert set(document["rankers"]) == {"popularity", "item_neighbours", "ease", "sasrec"}
    for metrics in document["rankers"].values():
        assert metrics["ndcg@5"]["low"] <= metrics["ndcg@5"]["mean"]
    page = (out / "rankings.md").read_text()
    assert "protocol: leave_one_out" in page and "| SASRec |" in page
    rows = list(csv.DictReader((out / "rankings.csv").open()))
    assert {row["policy"] for row in rows} == set(document["rankers"])
    for picture in ("rankings.png", "curve.png"):
        assert (out / picture).stat().st_size > 10_000
    assert (out / "tensorboard").is_dir()


def test_the_saved_model_ranks_raw_ids(run):
    agent = registry.load(run[0] / "model")
    request = ranking.checked_request(
        agent.vocabulary, agent.spec, [101, 102], exclude=[101], k=3
    )
    ranked = agent.rank(request)
    assert len(ranked) == 3 and 101 not in ranked.items
    assert agent.about["protocol"] == "leave_one_out"


def test_a_finished_run_is_evaluated_again_and_another_one_refused(run, capsys):
    out, arguments = run
    before = json.loads((out / "rankings.json").read_text())
    assert call(*arguments) == 0
    assert json.loads((out / "rankings.json").read_text()) == before
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    capsys.readouterr()
    assert call(*arguments, "--protocol=user_ratio") == 2
    message = capsys.readouterr().err
    assert "extra.protocol: was 'leave_one_out', is now 'user_ratio'" in message


def test_times_allow_the_global_split_and_recent_popularity(tmp_path):
    log = write_log(tmp_path / "log.csv", with_times=True)
    out = tmp_path / "out"
    code = call(
        f"--data={log}", f"--out={out}", "--epochs=1", "--protocol=global_time",
        "--format=table", "--columns_time=when",
    )  # fmt: skip
    assert code == 0
    document = json.loads((out / "rankings.json").read_text())
    assert "recent_popularity" in document["rankers"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=absent.txt"], "absent.txt: no such file"),
        (["--format=lines"], "row 2: user 1 has row 1 too"),
        (["--format=prepared"], "manifest.json: not readable"),
        (["--protocol=global_time"], "global_time needs the time of each event"),
        (["--cutoffs=5,50"], "cutoffs hold 50; expected at most 20"),
        (["--width=9", "--heads=2"], "heads is 2; expected a divisor of width"),
        (["--dropout=1"], "dropout is 1.0; expected at least 0, below 1"),
        (["--method=gru"], "gru"),
        (["--categories=items.csv"], "--categories=items.csv: sasrec reads no categories"),
        (["--graph=graph.csv"], "--graph=graph.csv: sasrec reads no knowledge graph"),
    ],
)
def test_a_mistake_ends_with_a_message_and_no_folder(arguments, message, tmp_path, capsys):
    log = write_log(tmp_path / "log.txt")
    out = tmp_path / "out"
    assert call(f"--data={log}", f"--out={out}", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_prepared_data_is_a_log_too(embedded_data, tmp_path):
    out = tmp_path / "out"
    code = call(
        f"--data={embedded_data}", f"--out={out}", "--epochs=1", "--format=prepared",
        "--cutoffs=5", "--protocol=user_ratio",
    )  # fmt: skip
    assert code == 0
    document = json.loads((out / "rankings.json").read_text())
    # Sessions have times. The lists are of all users with three events at least.
    assert "recent_popularity" in document["rankers"]
    assert document["about"]["users"] <= 60


def test_a_log_without_two_training_events_of_a_user_is_refused(tmp_path, capsys):
    log = tmp_path / "log.txt"
    log.write_text("".join(f"{user} {item}\n" for user in range(9) for item in (1, 2, 3)))
    out = tmp_path / "out"
    assert call(f"--data={log}", f"--out={out}", "--cutoffs=2") == 2
    assert "no user has two training events" in capsys.readouterr().err
    assert not out.exists()


COCOREC = ("--method=cocorec", "--width=8", "--length=6", "--batch=16", "--memory=8")


def test_categories_are_those_of_a_file_or_clusters_said_aloud(tmp_path, capsys):
    log, file = write_log(tmp_path / "log.txt"), tmp_path / "categories.json"
    file.write_text(json.dumps({str(item): [item % 4, 99] for item in range(101, 120)}))
    command = [*COCOREC, f"--data={log}", "--epochs=1", "--cutoffs=5", "--neighbours=2"]
    out = tmp_path / "out"
    arguments = [*command, f"--out={out}", f"--categories={file}"]
    assert flags.call("launch.train_sequential", arguments) == 0
    assert "1 items have no category; they share one" in capsys.readouterr().err
    agent = registry.load(out / "model")
    assert agent.config.num_categories == 5
    items = agent.vocabulary.items
    expected = [item % 4 if item < 120 else 4 for item in items]
    assert agent.learner.acting.category.numpy().tolist() == expected
    # Another file is another run.
    file.write_text(json.dumps({"101": 1, "102": 2}))
    assert flags.call("launch.train_sequential", arguments) == 2
    assert "extra.categories" in capsys.readouterr().err

    clustered = tmp_path / "clustered"
    arguments = [*command, f"--out={clustered}", "--num_categories=4"]
    assert flags.call("launch.train_sequential", arguments) == 0
    warned = capsys.readouterr().err
    assert "the log has no categories: 4 clusters of item vectors stand for them" in warned


PATHS = (
    "--method=pgpr_kg", "--width=8", "--hidden=16", "--keys=4", "--beam=6,4,2", "--batch=16",
    "--embedding_epochs=1", "--epochs=1", "--embedding_batch=64", "--cutoffs=5",
)  # fmt: skip


def write_graph(path, entity="shelf"):
    """Items 101 to 119 stand on four shelves; item 120 is in no triple."""
    rows = [f"{item},stands_on,{entity} {item % 4}\n" for item in range(101, 120)]
    path.write_text("".join(["head,relation,tail\n", *rows]))
    return path


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walked")
    log, graph = write_log(folder / "log.txt"), write_graph(folder / "graph.csv")
    arguments = [*PATHS, f"--data={log}", f"--graph={graph}", f"--out={folder / 'out'}"]
    assert flags.call("launch.train_sequential", arguments) == 0
    return folder, arguments


def test_paths_are_compared_with_the_controls_and_explain(walked, capsys):
    folder, _ = walked
    document = json.loads((folder / "out" / "rankings.json").read_text())
    assert set(document["rankers"]) == {"popularity", "item_neighbours", "ease", "pgpr_kg"}
    about = document["about"]
    assert about["users"] == 30  # no user is left out
    assert about["users whose list was completed without paths"].endswith("%")
    assert about["triples"] == "19, of 1 relations"
    agent = registry.load(folder / "out" / "model")
    explained = agent.explain(1, k=5)
    paths = [one.path for one in explained if one.path]
    assert len(explained) == 5 and paths
    assert all(path.startswith("user 1 -interacted-> ") for path in paths)


def test_lists_of_all_users_are_those_of_the_agent(walked, tmp_path):
    folder, _ = walked
    out, log = tmp_path / "lists.parquet", tmp_path / "log.txt"
    log.write_text((folder / "log.txt").read_text() + "99 101\n")  # user 99 is unknown
    arguments = [
        f"--agent={folder / 'out' / 'model'}", f"--data={log}", "--format=rows", "--k=4",
        f"--out={out}", "--batch=7",
    ]  # fmt: skip
    assert flags.call("launch.recommend_all", arguments) == 0
    frame = pl.read_parquet(out)
    agent = registry.load(folder / "out" / "model")
    for user in (1, 30):
        listed = frame.filter(pl.col("user") == user).sort("rank")["item"].to_list()
        assert listed == [one.item for one in agent.explain(user, 4, exclude_seen=False)]
    assert (frame["user"] == 99).sum() == 4


def test_another_graph_is_another_run_and_an_export_is_refused(walked, tmp_path, capsys):
    folder, arguments = walked
    before = (folder / "graph.csv").read_text()
    write_graph(folder / "graph.csv", "rack")
    assert flags.call("launch.train_sequential", arguments) == 2
    assert "graph: was" in capsys.readouterr().err
    (folder / "graph.csv").write_text(before)
    agent = folder / "out" / "model"
    export = [f"--agent={agent}", f"--out={tmp_path / 'export'}"]
    assert flags.call("launch.export_model", export) == 2
    assert "pgpr_kg ranks for the users of its log" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "--graph is not given; expected the knowledge graph"),
        ("head,relation,tail\n101,is\n", "graph.csv, row 2: tail"),
        ("head,relation,tail\n7,is,red\n", "none of its 2 entities is an item of the log"),
    ],
)
def test_a_bad_graph_ends_with_a_message_and_no_folder(text, message, tmp_path, capsys):
    log, graph, out = write_log(tmp_path / "log.txt"), tmp_path / "graph.csv", tmp_path / "out"
    arguments = [*PATHS, f"--data={log}", f"--out={out}"]
    if text:
        graph.write_text(text)
        arguments.append(f"--graph={graph}")
    assert flags.call("launch.train_sequential", arguments) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
