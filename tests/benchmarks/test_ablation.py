"""The ablation: runs resume to the same bits, arms compare, tables say what the results hold."""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.ablation import crops as images
from benchmarks.ablation.__main__ import held
from benchmarks.ablation.arms import (
    ARMS,
    EXTRA,
    MODELS,
    RATES,
    SEARCH_STEPS,
    SEEDS,
    STEPS,
    Run,
    plan,
    search,
)
from benchmarks.ablation.codecs import CodecScores, PCACodec, measure_codecs
from benchmarks.ablation.report import (
    DOCUMENTS,
    NOTHING,
    curves,
    fill,
    order,
    pairs,
    rates,
    scores,
    state,
    studies,
)
from benchmarks.ablation.runs import Exam, Result, Trial, batch, best_rate, finish, score
from shards import UserError
from vae import DCTCodec, to_image
from vae.model import parameter_counts

RATE = RATES[0]
NEVER = float("inf")


class Sure:
    """A reader that reads the same on every page."""

    def read(self, pixels):
        return "text"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the runs have it; crops this small gain nothing from a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    return images.load(folder, images.Amounts(train=8, held_out=4, pages=1))


@pytest.fixture(scope="module")
def exam(crops):
    return Exam(crops.pages, Sure())


def test_arms_have_equally_many_parameters_and_those_that_learn_have_more():
    for model in MODELS:
        sizes = {
            arm: sum(parameter_counts(Run(model, arm, 0, RATE).settings()).values()) for arm in ARMS
        }
        assert len(set(sizes.values())) == 1
        for arm in EXTRA:
            learned = parameter_counts(Run(model, arm, 0, RATE).settings())
            assert learned["skip"] > 0
            assert sum(learned.values()) > sizes["none"]


def test_latents_pass_through_features_at_least_as_wide():
    """Otherwise a skip would win by going round a bottleneck of our own making."""
    for settings in MODELS.values():
        for width in (settings.encoder_width, settings.decoder_width):
            assert all(width * m >= settings.channels for m in settings.multipliers[-2:])


def test_arms_of_a_seed_start_from_the_same_weights(crops):
    none = dict(Trial(Run("f16c64", "none", 1, RATE), crops).model.named_parameters())
    for arm in ARMS:
        model = Trial(Run("f16c64", arm, 1, RATE), crops).model
        for name, weight in model.named_parameters():
            silent = "head.conv" in name and not weight.any()
            assert silent or torch.equal(weight, none[name])


def test_the_plan_finishes_a_seed_before_the_next():
    runs = list(plan(RATE))
    names = [run.name for run in (*search(), *runs)]
    assert len({*names}) == len(names) - len(search())  # the last search holds the first
    full = [run for run in runs if run.steps == STEPS]
    assert full == runs[: len(full)]
    assert len(full) == len(ARMS | EXTRA) * len(MODELS) * len(SEEDS)
    # Those that are compared come before those that learn their skip.
    compared = [run for run in full if run.arm in ARMS]
    assert full[: len(compared)] == compared
    for some in (compared, full[len(compared) :]):
        assert [run.seed for run in some] == sorted(run.seed for run in some)


def test_batches_follow_from_seed_and_step_alone(crops):
    assert torch.equal(batch(crops.train, 3, 7), batch(crops.train, 3, 7))
    assert not torch.equal(batch(crops.train, 3, 7), batch(crops.train, 3, 8))
    assert not torch.equal(batch(crops.train, 3, 7), batch(crops.train, 4, 7))


def test_held_out_images_are_no_training_images(crops):
    for kind in images.KINDS:
        seen = {image.tobytes() for image in crops.train[kind]}
        assert not seen & {image.tobytes() for image in crops.held_out[kind]}


def test_images_are_made_once_and_are_the_same_when_made_again(crops, tmp_path):
    amounts = images.Amounts(train=8, held_out=4, pages=1)
    assert images.load(tmp_path, amounts).digest == crops.digest
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert images.load(tmp_path, amounts).digest == crops.digest
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


@pytest.mark.parametrize("arm", ["local mirrored", "global-dct"])
def test_a_run_that_is_stopped_ends_with_the_same_bits(arm, crops, tmp_path):
    run = Run("f16c64", arm, 0, RATE, steps=4)
    whole = Trial(run, crops)
    whole.advance(4)

    stopped = Trial(run, crops)
    stopped.advance(1)
    stopped.save(tmp_path / "state.pt")
    resumed = Trial(run, crops)
    resumed.restore(tmp_path / "state.pt")
    resumed.advance(4)

    assert resumed.curve == whole.curve
    expected = whole.model.state_dict()
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, expected[name])


def test_a_state_of_other_images_or_of_another_start_is_passed_over(crops, tmp_path):
    run = Run("f16c64", "none", 0, RATE, steps=2)
    saved = Trial(run, crops)
    saved.advance(1)
    saved.crops = dataclasses.replace(crops, digest="other")
    saved.save(tmp_path / "images.pt")
    saved.crops = crops
    saved.curve[0] = saved.curve[0].model_copy(update={"psnr": {"photo": 0.0, "text": 0.0}})
    saved.save(tmp_path / "start.pt")
    for name in ("images.pt", "start.pt"):
        fresh = Trial(run, crops)
        fresh.restore(tmp_path / name)
        assert fresh.step == 0


def test_two_steps_of_two_arms_end_to_end(crops, exam, tmp_path):
    results, scratch = tmp_path / "results", tmp_path / "scratch"
    results.mkdir()
    scratch.mkdir()
    for arm in ("none", "global-dct mirrored"):
        run = Run("f16c64", arm, 0, RATE, steps=2)
        made = finish(run, crops, exam, results=results, scratch=scratch, deadline=NEVER)
        assert made is not None
        assert Result.model_validate_json((results / f"{run.name}.json").read_text()) == made
        assert [point.step for point in made.curve] == [0, 2]
        assert made.curve[0].train_l1 is None
        assert {*made.end.psnr} == {*made.end.l1} == {*images.KINDS}
        assert {em: found.pages for em, found in made.readings.items()} == dict.fromkeys(
            images.PAGE_EMS, 1
        )
        assert made.run == run
        # What is finished is read, not made again.
        assert finish(run, crops, exam, results=results, scratch=scratch, deadline=0) == made


def test_a_run_stops_at_the_deadline_and_leaves_no_result(crops, exam, tmp_path):
    run = Run("f16c64", "none", 0, RATE, steps=2)
    late = time.monotonic() - 1
    assert finish(run, crops, exam, results=tmp_path, scratch=tmp_path, deadline=late) is None
    assert not list(tmp_path.glob("*.json"))


def test_the_best_linear_codec_is_the_best_where_it_was_fitted(crops):
    settings = MODELS["f16c64"]
    seen = to_image(np.concatenate(list(crops.train.values())))
    error = {
        name: float((codec(seen) - seen).square().mean())
        for name, codec in (("DCT", DCTCodec(16, 64)), ("PCA", PCACodec(settings, crops)))
    }
    assert error["PCA"] < error["DCT"]


def test_codecs_are_measured_once_for_the_same_images(crops, exam, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.ablation.codecs.MODELS", {"f16c64": MODELS["f16c64"]})
    path = tmp_path / "codecs.json"
    measure_codecs(path, crops, exam)
    found = CodecScores.model_validate_json(path.read_text())
    assert [codec.codec for codec in found.codecs] == ["DCT", "PCA"]
    assert found.codecs[0].readings[40].ned == 1  # the reader here is always right
    path.write_text(found.model_copy(update={"codecs": ()}).model_dump_json())
    measure_codecs(path, crops, exam)
    assert CodecScores.model_validate_json(path.read_text()).codecs == ()


def test_a_mirrored_dct_starts_as_the_codec(crops):
    start = Trial(Run("f16c64", "global-dct mirrored", 0, RATE), crops).curve[0]
    for kind in images.KINDS:
        l1, psnr = score(DCTCodec(16, 64), to_image(crops.held_out[kind]))
        assert (start.l1[kind], start.psnr[kind]) == pytest.approx((l1, psnr), abs=1e-3)


def test_a_run_is_made_by_one_process_at_a_time(tmp_path):
    lock = tmp_path / "run.lock"
    with held(lock) as mine, held(lock, wait=False) as another:
        assert mine
        assert not another
    with held(lock, wait=False) as mine:
        assert mine


def result(model, arm, seed, psnr, *, steps=STEPS, rate=2e-3, crops="same"):
    def point(step, value):
        return {
            "step": step,
            "train_l1": None,
            "l1": {"photo": 1 / value, "text": 2 / value},
            "psnr": {"photo": value, "text": value - 5},
        }

    return Result.model_validate(
        {
            "model": model,
            "arm": arm,
            "seed": seed,
            "steps": steps,
            "rate": rate,
            "parameters": {"encoder": 1000, "decoder": 500},
            "curve": (point(0, 10.0), point(100, (10 + psnr) / 2), point(steps, psnr)),
            "readings": {em: {"ned": 0.5, "pages": 2} for em in images.PAGE_EMS},
            "crops": crops,
            "cpu_seconds": 3600.0,
            "machine": "a machine",
            "commit": "0000000",
        }
    )


@pytest.fixture
def folder(tmp_path):
    """The search, two seeds of every arm, and a third seed of all arms but one."""
    codecs = [
        {
            "model": model,
            "codec": name,
            "l1": {"photo": 0.1, "text": 0.2},
            "psnr": {"photo": 27.0, "text": 20.0},
            "readings": {em: {"ned": 0.7, "pages": 2} for em in images.PAGE_EMS},
        }
        for model in MODELS
        for name in ("DCT", "PCA")
    ]
    scores = CodecScores.model_validate({"crops": "same", "codecs": codecs})
    (tmp_path / "codecs.json").write_text(scores.model_dump_json())
    made = [
        result(run.model, run.arm, 0, 20 + (run.rate == 2e-3), steps=SEARCH_STEPS, rate=run.rate)
        for run in search()
    ]
    for model in MODELS:
        for number, arm in enumerate(ARMS):
            made += [result(model, arm, seed, 20.0 + number + seed) for seed in (0, 1)]
            if arm != "none":
                made.append(result(model, arm, 2, 90.0))
    for one in made:
        (tmp_path / f"{one.run.name}.json").write_text(one.model_dump_json())
    return tmp_path


def test_tables_count_only_seeds_that_every_arm_has_finished(folder):
    study = studies(folder)["f16c64"]
    assert study.rate == 2e-3
    assert study.seeds() == [0, 1]
    table = scores(study, ARMS)
    assert "Seeds 0, 1; 4,000 steps." in table
    assert "| local | 1,500 | 21.50 (21.00 to 22.00) | 16.50 (16.00 to 17.00) |" in table
    assert "90" not in table.partition("DCT")[0]
    assert "| global − local | +1.00 (+1.00 to +1.00) | +1.00 (+1.00 to +1.00) | 2/2, 2/2 |" in (
        pairs(study)
    )


def test_the_order_is_told_from_best_to_worst(folder):
    told = order(studies(folder)["f16c64"])
    assert f"- photo: {' > '.join(reversed(ARMS))} (exactly this order in 2 of 2 seeds)" in told


def test_the_state_says_how_much_is_finished(folder):
    told = state(studies(folder))
    assert f"{7 * 3 - 1} of {7 * len(SEEDS)} runs" in told
    assert f"2 of {len(SEEDS)} seeds" in told


def test_the_search_chooses_by_held_out_l1(folder):
    assert "All arms train at 0.002." in rates(studies(folder))
    assert best_rate([result("f16c64", "none", 0, 20.0, rate=1e-3)]) == 1e-3


def test_without_a_finished_seed_there_is_no_table_and_no_curve(folder):
    study = studies(folder)["f16c64"]
    unsearched = dataclasses.replace(study, rate=None)
    assert pairs(unsearched) == NOTHING
    assert scores(unsearched, ARMS).startswith(NOTHING)
    assert scores(study, EXTRA).startswith(NOTHING)
    assert "| DCT alone |" in scores(study, EXTRA)
    assert not curves(study, EXTRA, folder / "none.png")
    assert not (folder / "none.png").exists()


def test_curves_are_drawn_and_drawing_is_repeatable(folder):
    study = studies(folder)["f32c128"]
    curves(study, ARMS, folder / "a.png")
    curves(study, ARMS, folder / "b.png")
    drawn = (folder / "a.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    assert drawn == (folder / "b.png").read_bytes()


def test_results_of_other_images_are_refused(folder):
    path = next(folder.glob("*-seed0-*.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"crops": "others"}))
    with pytest.raises(UserError, match="other images"):
        studies(folder)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"codecs\.json"):
        studies(tmp_path)


def test_slots_of_a_page_are_filled_again_and_again(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- ablation state -->\n<!-- end -->\nb\n")
    for told in ("one", "two"):
        fill(page, {"state": told})
        assert page.read_text() == f"a\n<!-- ablation state -->\n{told}\n<!-- end -->\nb\n"
    page.write_text("<!-- ablation nothing -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="nothing"):
        fill(page, {"state": ""})


def test_the_page_has_a_slot_for_every_table():
    texts = [(Path(__file__).parents[2] / name).read_text("utf-8") for name in DOCUMENTS]
    assert "<!-- ablation means -->" in texts[0]
    for model in MODELS:
        for part in ("", "-order", "-pairs", "-learned", "-curves", "-learned-curves"):
            assert f"<!-- ablation {model}{part} -->" in texts[1]
