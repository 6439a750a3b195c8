"""What a run writes down, cut where it goes on."""

import json

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vae.training.record import (
    DROPPED,
    METRICS,
    SAMPLES,
    SKIPPED,
    WATCH,
    Record,
    grid,
    grid_place,
    numbers,
)

GRID = np.zeros((4, 6, 3), np.uint8)


def write(record, n):
    record.write({"n": n, "step": n // 2, "stage": "a", "rate": 0.5, "shares": {"x": 1.0}})
    record.watch(
        {"n": n, "step": n // 2, "sets": {"x": {"model": {"psnr": float(n)}}}}, {"x": GRID}
    )
    record.append(SKIPPED, {"n": n, "reason": "the loss is nan", "micro_batches": []})
    record.append(SKIPPED, {"n": n, "reason": "back to step-000001", "left_out": [2, n]})


def places(folder, name):
    return [json.loads(line)["n"] for line in (folder / name).read_text().splitlines()]


def test_a_run_that_goes_on_is_cut_exactly_where_it_goes_on(tmp_path):
    with Record(tmp_path, 0) as record:
        for n in (2, 4, 6, 8):
            write(record, n)
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"n": 4, "step": 2}')  # killed before the end of a row
    with Record(tmp_path, 4) as record:
        write(record, 6)
    assert places(tmp_path, METRICS) == places(tmp_path, WATCH) == [2, 4, 6]
    # The step at 4 is taken again, what was rolled back by then is not.
    assert places(tmp_path, SKIPPED) == [2, 2, 4, 6, 6]
    names = sorted(path.name for path in (tmp_path / SAMPLES).iterdir())
    assert names == [f"x-{n:012d}.png" for n in (2, 4, 6)]
    assert not (tmp_path / DROPPED).exists()


def test_tensorboard_has_every_number_over_n_and_forgets_what_was_cut(tmp_path):
    for start, last in ((0, 8), (4, 6)):
        with Record(tmp_path, start) as record:
            for n in range(start + 2, last + 1, 2):
                write(record, n)
    board = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "images": 0}).Reload()
    assert {*board.Tags()["scalars"]} == {"rate", "shares/x", "x/model/psnr"}
    assert [event.step for event in board.Scalars("x/model/psnr")] == [2, 4, 6]
    assert [event.value for event in board.Scalars("x/model/psnr")] == [2, 4, 6]
    assert [event.step for event in board.Images("samples/x")] == [2, 4, 6]


def test_ranks_that_do_not_write_leave_no_trace(tmp_path):
    with Record(tmp_path, 4, writes=False) as record:
        write(record, 6)
    assert not [*tmp_path.iterdir()]


def test_numbers_are_named_by_their_path():
    row = {
        "n": 1,
        "shares": {"a": 0.5, "deep": {"b": 2}},
        "shape": [1, 2],
        "stage": "s",
        "on": True,
    }
    assert dict(numbers(row)) == {"n": 1, "shares/a": 0.5, "shares/deep/b": 2}


def test_a_grid_shows_every_pair_at_its_own_size():
    small, large = np.full((2, 3, 3), 9, np.uint8), np.full((4, 2, 3), 7, np.uint8)
    sheet = grid([(small, small + 1), (large, large + 1)])
    assert sheet.shape == (8, 6, 3)
    assert (sheet[:2, :3] == 9).all()
    assert (sheet[4:6, :3] == 10).all()
    assert (sheet[4:8, 3:5] == 8).all()
    assert (sheet[2:4, :3] == 255).all()


def test_what_is_no_grid_is_left_alone():
    assert grid_place("x-y-000000000012.png") == 12
    for name in ("holiday.png", "x-.png", "x-²3.png"):
        assert grid_place(name) == 0
