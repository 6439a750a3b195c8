"""The benchmark of a GPU, in miniature on a CPU; and what only a GPU can show."""

import json
import time
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks._rows import Row
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import steps, training
from benchmarks.gpu.bench import ON_GPU, Bench, Size, photographs
from benchmarks.gpu.decode import decode
from shards import Sample, ShardWriter, UserError, encode_png
from tests.vae.conftest import teacher  # noqa: F401 (a fixture)
from vae import PRESETS, VAE
from vae.training.ranks import Ranks

SIZE = Size(("nano",), (16, 32), 2 * 16**2, False, 64, 32, 32, 4)
BENCH = Bench(Ranks(), SIZE)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def values(rows) -> dict[str, float | None]:
    return {row.name: row.value for row in rows}


def missed(rows) -> list[Row]:
    return [row for row in rows if row.target is not None and row.value > row.target]


def test_a_step_is_that_of_float64_and_less_so_in_bfloat16():
    rows = [*steps.correctness(BENCH)]
    assert not missed(rows)
    by_name = values(rows)
    assert by_name["gradient apart: nano, 32 px, float32"] < 100
    assert by_name["gradient apart: nano, 32 px, bfloat16"] > 1000


def test_with_a_teacher_a_step_has_the_alignment(request):
    bench = Bench(Ranks(), SIZE, request.getfixturevalue("teacher"))
    assert [*bench.weights][-1] == "alignment"
    assert not missed(steps.correctness(bench))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_on_a_gpu_is_that_of_the_cpu():
    bench = Bench(Ranks("cuda"), ON_GPU._replace(presets=("nano",), side=128))
    assert not missed(steps.correctness(bench))


def test_a_step_that_memory_is_short_for_is_a_row_and_the_others_are_timed(monkeypatch):
    really = steps.step

    def short(state, settings, knobs, images):
        if images.shape[2] == 16:
            raise torch.OutOfMemoryError
        return really(state, settings, knobs, images)

    monkeypatch.setattr(steps, "step", short)
    monkeypatch.setattr(steps, "TIMED", 0.01)
    counts = steps.Counts(10**9, {False: 1, True: 1})
    counted = dict.fromkeys([("nano", 16), ("nano", 32)], SimpleNamespace(get=lambda: counts))
    speeds = {}
    rows = [*steps.timings(BENCH, counted, speeds)]
    short_of = Row("speed: nano, 16 px, eager, kept", None, "out of memory")
    assert short_of in rows
    assert speeds.keys() == {("nano", 32, False)}
    by_name = values(rows)
    assert by_name["speed: nano, 32 px, eager, kept"] > 0
    assert by_name["loss apart from eager, kept: nano, 32 px, eager, recomputed"] < 1


def test_a_step_is_counted_by_the_plan():
    counts = steps.count(BENCH.settings("nano", 32))
    assert counts.flop > 1e6
    assert 0 < counts.memory[True] < counts.memory[False]


@pytest.mark.parametrize(
    ("card", "known"),
    [
        ("NVIDIA H100 80GB HBM3", True),
        ("NVIDIA H200", True),
        ("NVIDIA A100-SXM4-80GB", True),
        ("NVIDIA L40S", True),
        ("NVIDIA GeForce RTX 4090", True),
        ("NVIDIA H100 PCIe", False),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", False),
        ("no GPU", False),
    ],
)
def test_only_cards_whose_peak_is_known_have_a_utilisation(card, known):
    row = steps.utilisation("x", card, 1e12)
    assert (row.value is not None) == known
    assert row.unit == ("%" if known else "peak not known")


def test_a_large_image_is_decoded_both_ways():
    rows = values(decode(BENCH))
    assert rows["decode: nano, 64 px, tiles of 32 px"] > 0
    assert rows["decode, tiles from the whole: nano, 64 px"] < 1e5


def test_photographs_are_as_large_as_asked_for():
    images = photographs(3, 700)
    assert images.shape == (3, 3, 700, 700)
    assert images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_a_part_that_fails_or_takes_too_long_costs_no_other_part(tmp_path, monkeypatch):
    def slow(*_):
        yield Row("one", 1.0, "s")
        time.sleep(60)

    def broken(*_):
        raise RuntimeError("a kernel is missing")

    fine = Row("fine", 2.0, "s")
    monkeypatch.setattr(command, "get_context", lambda _: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr(command, "make_data", lambda *_: None)
    monkeypatch.setattr(command, "count", lambda *_: None)
    for name, part in (("correctness", slow), ("timings", broken), ("decode", lambda *_: [fine])):
        monkeypatch.setattr(command, name, part)
    monkeypatch.setattr(command, "training", lambda *_: [])
    rows = []
    command.measure(BENCH, tmp_path, time.monotonic() + 5, rows.append)
    assert rows == [
        Row("one", 1.0, "s"),
        Row("correctness: the rest", None, "out of time"),
        Row("timings: the rest", None, "failed: RuntimeError"),
        fine,
    ]


def write_shard(folder, seed):
    folder.mkdir()
    rng = np.random.default_rng(seed)
    with ShardWriter(folder, 0, recipe="test") as shard:
        for i in range(4):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            shard.write(Sample(f"{i:06d}", encode_png(pixels), "png", meta={"kind": "photo"}))


def test_a_short_run_leaves_scores_curves_and_weights_in_parts(tmp_path, monkeypatch):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    out.mkdir()
    for seed, name in enumerate(("photographs", "pages", "unseen_photographs", "unseen_pages")):
        write_shard(data / name, seed)
    monkeypatch.setattr(training, "PART", 110_000)
    made = SimpleNamespace(get=lambda: None)
    over = time.monotonic()
    rows = values(training.training(BENCH, data, out, made, {}, over))
    assert rows["trained: nano, 32 px, samples"] == 8
    assert rows["trained: nano, 32 px: psnr, unseen pages, nano"] > 0
    assert {path.name for path in out.iterdir()} == {
        *("curves.jsonl", "curves.png", "report.html", "weights"),
    }
    assert all(json.loads(line)["n"] for line in (out / "curves.jsonl").read_text().splitlines())
    index = json.loads((out / "weights" / "model.safetensors.index.json").read_text())
    files = {*index["weight_map"].values()}
    assert len(files) > 1
    assert all((out / "weights" / file).stat().st_size < 120_000 for file in files)
    tensors = {}
    for file in files:
        tensors |= load_file(out / "weights" / file)
    assert all(tensor.dtype == torch.float16 for tensor in tensors.values())
    VAE(PRESETS["nano"]).load_state_dict(tensors)


def test_without_a_gpu_the_command_says_so_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=r"device=cuda: torch .* sees 0 GPUs"):
        command.main(out=tmp_path / "out", minutes=0.1, device="cuda", teacher="")
    assert not (tmp_path / "out").exists()
