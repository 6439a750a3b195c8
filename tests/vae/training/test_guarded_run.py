"""Runs with injected faults: what is skipped, what the rest is, and where a run goes back."""

import json
import signal

import pytest
import torch
from safetensors.torch import load_file

import vae.training.guard
import vae.training.train
from shards import UserError
from vae import fit, load_model
from vae.training.checkpoint import checkpoints
from vae.training.state import State

FILES = ("model.safetensors", "average.safetensors", "optimizer.safetensors")
NUMBERS = {"loss": torch.nan, "gradient": torch.nan, "spike": 1e6}


def ruined(whole, kind, *places):
    """Take steps as `whole` does, and ruin those at some n."""

    def take(reduction, images, knobs, seed, balance):
        outcome = whole(reduction, images, knobs, seed, balance)
        if knobs.n in places:
            for p in reduction.parameters:
                p.grad.mul_(NUMBERS[kind])
            outcome = outcome._replace(norm=outcome.norm * NUMBERS[kind])
            if kind == "loss":
                outcome.losses.mul_(torch.nan)
        return outcome

    return take


@pytest.fixture
def inject(monkeypatch):
    """Ruin the steps at some n, by a loss, a gradient or a spike."""
    whole = vae.training.train.take

    def ruin(kind, *places):
        monkeypatch.setattr(vae.training.train, "take", ruined(whole, kind, *places))

    return ruin


def leave_out(monkeypatch, *places):
    """Let the steps at some n change nothing, without a word to guard or optimizer."""
    whole = State.update

    def update(state, knobs, *rest):
        if knobs.n in places:
            state.step += 1
            state.n += knobs.samples
        else:
            whole(state, knobs, *rest)

    monkeypatch.setattr(State, "update", update)


def lines(out):
    return [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]


def content(checkpoint):
    return {name: (checkpoint / name).read_bytes() for name in FILES}


def nothing_is_ruined(out):
    for checkpoint in checkpoints(out):
        for file in (out / checkpoint).glob("*.safetensors"):
            assert all(value.isfinite().all() for value in load_file(file).values())
    # JSON has no NaN.
    for row in (*lines(out), *map(json.loads, (out / "metrics.jsonl").read_text().splitlines())):
        json.dumps(row, allow_nan=False)


def changed(settings, **guard):
    return settings.model_copy(update={"guard": settings.guard.model_copy(update=guard)})


@pytest.mark.parametrize("kind", ["loss", "gradient", "spike"])
def test_the_rest_of_a_run_has_the_bits_of_one_without_the_bad_draws(
    settings, streams, tmp_path, monkeypatch, inject, kind
):
    # A tiny run has no 256 steps to take a median of.
    monkeypatch.setattr(vae.training.guard, "RING", 2)
    inject(kind, 12, 20)
    seen = []
    last = fit(settings, streams, tmp_path / "guarded", progress=seen.append)
    assert [row["step"] for row in seen] == [2, 4, 6, 8]
    assert seen[-1]["gradient_norm"] > 0
    reasons = {
        "loss": "the loss is nan",
        "gradient": "the gradient is nan",
        "spike": "times the median",
    }
    skipped = lines(tmp_path / "guarded")
    assert [(line["n"], line["step"], line["stage"]) for line in skipped] == [
        (12, 4, "one"),
        (20, 7, "two"),
    ]
    assert all(reasons[kind] in line["reason"] for line in skipped)
    assert all(part["keys"] for line in skipped for part in line["micro_batches"])
    nothing_is_ruined(tmp_path / "guarded")

    monkeypatch.undo()
    leave_out(monkeypatch, 12, 20)
    assert content(fit(settings, streams, tmp_path / "without")) == content(last)


def test_a_run_that_is_lost_goes_back_and_on_and_a_resumed_one_does_the_same(
    settings, streams, tmp_path, inject
):
    def stop(row):
        if row["step"] == 6:
            signal.raise_signal(signal.SIGINT)

    patient = changed(settings, patience=2)
    inject("gradient", 16, 18)
    whole = fit(patient, streams, tmp_path / "whole")
    assert [line["reason"] for line in lines(tmp_path / "whole")] == [
        *["the gradient is nan"] * 2,
        "back to step-000003",
    ]
    assert lines(tmp_path / "whole")[-1]["left_out"] == [12, 20]
    with pytest.raises(KeyboardInterrupt):
        fit(patient, streams, tmp_path / "cut", progress=stop)
    back, before = (tmp_path / f"cut/step-00000{step}" for step in (6, 3))
    assert content(back) == content(before)
    state = json.loads((back / "state.json").read_text())
    assert (state["step"], state["n"], state["guard"]["left_out"]) == (6, 20, [[12, 20]])
    assert content(fit(patient, streams, tmp_path / "cut")) == content(whole)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


@pytest.mark.parametrize(
    ("guard", "message", "kept"),
    [
        ({"patience": 2, "rollbacks": 1}, "after step 6 steps are bad again", [3, 6]),
        ({"patience": 8, "rollbacks": 1}, None, [6, 8]),
        ({"action": "stop"}, r"gradient is nan at step 5, n 16 \(stage two\)", [3]),
    ],
)
def test_a_run_ends_where_nothing_helps_and_with_finite_weights(
    settings, streams, tmp_path, inject, guard, message, kept
):
    inject("gradient", 16, 18, 20, 22)
    if message is None:
        fit(changed(settings, **guard), streams, tmp_path / "out")
    else:
        with pytest.raises(UserError, match=message):
            fit(changed(settings, **guard), streams, tmp_path / "out")
    assert checkpoints(tmp_path / "out") == [f"step-{k:06d}" for k in kept]
    nothing_is_ruined(tmp_path / "out")


def test_a_run_that_was_stopped_to_look_goes_on_by_skipping(settings, streams, tmp_path, inject):
    inject("loss", 16)
    with pytest.raises(UserError, match=r"go on without it by guard\.action=skip"):
        fit(changed(settings, action="stop"), streams, tmp_path / "out")
    last = fit(settings, streams, tmp_path / "out")
    assert content(last) == content(fit(settings, streams, tmp_path / "skipped"))
    assert lines(tmp_path / "out") == lines(tmp_path / "skipped")


def test_a_run_that_is_bad_before_its_first_checkpoint_ends(settings, streams, tmp_path, inject):
    inject("loss", 0, 4)
    with pytest.raises(UserError, match=r"after step 0 steps are bad, and .* no good checkpoint"):
        fit(changed(settings, patience=2), streams, tmp_path / "out")


def test_weights_that_are_not_finite_are_never_saved(settings, streams, tmp_path, monkeypatch):
    whole = State.update

    def update(state, knobs, *rest):
        whole(state, knobs, *rest)
        if knobs.n == 16:
            with torch.no_grad():
                state.model.decoder.head.conv.bias.fill_(torch.inf)

    monkeypatch.setattr(State, "update", update)
    with pytest.raises(UserError, match="not finite after step 6, so nothing was saved"):
        fit(settings, streams, tmp_path / "out")
    nothing_is_ruined(tmp_path / "out")


def test_a_run_hands_out_its_average_and_the_weights_to_those_who_ask(settings, streams, tmp_path):
    last = fit(settings, streams, tmp_path / "out")
    own, average = (load_model(last, average=average).state_dict() for average in (False, True))
    assert own.keys() == average.keys()
    for name, value in load_file(last / "average.safetensors").items():
        assert torch.equal(average[name], value)
    assert not torch.equal(own["encoder.stem.1.weight"], average["encoder.stem.1.weight"])
    plain = settings.model_copy(update={"average": 0})
    last = fit(plain, streams, tmp_path / "plain")
    assert not (last / "average.safetensors").exists()
    assert load_model(last).state_dict().keys() == own.keys()
