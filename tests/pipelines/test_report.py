"""`nonpareil report` of a training run: looked at as its bytes and in a real browser."""

import base64
import json
import re

import numpy as np
import pytest

from pipelines.curves import POINTS, Course, line, over_n, shares_curve
from pipelines.report import report
from pipelines.training_report import is_training, report_on_training
from shards import UserError, encode_png
from shards.store import Folder, open_store
from tests.conftest import picture
from tests.shards.browser import Browser, find_browser
from tests.shards.inspect.test_report import HOSTILE, Page
from vae import TrainSettings
from vae.training.record import SAMPLES, grid_name

WEIGHTS = {"l1": 1.0, "perceptual": 0, "lpips": 0, "alignment": 0.5}
WEIGHTS |= {"cosine_margin": 0.1, "distance_margin": 0}


def logged(n):
    row = {"step": n // 4, "n": n, "stage": "a" if n <= 40 else HOSTILE, "height": 64, "width": 48}
    row |= {"images": 4, "rate": 1e-3, "shares": {"$x^$": 0.5, HOSTILE: 0.5}, "weights": WEIGHTS}
    row |= {"l1": 1 / n, "total": float("nan") if n == 20 else 2 / n, "gradient_norm": 1.0}
    return row | {"images_per_second": 30.0, "seconds_left": 7200.0, "mcos_active": 0.5}


def seen(n):
    model, dct = {"psnr": 20 + n / 10, "ned": None, "odd": 1.0}, {"psnr": 22.0, "ned": 0.5}
    latents = {"effective_rank": 3.5, "mean": [0.0], "std": [1.0]}
    sets = {"held": {"images": 3, "model": model, "dct": dct, "latents": latents}}
    return {"step": n // 4, "n": n, "sets": sets}


def skipped(n):
    parts = [{"micro_batch": 0, "rank": 0, "keys": [f"x/{HOSTILE}", "x/2"]}]
    return {"n": n, "step": 3, "stage": "a", "reason": "the loss is nan", "micro_batches": parts}


def fill(store, upto=80):
    stages = (
        {"name": "a", "samples": 40, "batch": 4, "micro": 2, "resolution": 64, "shares": {"x": 1}},
        {
            "name": HOSTILE,
            "samples": 400,
            "batch": 4,
            "micro": 2,
            "resolution": 64,
            "shares": {HOSTILE: {"from": 0.1, "to": 1.0}},
        },
    )
    settings = TrainSettings.model_validate({"stages": stages, "average": 8})
    back = {"n": 16, "step": 4, "reason": "back to step-000002", "left_out": [8, 16]}
    files = {
        "metrics.jsonl": [logged(n) for n in range(20, upto + 1, 20)],
        "watch.jsonl": [seen(n) for n in range(20, upto + 1, 20)],
        "skipped.jsonl": [skipped(12), back],
        "dropped.jsonl": [{"n": 4, "stream": HOSTILE}] * 2,
    }
    store.make()
    store.replace("settings.json", settings.model_dump_json().encode())
    for name, rows in files.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        store.replace(name, text.encode() + (b'{"n": 9' if name == "metrics.jsonl" else b""))
    for row in files["watch.jsonl"]:
        store.inside(SAMPLES).make()
        store.inside(SAMPLES).replace(grid_name("held", row["n"]), encode_png(picture(row["n"])))
    return store


@pytest.fixture(params=["folder", "bucket"])
def run(request, tmp_path):
    if request.param == "folder":
        return fill(Folder(tmp_path / "run"))
    return fill(open_store(f"{request.getfixturevalue('s3')}/{tmp_path.name}/run"))


def test_a_run_at_work_is_shown_from_a_folder_or_a_bucket(run):
    assert is_training(run)
    place = report_on_training(run)
    assert place == f"{run}/report.html"
    page = Page(run.read("report.html").decode())
    text = " ".join(inside for _, _, inside in page.elements)
    assert "80 of 440 samples seen (18 %)" in re.sub(r"\s+", " ", run.read("report.html").decode())
    assert "2.0 hours are left" in re.sub(r"\s+", " ", text)
    alts = page.of("img", "alt")
    for title in ("PSNR, dB", "NED", "odd", "effective rank of the latents", "learning rate"):
        assert any(alt.startswith(title) for alt in alts), title
    assert len([alt for alt in alts if alt.startswith("originals of held")]) == 3
    assert all(uri.startswith("data:image/") for uri in page.of("img", "src"))
    assert '<td class="number best">28.00</td>' in run.read("report.html").decode()


def test_what_people_named_stays_text(tmp_path):
    run = fill(Folder(tmp_path / "run"))
    report_on_training(run)
    text = run.read("report.html").decode()
    page = Page(text)
    tags = {tag for tag, _, _ in page.elements}
    assert not {"b", "script", "link", "iframe"} & tags
    assert not page.of("img", "onerror")
    assert "unsafe" not in page.of("meta", "content")[0]
    for uri in page.of("img", "src"):
        kind, _, data = uri.partition(";base64,")
        if kind == "data:image/svg+xml":
            assert b"<script" not in base64.b64decode(data)


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = fill(Folder(tmp_path / "run"))
    report_on_training(run)
    first = run.read("report.html")
    report_on_training(run)
    assert run.read("report.html") == first


def test_what_is_no_run_yet_is_one_line(tmp_path):
    assert not is_training(Folder(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="give the --out folder of a training or quickstart run"):
        report(Folder(tmp_path / "nowhere"))
    run = fill(Folder(tmp_path / "run"))
    run.replace("metrics.jsonl", b'{"n"')
    with pytest.raises(UserError, match="has logged nothing yet"):
        report(Folder(tmp_path / "run"))


def test_a_run_that_watches_nothing_has_no_scores(tmp_path):
    run = fill(Folder(tmp_path / "run"))
    for name in ("watch.jsonl", "skipped.jsonl", "dropped.jsonl"):
        run.delete(name)
    report_on_training(run)
    ids = Page(run.read("report.html").decode()).of("h2", "id")
    assert ids == ["knobs", "training", "settings"]


def test_long_logs_become_means_and_gaps_are_left_out():
    rows = [{"n": n, "x": float(n)} for n in range(3 * POINTS)]
    drawn = line("x", rows, lambda row: row["x"])
    assert len(drawn.at) == POINTS
    assert (drawn.at[0], drawn.values[0]) == (2, 1.0)
    odd = [{"n": 1, "x": None}, {"n": 2, "x": float("inf")}, {"n": 3, "x": 1}, {"n": 4, "x": "nan"}]
    assert line("x", odd, lambda row: row["x"]).at == (3,)
    assert line("x", odd[:2], lambda row: row["x"]) is None


def svg(uri):
    return base64.b64decode(uri.partition(";base64,")[2]).decode()


def test_curves_mark_stages_and_skipped_steps_and_read_no_formula():
    log = [{"n": n, "shares": {"_a": 1.0}} for n in (10, 20)]
    stages = [{"name": "$a$ 文", "samples": 12, "resolution": 8, "batch": 2}] * 2
    course = Course.of(log, stages, [5, 6])
    assert course == Course(20, (12,), (5, 6))
    drawn = [line(name, log, lambda row: row["n"]) for name in ("$\\frac$", "b")]
    text = svg(over_n("x", drawn, course))
    assert "$\\frac$" in text
    assert "skipped step" in text
    assert "$a$ 文" in svg(shares_curve(log, stages, course))


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="needs Chromium")
def test_a_browser_shows_it_without_a_complaint(tmp_path):
    run = fill(Folder(tmp_path / "run"))
    report_on_training(run)
    with Browser(tmp_path / "profile") as browser:
        browser.view(1200, 900)
        browser.open((run.path / "report.html").as_uri())
        assert browser.log == []
        assert browser.ask("[...document.images].every(image => image.naturalWidth > 0)")
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
        width = browser.ask("document.querySelector('.sheet img').getBoundingClientRect().width")
        assert width == np.shape(picture(0))[1] + 2  # one px an image's, and its border
