"""Text and JSON from any editor: what is read, and what one line says of the rest."""

import orjson
import pytest

from shards import Settings, UserError, open_store
from shards.settings import Seed
from shards.text import foreign_json, plain_text, read_json, read_rows, read_settings, read_table


class Held(Settings):
    seed: Seed = 0
    share: float = 1.0


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, codec):
    mark = "\ufeff" if codec.endswith("e") else ""
    data = f'{mark}{{"a": "é猫"}}'.encode(codec)
    assert plain_text(data) == '{"a": "é猫"}'
    (tmp_path / "a.json").write_bytes(data)
    assert read_table(open_store(tmp_path), "a.json", "write it anew") == {"a": "é猫"}


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"a": 1', b"\xff\xfea", b"\xe9", b"[" * 99999, b"[1]", b"9" * 5000]
)
def test_a_file_that_holds_something_else_is_named_in_one_line(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.json.*; write it anew$"):
        read_table(open_store(tmp_path), "a.json", "write it anew")


def test_rows_are_read_up_to_the_one_that_is_being_written(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n\n{"n": 2}\n{"n"')
    store = open_store(tmp_path)
    assert read_rows(store, "a.jsonl", "") == [{"n": 1}, {"n": 2}]
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n{"n"\n{"n": 2}\n')
    with pytest.raises(UserError, match=r"a\.jsonl line 2 is not JSON .*; take it out"):
        read_rows(store, "a.jsonl", "take it out")


def test_settings_from_a_file_are_checked(tmp_path):
    (tmp_path / "a.json").write_text('{"seed": 3}')
    store = open_store(tmp_path)
    assert read_settings(Held, store, "a.json", "").seed == 3
    (tmp_path / "a.json").write_text('{"share": "much"}')
    with pytest.raises(UserError, match=r"a\.json: share: .*; put it back"):
        read_settings(Held, store, "a.json", "put it back")
    with pytest.raises(FileNotFoundError):
        read_json(store, "b.json", "")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": NaN, "b": [Infinity, -Infinity, 1e999, 2]}', {"a": None, "b": [None] * 3 + [2]}),
        (b'\xef\xbb\xbf{"x": 1}', {"x": 1}),
        ('{"x": "日"}'.encode("utf-16"), {"x": "日"}),
        (b'{"a": 1, "a": 2, "b": NaN}', {"a": 2, "b": None}),
        (b'{"n": %b, "m": NaN}' % (b"9" * 400), {"n": None, "m": None}),
        (b'{"n": %b, "m": NaN}' % (b"9" * 30), {"n": 1e30, "m": None}),
        (b'{"n": %b}' % (b"9" * 5000), {"n": None}),
        (b'{"half": "\\ud800"}', {"half": "?"}),
        (b'{"latin": "\xe9"}', {"latin": "\ufffd"}),
        (b"[1]", [1]),
    ],
)
def test_json_of_others_says_what_json_can(data, value):
    assert foreign_json(data) == value
    orjson.dumps(foreign_json(data))


@pytest.mark.parametrize("data", [b"", b"{", b"{'a': 1}", b"[" * 100_000, b"\xff\xfe\0"])
def test_what_is_no_json_is_a_value_error(data):
    with pytest.raises(ValueError):
        foreign_json(data)
