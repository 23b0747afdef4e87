"""metrics.jsonl: rows survive as written, a torn last line and rows of the future do not."""

import json
import math

import pytest

from deepcrl.config import ConfigError
from deepcrl.logging import rows

FIRST = {"env_steps": 0, "eval/time_at_goal": 0.25}
SECOND = {"env_steps": 80, "eval/time_at_goal": 1.5, "train/critic_loss": 1 / 3}
THIRD = {"env_steps": 160, "eval/time_at_goal": 2.0}


@pytest.fixture
def run_dir(tmp_path):
    for row in (FIRST, SECOND, THIRD):
        rows.append(tmp_path, row)
    return tmp_path


def test_rows_come_back_in_order_and_bit_exact(run_dir):
    assert rows.read(run_dir) == [FIRST, SECOND, THIRD]
    assert len((run_dir / rows.FILE).read_text().splitlines()) == 3
    assert [json.loads(line) for line in (run_dir / rows.FILE).read_text().splitlines()] == [FIRST, SECOND, THIRD]


def test_a_run_without_rows_reads_as_none(tmp_path):
    assert rows.read(tmp_path) == []
    assert rows.cut(tmp_path, 0) == []


def test_numbers_that_json_lacks_become_null(tmp_path):
    rows.append(tmp_path, {"env_steps": 1, "a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.0, "e": None, "f": "x"})
    assert rows.read(tmp_path) == [{"env_steps": 1, "a": None, "b": None, "c": None, "d": 1.0, "e": None, "f": "x"}]
    assert "NaN" not in (tmp_path / rows.FILE).read_text()


def test_a_torn_last_line_is_left_out_at_every_length(run_dir):
    path = run_dir / rows.FILE
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for length in range(start, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert rows.read(run_dir) == [FIRST, SECOND]
    path.write_bytes(whole[:-1])  # all of the row but its end of line
    assert rows.read(run_dir) == [FIRST, SECOND, THIRD]


def test_cut_keeps_rows_up_to_and_including_the_step(run_dir):
    assert rows.cut(run_dir, 80) == [FIRST, SECOND]
    assert rows.read(run_dir) == [FIRST, SECOND]
    assert rows.cut(run_dir, 79) == [FIRST]
    assert rows.cut(run_dir, -1) == []
    assert rows.read(run_dir) == []
    assert [path.name for path in run_dir.iterdir()] == [rows.FILE]


@pytest.mark.parametrize("torn", [5, 1], ids=["within the row", "before its end of line"])
def test_after_a_cut_rows_can_be_appended_behind_what_was_a_torn_line(run_dir, torn):
    path = run_dir / rows.FILE
    path.write_bytes(path.read_bytes()[:-torn])
    rows.cut(run_dir, 1000)
    rows.append(run_dir, {"env_steps": 240})
    kept = [FIRST, SECOND] if torn > 1 else [FIRST, SECOND, THIRD]
    assert rows.read(run_dir) == [*kept, {"env_steps": 240}]


BAD = {
    "cut off": b'{"env_steps": 80, "eval/ti',
    "empty": b"",
    "zeros": b"\0" * 8,
    "undecodable": b'{"env_steps": 80, "a": "\xff\xfe"}',
    "a list": b"[80]",
    "a number": b"80",
    "without env steps": b'{"eval/time_at_goal": 1.5}',
    "env steps that are no count": b'{"env_steps": "80"}',
    "env steps that are true": b'{"env_steps": true}',
}


@pytest.mark.parametrize("end", [b"\n" + json.dumps(THIRD).encode() + b"\n", b"\n"], ids=["in the middle", "last"])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_damaged_line_is_named_and_nothing_is_deleted(tmp_path, bad, end):
    path = tmp_path / rows.FILE
    content = json.dumps(FIRST).encode() + b"\n" + bad + end
    path.write_bytes(content)
    for use in (lambda: rows.read(tmp_path), lambda: rows.cut(tmp_path, 0), lambda: rows.cut(tmp_path, 1000)):
        with pytest.raises(ConfigError, match=rf"{rows.FILE}: line 2 is ") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == [rows.FILE]


@pytest.mark.parametrize("last", [b"80", b'{"env_steps": 80, "\xff', b'{"a": 1}', b"\0\0"])
def test_a_last_line_that_no_row_begins_with_is_not_passed_over(tmp_path, last):
    path = tmp_path / rows.FILE
    path.write_bytes(json.dumps(FIRST).encode() + b"\n" + last)
    with pytest.raises(ConfigError, match="line 2 is "):
        rows.read(tmp_path)


def test_a_cut_that_removes_nothing_leaves_the_file_alone(run_dir):
    path = run_dir / rows.FILE
    path.write_bytes(path.read_bytes().replace(b": ", b":"))  # as another program may have written it
    before = path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns
    assert rows.cut(run_dir, 160) == [FIRST, SECOND, THIRD]
    assert (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) == before
    rows.cut(run_dir, 80)
    assert path.read_bytes() == b"".join(before[0].splitlines(keepends=True)[:2])


def test_a_full_disk_names_the_file(run_dir, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rows.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        rows.append(run_dir, {"env_steps": 240})
    assert caught.value.filename == str(run_dir / rows.FILE)
