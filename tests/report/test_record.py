"""Numbers of a run folder that the report sums up, from rows written by hand."""

from deepcrl import preset
from deepcrl.report.record import Record, rates, score, seconds


def record(tmp_path, rows) -> Record:
    return Record(tmp_path, preset("point_u_maze"), None, rows)


def test_of_equal_scores_the_latest_is_the_best(tmp_path):
    some = [(0, 0.0), (10, 3.0), (20, 1.0), (30, 3.0), (40, 2.0)]
    rows = [{"env_steps": at, "gradient_steps": at, "wall_s": 1.0, "eval/x": value} for at, value in some]
    found = score(record(tmp_path, rows), "eval/x", True)
    assert (found.untrained, found.last, found.best, found.best_at) == (0.0, 2.0, 3.0, 30)
    assert (found.mean, found.averaged) == (2.25, 4)
    assert score(record(tmp_path, rows), "eval/x", False).best_at == 20


def test_phases_that_overlap_leave_nothing_over(tmp_path):
    rows = [{"wall_s": 5.0, "time/collect_s": 4.0, "time/update_s": 3.0}]
    assert seconds(record(tmp_path, rows)) == {"collect": 4.0, "update": 3.0, "other": 0.0}
    assert seconds(record(tmp_path, [rows[0] | {"wall_s": 9.0}]))["other"] == 2.0


def test_rates_leave_out_what_compiled(tmp_path):
    def row(at: int, collect_s: float, compile_s: float) -> dict:
        times = {"time/collect_s": collect_s, "time/update_s": 2 * collect_s, "time/compile_s": compile_s}
        return {"env_steps": 100 * at, "gradient_steps": 10 * at, "wall_s": 5.0 * at, **times}

    rows = [row(0, 0.0, 0.0), row(1, 50.0, 7.0), row(2, 2.0, 0.0), row(3, 4.0, 0.0)]
    found = rates(record(tmp_path, rows))
    assert list(found.values()) == [(100 / 2 + 100 / 4) / 2, (10 / 4 + 10 / 8) / 2, 20.0]
