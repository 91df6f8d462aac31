import pytest

from tfrec.data import feature_schema
from tfrec.errors import UserError


def declared(tmp_path, text):
    path = tmp_path / "features.toml"
    path.write_text(text)
    return feature_schema.read(path)


def test_columns_of_users_beside_those_of_items(tmp_path):
    declaration = declared(
        tmp_path,
        '[user.age]\nkind = "number"\nbins = 4\n'
        '[item.year]\nkind = "number"\n[user.region]\nkind = "category"\n',
    )
    assert [column.name for column in declaration.item] == ["year"]
    assert [(x.name, x.kind, x.bins) for x in declaration.user] == [
        ("age", "number", 4), ("region", "category", 16),
    ]  # fmt: skip
    assert feature_schema.declared({"age": "number"}, "x", "user").user[0].name == "age"
    assert feature_schema.declared("", "x") == feature_schema.Declaration()


def test_columns_of_the_context(tmp_path):
    declaration = declared(
        tmp_path,
        '[context.hour]\nkind = "hour"\nutc_offset = -3.5\n[context.day]\nkind = "weekday"\n'
        'utc_offset = -3.5\n[context.device]\nkind = "category"\n',
    )
    assert [(x.name, x.derived, x.utc_offset) for x in declaration.context] == [
        ("hour", 24, -3.5), ("day", 7, -3.5), ("device", 0, 0.0),
    ]  # fmt: skip
    assert [x.name for x in declaration.log_columns] == ["device"]


def test_columns_with_their_fields_and_defaults(tmp_path):
    genres, title = declared(
        tmp_path,
        '[item.genres]\nkind = "categories"\nseparator = ","\nslots = 3\n'
        '[item.title]\nkind = "text"\n',
    ).item
    assert (genres.name, genres.kind, genres.separator) == ("genres", "categories", ",")
    assert (genres.most_values, genres.hashed) == (3, 0)
    assert (title.most_values, title.hashed) == (8, 1000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[item.a\n", r"features.toml: not TOML \(.*line 1"),
        ("", r"features.toml: no features; expected tables such as \[item.genres\]"),
        (
            '[users.age]\nkind = "number"\n',
            r"table \[users\]; expected \[item.<column>\] or \[user.<column>\] or \[cont",
        ),
        ("[user]\n", r"features.toml: \[user\] has no columns; expected \[user.<column>\]"),
        ("user = 3\n", r"features.toml: \[user\] has no columns"),
        (
            '[user.portrait]\nkind = "vector"\n',
            r"\[user.portrait\]: kind is 'vector'; expected one of category, .*, text$",
        ),
        (
            '[context.e]\nkind = "vector"\n',
            r"\[context.e\]: kind is 'vector'; expected one of category, .*, hour, weekday$",
        ),
        ('[user.a]\nkind = "hour"\n', r"\[user.a\]: kind is 'hour'; expected one of .*, text$"),
        (
            '[context.hour]\nkind = "hour"\nutc_offset = 15\n',
            r"\[context.hour\]: utc_offset is 15; expected -12 to 14",
        ),
        (
            '[context.a]\nkind = "category"\nutc_offset = 2\n',
            r"\[context.a\]: utc_offset is 2; expected none: kind is category",
        ),
        (
            '[context.hour]\nkind = "hour"\nutc_offset = 2\n[context.d]\nkind = "weekday"\n',
            r"toml: utc_offset is 2 in \[context.hour\] and 0 in \[context.d\]; expected one",
        ),
        ("[user.a]\nbins = 3\n", r"\[user.a\] has no kind; expected one of .*, text$"),
        ('[item]\na = "category"\n', r"\[item.a\] is 'category'; expected a table with a kind"),
        ("[item.a]\nbins = 3\n", r"\[item.a\] has no kind; expected one of category, "),
        ('[item.a]\nkind = "word"\n', r"\[item.a\]: kind is 'word'; expected .*category"),
        (
            '[item.a]\nkind = "number"\nbins = 1\n',
            r"\[item.a\]: bins is 1; expected at least 2",
        ),
        (
            '[item.a]\nkind = "number"\nbin = 4\n',
            r"\[item.a\]: field 'bin'; expected kind, separator, slots",
        ),
        (
            '[item.a]\nkind = "categories"\nseparator = ""\n',
            r"\[item.a\]: separator is ''; expected at least one character",
        ),
        (
            '[item.a]\nkind = "category"\ncross = 7\n',
            r"\[item.a\]: cross is 7; expected 0 or at least 8",
        ),
        (
            '[item.a]\nkind = "vector"\ncross = 8\n',
            r"\[item.a\]: cross is 8; expected 0 for a vector",
        ),
        (
            '[user.a]\nkind = "category"\ncross = 8\n',
            r"\[user.a\]: cross is 8; expected 0: only columns of items are crossed",
        ),
    ],
)
def test_a_bad_declaration_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        declared(tmp_path, text)


def test_an_absent_file(tmp_path):
    with pytest.raises(UserError, match=r"none.toml: cannot be read \(No such file"):
        feature_schema.read(tmp_path / "none.toml")
