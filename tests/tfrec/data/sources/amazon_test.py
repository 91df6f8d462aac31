import gzip
import json
import logging

import pytest

from tfrec.data import schema
from tfrec.data.sources import amazon, assembly, ratings
from tfrec.errors import UserError

# user, item, stars, unix seconds; not in the order of users and times
REVIEWS = [
    ("A2", "B000000001", 5.0, 1400000200),
    ("A1", "B000000002", 3.0, 1400000100),
    ("A2", "B000000003", 4.0, 1400000100),
]
TABLE = [
    ("A1", "B000000002", 1400000100000, 0.0, 3.0),
    ("A2", "B000000003", 1400000100000, 1.0, 4.0),
    ("A2", "B000000001", 1400000200000, 1.0, 5.0),
]


def of_2014(user, item, stars, time):
    return json.dumps(
        {
            "reviewerID": user,
            "asin": item,
            "reviewText": 'caf\xe9, "quoted", {"asin": "no"}',
            "overall": stars,
            "unixReviewTime": time,
        }
    )


def of_2023(user, item, stars, time):
    fields = {"rating": stars, "asin": "X000000000", "parent_asin": item}
    return json.dumps(fields | {"user_id": user, "timestamp": time * 1000})


def csv(order, header=None, scale=1):
    rows = [
        ",".join(str({"u": user, "i": item, "r": stars, "t": time * scale}[c]) for c in order)
        for user, item, stars, time in REVIEWS
    ]
    return "\n".join([*([header] if header else []), *rows]) + "\n"


def lines(form, *more):
    return "\n".join([*(form(*review) for review in REVIEWS), *more]) + "\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reviews_CDs_5.json", lines(of_2014)),
        ("CDs_and_Vinyl_5.json", lines(of_2014, "", "  ")),
        ("CDs_and_Vinyl.jsonl", lines(of_2023)),
        ("ratings_CDs.csv", csv("uirt")),
        ("CDs_and_Vinyl.csv", csv("iurt")),
        ("CDs.csv", csv("uirt", "user_id,parent_asin,rating,timestamp", 1000)),
        ("CDs.train.csv", csv("uirt", "user_id,parent_asin,rating,timestamp", 1000)),
    ],
)
def test_every_publication_gives_the_same_table(tmp_path, name, content):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / name).write_text(content)
    with gzip.open(tmp_path / f"{name}.gz", "wt") as file:
        file.write(content)
    for path in (tmp_path / "plain", tmp_path / "plain" / name, tmp_path / f"{name}.gz"):
        table, table_schema = amazon.read(path)
        assert table.rows() == TABLE
        assert tuple(table.columns) == table_schema.columns


def test_repeated_reviews_count_once(tmp_path, caplog):
    (tmp_path / "reviews_CDs.json").write_text(lines(of_2014) + lines(of_2014))
    bad_rows = schema.BadRows()
    with caplog.at_level(logging.WARNING):
        assert amazon.read(tmp_path, bad_rows=bad_rows)[0].rows() == TABLE
    assert bad_rows.repeated == 3
    assert "dropped 3 reviews that repeat another" in caplog.text


GOOD = ("A9", "B000000009", 5.0, 1400000000)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "the line is 'nonsense'; expected JSON such as"),
        ("[1]", "the line is '\\[1\\]'; expected JSON"),
        (of_2014(*GOOD)[:-1], "the line is .*; expected JSON"),
        (of_2014(*GOOD).replace("asin", "asn", 1), "asin is missing; expected text"),
        (of_2014(*GOOD).replace("5.0", '"5"'), "overall is '5'; expected a number"),
        (of_2014(*GOOD).replace("5.0", "true"), "overall is 'True'; expected a number"),
        (of_2014(*GOOD).replace("5.0", "NaN"), "overall is nan; expected a number from 1 to 5"),
        (of_2014(*GOOD).replace("5.0", "6"), "overall is 6.0; expected a number from 1 to 5"),
        (of_2014(*GOOD).replace("5.0", "0"), "overall is 0.0; expected a number from 1 to 5"),
        (of_2014(*GOOD).replace("1400000000", "1.5"), "unixReviewTime is '1.5'; expected an"),
        (of_2014(*GOOD).replace("1400000000", "-5"), "unixReviewTime is -5; expected unix"),
        (
            of_2014(*GOOD).replace("1400000000", "1" * 30),
            "unixReviewTime is '1111.*expected an",
        ),
        (
            of_2014(*GOOD).replace("1400000000", "1400000000000"),
            "unixReviewTime is 14000000000",
        ),
        (of_2014(*GOOD).replace("B000000009", "B9"), "asin is 'B9'; expected a product's num"),
        (of_2014(*GOOD).replace('"B000000009"', '["B000000009"]'), "asin is .*expected text"),
        (of_2014(*GOOD).replace("A9", ""), "reviewerID is ''; expected an id of 1 to 256"),
        (of_2014(*GOOD).replace("A9", "a\\nb"), "reviewerID is 'a.nb'; expected an id without"),
    ],
)
def test_a_bad_line_is_named_or_skipped(tmp_path, line, message):
    good = lines(of_2014).splitlines()
    (tmp_path / "reviews_CDs.json").write_text("\n".join([*good[:2], line, good[2]]))
    with pytest.raises(UserError, match="reviews_CDs.json, row 3: " + message):
        amazon.read(tmp_path)
    bad_rows = schema.BadRows(skip=True)
    assert amazon.read(tmp_path, bad_rows=bad_rows)[0].rows() == TABLE
    assert bad_rows.count == 1


def test_the_first_of_several_bad_lines_is_named(tmp_path):
    good = lines(of_2014).splitlines()
    bad = [of_2014("A9", "B000000009", "5", 7), "nonsense", of_2014("A9", None, 5.0, 7)]
    (tmp_path / "reviews_CDs.json").write_text("\n".join([*good, *bad, *bad]))
    with pytest.raises(UserError, match=r"row 4: overall is '5'.*\(1 more rows like it\)"):
        amazon.read(tmp_path)


def test_a_csv_with_user_and_item_the_other_way_round(tmp_path):
    (tmp_path / "CDs.csv").write_text(csv("uirt"))
    with pytest.raises(UserError, match="CDs.csv, row 1: item is 'A2'; expected a product's"):
        amazon.read(tmp_path)


def test_a_csv_with_an_unknown_header(tmp_path):
    (tmp_path / "ratings_CDs.csv").write_text(csv("uirt", "reviewer,product,stars,when"))
    with pytest.raises(
        UserError, match="row 1: the columns are reviewer, product, stars, when"
    ):
        amazon.read(tmp_path)


def test_damaged_files(tmp_path):
    path = tmp_path / "reviews_CDs.json.gz"
    packed = gzip.compress((lines(of_2014) * 1000).encode())
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UserError, match="reviews_CDs.json.gz: truncated or damaged compressed"):
        amazon.read(path)
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(UserError, match="reviews_CDs.json: the file is empty"):
        amazon.read(path)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(UserError, match="truncated or damaged compressed file"):
        amazon.read(path)
    good = lines(of_2014).encode()
    path.write_bytes(gzip.compress(good + good.replace(b"A1", b"\xff1")))
    with pytest.raises(UserError, match="reviews_CDs.json, row 5: not UTF-8 text"):
        amazon.read(path)
    path.write_bytes(gzip.compress(lines(of_2014).encode("utf-16")))
    with pytest.raises(UserError, match="row 1: the file begins like UTF-16"):
        amazon.read(path)
    path.write_bytes(gzip.compress(b"\n \n"))
    with pytest.raises(UserError, match="reviews_CDs.json: no rows; expected at least one"):
        amazon.read(path)


def test_a_byte_order_mark_and_crlf(tmp_path):
    content = lines(of_2014).replace("\n", "\r\n")
    (tmp_path / "reviews_CDs.json").write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert amazon.read(tmp_path)[0].rows() == TABLE


def test_parts_on_the_disk_and_small_blocks_give_the_same_table(tmp_path, monkeypatch):
    reviews = [
        of_2014(f"A{n * 7 % 50}", f"B{n % 90:09}", 1 + n % 5, 1400000000 + n * 37 % 1000)
        for n in range(2000)
    ]
    (tmp_path / "reviews_CDs.json").write_text("\n".join(reviews))
    whole, _ = amazon.read(tmp_path)
    assert whole["user"].cast(str).is_sorted() and whole.height == 2000
    monkeypatch.setattr(assembly, "ROWS_IN_MEMORY", 900)
    monkeypatch.setattr("tfrec.data.sources.files._BLOCK", 50_000)
    parted, _ = amazon.read(tmp_path)
    assert parted.equals(whole)
    (tmp_path / "reviews_CDs.json").write_text("\n".join([*reviews, "x"]))
    with pytest.raises(UserError, match="row 2001: the line is 'x'"):
        amazon.read(tmp_path)


def test_the_threshold_of_a_click(tmp_path):
    (tmp_path / "ratings_CDs.csv").write_text(csv("uirt"))
    table, _ = amazon.read(tmp_path, ratings.RatingConfig(positive_rating=5))
    assert table["click"].to_list() == [0, 0, 1]


def test_real_reviews(real_data):
    table, _ = amazon.read(real_data / "amazon-musical-instruments-5core")
    assert (table.height, table["user"].n_unique(), table["item"].n_unique()) == (
        10_261,
        1_429,
        900,
    )
