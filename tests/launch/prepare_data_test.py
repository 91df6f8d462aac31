import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from launch import flags
from tfgoalrec import measurements
from tfrec import options, types
from tfrec.data import (
    episodes,
    features,
    item_vectors,
    storage,
    synthetic,
    synthetic_attributes,
    synthetic_worlds,
)
from tfrec.environments import user_models, worlds


def run(*arguments):
    return flags.call("launch.prepare_data", arguments)


def test_the_embedded_log(tmp_path, capsys):
    size = ["--embedded_num_users=60", "--embedded_sessions_per_user=2", "--max_steps=30"]
    assert run(f"--out={tmp_path / 'data'}", *size) == 0
    data = storage.PreparedData.open(tmp_path / "data")
    assert data.spec.feedback_names == ("click", "watch_seconds")
    assert data.spec.num_users == 60
    assert data.num_sessions("all") == 120
    assert data.manifest["source"] == "embedded"
    assert data.column("train", "propensity").max() <= 1.0
    said = capsys.readouterr().out
    for word in ("train", "validation", "test", "CTR", "depth", "60 users"):
        assert word in said


SMALL = ("--embedded_num_users=40", "--embedded_num_items=20", "--embedded_num_tastes=2")


def test_a_named_world_gives_the_defaults_of_other_flags(tmp_path):
    command = ["--embedded_world=yoochoose_scale", *SMALL, "--history_length=7"]
    assert run(f"--out={tmp_path}", *command) == 0
    data = storage.PreparedData.open(tmp_path)
    config = options.restored(synthetic.SyntheticConfig, data.manifest["generator"])
    expected = synthetic_worlds.log_class("yoochoose_scale")(
        num_users=40, num_items=20, num_tastes=2
    )
    assert dataclasses.asdict(config) == dataclasses.asdict(expected)
    assert (data.spec.max_steps, data.spec.history_length) == (300, 7)
    assert data.manifest["splits"]["train"]["users"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--embedded_world=yoochose",),
            "--embedded_world=yoochose: expected one of held_aside",
        ),
        (
            ("--embedded_world=held_aside", "--source=movielens", "--path=x"),
            "--embedded_world=held_aside needs --source=embedded",
        ),
    ],
)
def test_a_mistake_with_a_named_world(arguments, message, tmp_path, capsys):
    assert run(f"--out={tmp_path / 'new'}", *SMALL, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_attributes_of_the_embedded_log(tmp_path, capsys):
    out, attributes = tmp_path / "data", tmp_path / "attributes"
    command = [f"--out={out}", *SMALL, "--embedded_new_items=5"]
    assert run(*command) == 0
    data = storage.PreparedData.open(out)
    assert data.features("item") is None and data.features("user") is None
    without = {name: data.manifest[name] for name in ("spec", "splits", "ids")}

    command += [f"--attributes_out={attributes}", "--overwrite"]
    assert run(*command) == 0
    data = storage.PreparedData.open(out)
    assert {name: data.manifest[name] for name in without} == without
    config = options.restored(synthetic.SyntheticConfig, data.manifest["generator"])
    tables = synthetic_attributes.attributes(config, synthetic.truth(config))
    for kind, ids in (("item", data.vocabulary.item_ids), ("user", data.vocabulary.user_ids)):
        file = attributes / f"{kind}_features.csv"
        stored = data.features(kind)
        assert stored.equals(features.read(file, ids))
        every = pl.read_csv(file)  # of all ids, also those that the log does not show
        assert every.equals(tables[kind])
        assert stored.equals(every[[every[kind].to_list().index(raw) for raw in ids.raw]])
    assert (
        len(data.features("item")) == 15
        and len(pl.read_csv(file.parent / "item_features.csv")) == 20
    )


@pytest.mark.parametrize(
    "declared", ["", '[context.started]\nkind = "hour"\n[user.region]\nkind = "category"\n']
)
def test_the_hour_of_a_session_is_known_where_tastes_depend_on_it(declared, tmp_path):
    command = [f"--out={tmp_path / 'data'}", *SMALL, "--embedded_day_parts=3"]
    if declared:  # by the user: the hour is declared once
        (tmp_path / "features.toml").write_text(declared)
        command += [
            f"--feature_columns={tmp_path / 'features.toml'}",
            f"--attributes_out={tmp_path / 'attributes'}",
        ]
    assert run(*command) == 0
    data = storage.PreparedData.open(tmp_path / "data")
    (code,) = data.vocabulary.context_features.codes
    assert (code.column.name, code.column.kind) == ("started" if declared else "hour", "hour")
    world = worlds.load(worlds.TRUTH, data)
    starts = user_models.starts_of(data.episodes("train"))
    hour = data.session_times("train")[0] // 3_600_000 % 24
    np.testing.assert_array_equal(world.part(starts), hour // 8)
    segment = world.reset(types.constants(starts)).segment
    own = world.truth.taste[starts.user - 1]
    np.testing.assert_array_equal(segment, np.where(hour // 8 == 1, 0, own))


def tree(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--source=table", "--path={}/log.csv"),
            "needs --source=embedded; table has no known",
        ),
        (("--item_features={}/x.csv",), "--item_features={}/x.csv: expected one of them"),
        (("--user_features={}/x.csv",), "--user_features={}/x.csv: expected one of them"),
        (("--out={}/attributes",), "--out={}/attributes: expected separate folders"),
        (("--out={}/attributes/data",), "/attributes/data: expected separate folders"),
        (("--out={}",), "--out={}: expected separate folders"),
        (("--embedded_attribute_noise=1.5",), "--embedded_attribute_noise=1.5"),
        (("--embedded_new_items=15",), "new_items is 15; expected at most"),
        # Found after the attributes were drawn:
        (("--feature_columns={}/x.toml",), "x.toml"),
        (("--min_item_rows=999999",), "no training session is left"),
    ],
)
def test_a_mistake_writes_no_attributes(arguments, message, tmp_path, capsys):
    folder = tmp_path / "new"
    given = [f"--out={folder / 'data'}", *SMALL, f"--attributes_out={folder / 'attributes'}"]
    assert run(*given, *(argument.format(folder) for argument in arguments)) == 2
    assert message.format(folder) in capsys.readouterr().err
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_attributes_replace_attributes_alone(tmp_path, capsys):
    attributes = tmp_path / "attributes"
    command = [f"--out={tmp_path / 'data'}", *SMALL, f"--attributes_out={attributes}"]
    assert run(*command) == 0
    first = tree(tmp_path)
    assert run(*command[1:], f"--out={tmp_path / 'other'}") == 2
    assert "holds attributes already; pass --overwrite" in capsys.readouterr().err
    assert tree(tmp_path) == first
    noisy = [*command, "--overwrite", "--embedded_attribute_noise=0.5"]
    assert run(*noisy, "--split=time", "--test_from=1990-01-01") == 2  # nothing to train on
    assert tree(tmp_path) == first
    assert run(*noisy) == 0
    second = tree(tmp_path)
    assert second.keys() == first.keys()
    for file in attributes.iterdir():
        assert second[file] != first[file]
    (attributes / "notes.txt").write_text("mine")
    assert run(*command, "--overwrite") == 2
    assert "holds other files (notes.txt); choose another" in capsys.readouterr().err
    assert tree(tmp_path) == second | {attributes / "notes.txt": b"mine"}


def test_the_same_command_twice_needs_overwrite(tmp_path, capsys):
    command = [f"--out={tmp_path / 'data'}", "--embedded_num_users=30"]
    assert run(*command) == 0
    first = storage.PreparedData.open(tmp_path / "data").fingerprint
    assert run(*command) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert run(*command, "--overwrite") == 0
    assert storage.PreparedData.open(tmp_path / "data").fingerprint == first


def test_a_folder_is_recognised(tmp_path):
    (tmp_path / "ml-latest").mkdir()
    rows = [f"{user},{movie},4.0,{movie}" for user in range(10) for movie in range(5)]
    content = "\n".join(["userId,movieId,rating,timestamp", *rows])
    (tmp_path / "ml-latest" / "ratings.csv").write_text(content)
    assert run(f"--source={tmp_path / 'ml-latest'}", f"--out={tmp_path / 'data'}") == 0
    assert storage.PreparedData.open(tmp_path / "data").manifest["source"] == (
        "movielens ml-latest"
    )


SHOPS = {
    "taobao": ("UserBehavior.csv", "{user},{item},1,{kind},{time}", ("pv", "buy"), "buy"),
    "yoochoose": ("yoochoose-clicks.txt", "{user}\t{item}\t{time}", ("", ""), "long_view"),
    "otto": (
        "train.jsonl",
        '{{"session":{user},"events":[{{"aid":{item},"ts":{time}000,"type":"{kind}"}}]}}',
        ("clicks", "orders"),
        "order",
    ),
}


@pytest.mark.parametrize("shop", SHOPS)
def test_a_shops_reward_comes_first_and_is_what_goalrec_measures(shop, tmp_path):
    name, row, kinds, reward = SHOPS[shop]
    events = 1 if shop == "otto" else 6
    rows = [
        row.format(user=user, item=n + user % 3, kind=kinds[n % 2], time=1511600000 + 600 * n)
        for user in range(30)
        for n in range(events)
    ]
    if shop == "otto":
        rows[0] = rows[0].replace("clicks", "orders")
    header = ["SessionId\tItemId\tTime"] if shop == "yoochoose" else []
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / name).write_text("\n".join([*header, *rows]))
    assert run(f"--source={tmp_path / 'log'}", f"--out={tmp_path / 'data'}") == 0
    data = storage.PreparedData.open(tmp_path / "data")
    assert data.manifest["source"] == f"{shop} log"
    assert data.spec.feedback_names[0] == reward
    log = data.episodes("train")
    vectors = item_vectors.co_click_vectors(log, data.spec.num_items, 4)
    measured = measurements.Measurements((), data.spec, vectors)
    measured.fit(log)
    assert np.isfinite(measured.raw(log)).all()
    assert measured.columns[0] == f"{reward}@0"
    assert {f"mean({reward})", "exit@0"} <= set(measured.columns)
    clicks = data.manifest["splits"]["train"]["clicks"]
    assert clicks == log.feedback[..., 0].sum()
    mean = measured.mean.numpy()[0] * log.length.sum()
    assert mean == pytest.approx(clicks, abs=1e-2)


RATINGS = {
    "amazon": ("reviews_CDs_5.json", "json", True),
    "librarything": ("reviews.json", "python", True),
    "goodreads": ("goodreads_interactions_dedup.json", "shelf", True),
    "book_crossing": ("BX-Book-Ratings.csv", "quoted", False),
    "netflix": ("mv_0000001.txt", "film", True),
    "sequence": ("log.txt", "line", False),
}


def rating_log(form):
    """12 users rate items 0 to 6 in this order, except the item of the user's number."""
    rated = {user: [item for item in range(7) if item != user % 7] for user in range(12)}
    if form == "line":
        return "\n".join(" ".join(map(str, [user, *items])) for user, items in rated.items())
    rows = [(user, item, 3 + item % 3, item) for user in rated for item in rated[user]]
    if form == "film":
        blocks = [
            [
                f"{film}:",
                *(f"{u},{stars},2005-01-1{day}" for u, i, stars, day in rows if i == film),
            ]
            for film in range(7)
        ]
        return "\n".join("\n".join(block) for block in blocks)
    lines = {
        "json": '{{"reviewerID": "u{0}", "asin": "B00000000{1}", "overall": {2}, '
        '"unixReviewTime": 140000000{3}}}',
        "python": "{{'user': 'u{0}', 'work': '{1}', 'stars': {2}.0, 'unixtime': 140000000{3}}}",
        "shelf": '{{"user_id": "u{0}", "book_id": "{1}", "is_read": true, "rating": {2}, '
        '"date_added": "Fri Aug 25 13:55:0{3} -0700 2017"}}',
        "quoted": '"{0}";"{1}";"{2}"',
    }
    header = ['"User-ID";"ISBN";"Book-Rating"'] if form == "quoted" else []
    return "\n".join([*header, *(lines[form].format(*row) for row in rows)])


@pytest.mark.parametrize("source", RATINGS)
def test_rating_and_sequence_logs(source, tmp_path, capsys):
    name, form, timed = RATINGS[source]
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / name).write_text(rating_log(form))
    where = [f"--source={tmp_path / 'log'}"]
    if source == "sequence":  # any text file has this name
        where = ["--source=sequence", f"--path={tmp_path / 'log'}"]
    command = [*where, f"--out={tmp_path / 'data'}", "--session_gap_minutes=14400"]
    assert run(*command) == 0
    data = storage.PreparedData.open(tmp_path / "data")
    assert data.manifest["source"] == f"{source} log"
    every = data.episodes("all")
    assert every.length.tolist() == [6] * 12
    assert data.manifest["schema"]["order"] == (
        "time" if timed else {"sequence": "file"}.get(source, "random")
    )
    raw = data.vocabulary.decode(every.item[:, :6])
    if source != "book_crossing":  # the last digit of an id is the item's place in time
        digits = [[int(str(item)[-1]) for item in row] for row in raw]
        assert digits == [sorted(row) for row in digits]
    if not timed:
        assert (
            "warning: the log has no times: each user's events are in"
            in capsys.readouterr().err
        )
        assert run(*command, "--overwrite", "--split=time") == 2
        assert "split=time needs the times of events; this log has none" in (
            capsys.readouterr().err
        )
        assert storage.PreparedData.open(tmp_path / "data").fingerprint == data.fingerprint


def test_filters_are_counted_and_recorded_in_the_manifest(tmp_path, capsys):
    (tmp_path / "ratings.csv").write_text(
        "\n".join(
            [
                "userId,movieId,rating,timestamp",
                *(
                    f"{user},{item},{3 + item % 3},{item}"
                    for user in range(20)
                    for item in range(9)
                ),
                "99,1,5.0,7",  # a user of one rating
                "1,77,5.0,8",  # a film of one
            ]
        )
    )
    command = [f"--source={tmp_path / 'ratings.csv'}", f"--out={tmp_path / 'data'}"]
    assert run(*command, "--positive_only", "--k_core=5") == 0
    assert "left out: 2 events outside the k core" in capsys.readouterr().out
    data = storage.PreparedData.open(tmp_path / "data")
    assert data.manifest["dropped"]["events_without_click"] == 60
    assert data.manifest["filters"]["k_core"] == 5
    assert data.spec.num_users == 20
    assert sorted(data.vocabulary.items) == [1, 2, 4, 5, 7, 8]
    assert run(*command, "--k_core=50", "--overwrite") == 2
    assert "no event of 182 is left by the filters" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["taobao", "yoochoose", "otto", "netflix", "book-crossing"])
def test_a_set_that_is_fetched_by_hand(name, tmp_path, capsys):
    assert run(f"--download={name}", f"--out={tmp_path / 'data'}") == 2
    said = capsys.readouterr().err
    assert f"--download={name}: this set is fetched by hand: " in said
    assert f"--source={name.replace('-', '_')} --path=" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source=movielens"], "--source=movielens needs --path"),
        (["--path=log.csv"], "--path=log.csv needs --source=movielens, kuairand, taobao"),
        (["--source=nothing"], "--source=nothing: expected embedded, movielens, kuairand"),
        (["--split=day"], "split"),
        (["--embedded_num_items=3"], "--embedded_num_items=3"),
    ],
)
def test_a_bad_flag_is_a_message(arguments, message, tmp_path, capsys):
    assert run(f"--out={tmp_path / 'data'}", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_with_no_public_set(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("nothing")
    assert run(f"--source={tmp_path}", f"--out={tmp_path / 'data'}") == 2
    assert "no public set recognised in it; for your own log pass" in capsys.readouterr().err


REAL = [
    ("ml-25m-sample", 756, "movielens"),
    ("ml-latest-small-2018", 610, "movielens"),
    ("kuairand-sample", 664, "kuairand"),
]


@pytest.mark.parametrize(("folder", "users", "source"), REAL)
def test_real_logs_split_by_user(real_data, folder, users, source, tmp_path):
    assert run(f"--source={real_data / folder}", f"--out={tmp_path / 'data'}") == 0
    data = storage.PreparedData.open(tmp_path / "data")
    assert data.manifest["source"] == f"{source} {folder}"
    assert data.spec.num_users == users
    parts = [set(data.episodes(split).user.tolist()) for split in episodes.SPLITS]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    # Some users lose every session, because none of their items is in the training part.
    assert users * 0.98 <= sum(map(len, parts)) <= users
    assert len(parts[2]) / users == pytest.approx(0.3, abs=0.01)
    every = data.episodes("all")
    assert every.item.max() <= data.spec.num_items == len(data.vocabulary.items)
    steps = np.arange(data.spec.max_steps) < every.length[:, None]
    assert ((every.item > 0) == steps).all()  # every step shows an item of the vocabulary


@pytest.mark.parametrize(("folder", "users", "source"), REAL)
def test_real_logs_split_by_time(real_data, folder, users, source, tmp_path):
    out = tmp_path / "data"
    assert run(f"--source={real_data / folder}", f"--out={out}", "--split=time") == 0
    data = storage.PreparedData.open(out)
    times = [data.session_times(split) for split in episodes.SPLITS]
    assert times[0][1].max() < times[1][0].min()
    assert times[1][1].max() < times[2][0].min()
    dropped = json.loads((out / "manifest.json").read_text())["dropped"]
    assert dropped["repeated_rows"] == (124 if source == "kuairand" else 0)


def test_features_lie_beside_the_sessions(real_data, tmp_path):
    folder, out = real_data / "ml-latest-small-2018", tmp_path / "data"
    movies = f"--item_features={folder / 'movies.csv'}"
    assert run(f"--source={folder}", f"--out={out}", movies) == 0
    data = storage.PreparedData.open(out)
    table = data.features("item")
    assert table["movieId"].to_list() == data.vocabulary.items.tolist()
    assert table.row(by_predicate=pl.col("movieId") == 1) == (
        1,
        "Toy Story (1995)",
        "Adventure|Animation|Children|Comedy|Fantasy",
    )
    assert data.features("user") is None


def test_real_taobao_by_category(real_data, tmp_path):
    command = [
        f"--source={real_data / 'taobao-userbehavior-sample'}",
        f"--out={tmp_path / 'data'}",
        "--session_gap_minutes=14400",
        "--min_steps=20",
        "--max_steps=500",
        "--taobao_item=category",
    ]
    assert run(*command) == 2  # rows outside the published days
    assert not list(tmp_path.iterdir())
    assert run(*command, "--on_bad_row=skip") == 0
    data = storage.PreparedData.open(tmp_path / "data")
    assert data.manifest["dropped"]["bad_rows"] == 39
    assert data.manifest["dropped"]["repeated_rows"] == 95
    every = data.episodes("all")
    assert len(every.length) == 822
    assert every.length.mean() == pytest.approx(110.8, abs=0.1)
    assert every.feedback[..., 0].sum() / every.length.sum() == pytest.approx(0.0192, abs=1e-4)


def test_real_yoochoose_and_otto(real_data, tmp_path):
    long = ["--session_gap_minutes=14400", "--min_steps=13"]
    source = real_data / "yoochoose-sample"
    assert run(f"--source={source}", f"--out={tmp_path / 'yoochoose'}", *long) == 0
    data = storage.PreparedData.open(tmp_path / "yoochoose")
    assert data.num_sessions("all") == 586
    assert data.manifest["dropped"]["repeated_rows"] == 1
    assert run(f"--source={real_data / 'otto-sample'}", f"--out={tmp_path / 'otto'}") == 0
    assert storage.PreparedData.open(tmp_path / "otto").spec.num_users == 20


def test_book_crossings_own_form(tmp_path):
    """Quotes after a backslash, in the log and in the table of items."""
    rows = [
        rf'"{n % 15}";"0{n % 7}";"nails 6\"; long";"{n % 2}";"{1700000000 + 420 * n}"'
        for n in range(300)
    ]
    (tmp_path / "log.csv").write_text("\n".join(['"who";"book";"title";"click";"at"', *rows]))
    books = [rf'"0{n}";"nails {n}\"; caf' + 'é"' for n in range(7)]
    (tmp_path / "books.csv").write_text("\n".join(['"book";"title"', *books]), "latin-1")
    written = [f"--{table}quoting=backslash" for table in ("", "features_")]
    command = [
        "--source=table",
        f"--path={tmp_path / 'log.csv'}",
        f"--out={tmp_path / 'data'}",
        f"--item_features={tmp_path / 'books.csv'}",
        "--separator=;",
        "--features_separator=;",
        "--features_encoding=latin-1",
        "--user=who",
        "--item=book",
        "--time=at",
    ]
    assert run(*command) == 2
    assert not (tmp_path / "data").exists()
    assert run(*command, *written) == 0
    data = storage.PreparedData.open(tmp_path / "data")
    assert sum(split["steps"] for split in data.manifest["splits"].values()) == 300
    titles = dict(data.features("item").rows())
    assert titles == {f"0{n}": f'nails {n}"; café' for n in range(7)}


def test_warnings_are_printed_and_recorded_in_the_manifest(tmp_path, capsys):
    rows = [
        f"u{user},{100 * user + item},{0 if item == 3 else 1700000000 + 420 * item},1"
        for user in range(20)
        for item in range(9)
    ]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time,click", *rows]))
    command = ["--source=table", f"--path={tmp_path / 'log.csv'}", "--max_steps=4"]
    assert run(*command, f"--out={tmp_path / 'data'}") == 0
    said = capsys.readouterr().err
    assert (
        "warning: log.csv, row 5: time is 1970-01-01T00:00:00; expected a time between 1990 "
        "and tomorrow. Is the unit of time right? (19 more rows like it)" in said
    )
    assert "warning: click is 1 in every row: nothing can be learned about it" in said
    data = storage.PreparedData.open(tmp_path / "data")
    assert [warning in said for warning in data.manifest["warnings"]] == [True, True]
    # Thirteen users train: of nine items each, the first and the next four are stored.
    assert data.manifest["items"]["without_training_step"] == 13 * 4
    assert f"warning: {data.untrained_items}" in said
    assert data.untrained_items.startswith("52 of 117 items stand in no stored training step")


def test_columns_of_any_name_get_another(tmp_path, capsys):
    rows = [f"u{n % 15},{n % 7},{1700000000 + 420 * n},{n % 2},{n % 3}" for n in range(300)]
    text = "\n".join(['user,item,time,exit,"watch, s"', *rows])
    (tmp_path / "log.csv").write_text(text)
    command = ["--source=table", f"--path={tmp_path / 'log.csv'}", f"--out={tmp_path / 'data'}"]
    assert run(*command, "--feedback=exit:binary:exits") == 2
    said = capsys.readouterr().err
    assert "feedback column 'exit': 'exit' is a word of the measurements" in said
    assert "--feedback='feedback_exit=exit:binary:exits'" in said
    assert not (tmp_path / "data").exists()
    assert run(*command, '--feedback=left=exit:binary:exits,"watch=watch, s:amount:s"') == 0
    data = storage.PreparedData.open(tmp_path / "data")
    assert data.spec.feedback_names == ("left", "watch")
    feedback = data.episodes("all").feedback
    assert feedback.sum(axis=(0, 1)).tolist() == [150.0, 300.0]


def columns_file(folder, *columns):
    path = folder / "context.toml"
    tables = (f'[context.{name}]\nkind = "{kind}"\n' for name, kind in columns)
    path.write_text("".join(tables))
    return path


def test_the_context_of_sessions(tmp_path, capsys):
    columns = columns_file(tmp_path, ("hour", "hour"), ("device", "category"))
    log = tmp_path / "log.csv"
    rows = [
        f"u{user},i{item},2024-05-0{1 + user % 3}T{8 + user:02}:0{item}:00,1,d{user % 2}"
        for user in range(8)
        for item in range(3)
    ]
    log.write_text("\n".join(["user,item,time,click,device", *rows]) + "\n")
    given = (f"--feature_columns={columns}", f"--out={tmp_path / 'data'}")
    assert run("--source=table", f"--path={log}", "--time_unit=iso", *given) == 0
    data = storage.PreparedData.open(tmp_path / "data")
    episodes, (start_ms, _) = data.episodes("all"), data.session_times("all")
    # hour: 1 missing, 2 to 25; device: 26 missing, 27 rare, then the two.
    assert (episodes.context_values[:, 0] - 2).tolist() == (start_ms // 3_600_000 % 24).tolist()
    device = [name.removeprefix("u") for name in data.vocabulary.users[episodes.user - 1]]
    names = [data.vocabulary.context_features.names(x)[1] for x in episodes.context_values]
    assert names == [f"device=d{int(user) % 2}" for user in device]
    # The embedded log has times, but no columns of this kind.
    given = (f"--feature_columns={columns}", f"--out={tmp_path / 'embedded'}", *SMALL)
    assert run(*given) == 2
    assert (
        "[context.device] is a column of the log; expected hour or" in capsys.readouterr().err
    )
    columns_file(tmp_path, ("hour", "hour"))
    assert run(*given) == 0
    assert storage.PreparedData.open(tmp_path / "embedded").spec.context_features.slots == 1


def test_a_log_of_random_order_has_no_hour(tmp_path, capsys):
    columns = columns_file(tmp_path, ("hour", "hour"))
    log = tmp_path / "log.csv"
    log.write_text("user,item,click\n" + "".join(f"u{n % 5},i{n},1\n" for n in range(20)))
    arguments = ("--source=table", f"--path={log}", "--time_unit=random")
    assert run(*arguments, f"--feature_columns={columns}", f"--out={tmp_path / 'data'}") == 2
    message = "[context.hour] of kind hour, but the log has no times (its order is random)"
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "data").exists()
