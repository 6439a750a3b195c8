import json
import signal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file

from shards import UserError
from vae import VAE, AlignmentSettings, Stage, TrainSettings, Weights, fit, mcos, mdms
from vae.objective.alignment import Alignment, mdms_sampled
from vae.objective.balance import HALF_LIFE, Balance, Pull, split
from vae.objective.losses import build_objective
from vae.training.checkpoint import newest
from vae.training.step import Step
from vae.training.train import begin


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def z():
    return noise(2, 8, 3, 5)


@pytest.fixture
def features():
    return noise(2, 8, 3, 5, seed=1)


@pytest.fixture
def aligned(teacher):
    """Settings for a model of factor 4: one patch of the teacher for each latent."""
    return AlignmentSettings(teacher=teacher, match="input")


def rng(seed=0):
    return np.random.default_rng(seed)


# The two terms


def test_both_terms_by_hand():
    z = torch.tensor([[[[3.0, 0.0]], [[0.0, 2.0]]]])
    features = torch.tensor([[[[1.0, 1.0]], [[0.0, 1.0]]]])
    side = 0.5**0.5
    assert mcos(z, features, 0.1).value.item() == pytest.approx((1 - side - 0.1) / 2, abs=1e-6)
    assert mcos(z, features, 0.1).active.item() == 0.5
    assert mdms(z, features, 0.1).value.item() == pytest.approx(2 * (side - 0.1) / 4, abs=1e-6)
    assert mdms(z, features, 0.1).active.item() == 0.5


def test_latents_equal_to_the_features_cost_nothing(features):
    for term in (mcos, mdms):
        assert term(features, features, 0.0).value < 1e-6


def test_latents_too_unlike_cost_something():
    """Fails where the difference of the cosines is taken without its bars."""
    z = torch.eye(6)[None, :, None]
    similar = torch.ones(1, 6, 1, 6)
    assert mdms(z, similar, 0.25).value.item() == pytest.approx((30 / 36) * 0.75, abs=1e-5)


@pytest.mark.parametrize("term", [mcos, mdms])
def test_the_length_of_latents_does_not_matter(term, z, features):
    expected = term(z, features, 0.1).value
    for scale in (0.1, 10.0, 1e4):
        assert torch.allclose(term(scale * z, features, 0.1).value, expected, atol=1e-6)


@given(st.floats(0, 2), st.floats(0, 2), st.integers(0, 99))
def test_a_looser_margin_never_costs_more_and_the_loosest_nothing(a, b, seed):
    z, features = noise(1, 4, 2, 3, seed=seed), noise(1, 4, 2, 3, seed=seed + 100)
    for term in (mcos, mdms):
        strict, loose = (term(z, features, margin) for margin in sorted((a, b)))
        assert loose.value <= strict.value
        assert loose.active <= strict.active
        assert term(z, features, 2.0).value < 1e-6


def test_only_mdms_is_symmetric_and_blind_to_rotations_of_the_channels(z, features):
    rotation, _ = torch.linalg.qr(noise(8, 8, seed=2))
    turned = torch.einsum("de,beij->bdij", rotation, z)
    expected = mdms(z, features, 0.1).value
    assert torch.allclose(mdms(features, z, 0.1).value, expected, atol=1e-6)
    assert torch.allclose(mdms(turned, features, 0.1).value, expected, atol=1e-6)
    assert not torch.allclose(
        mcos(turned, features, 0.1).value, mcos(z, features, 0.1).value, atol=1e-3
    )


def test_positions_are_compared_with_their_own(z):
    features = z + 0.1 * noise(2, 8, 3, 5, seed=3)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    moved, moved_features = (x.flatten(2)[..., order].view_as(x) for x in (z, features))
    for term in (mcos, mdms):
        expected = term(z, features, 0.0).value
        assert torch.allclose(term(moved, moved_features, 0.0).value, expected, atol=1e-6)
        assert term(moved, features, 0.0).value > 2 * expected
        with pytest.raises(ValueError, match="differ"):
            term(z.mT, features, 0.0)


@pytest.mark.parametrize("term", [mcos, mdms])
def test_gradients_agree_with_finite_differences(term):
    z, features = noise(1, 4, 2, 3, dtype=torch.float64), noise(1, 4, 2, 3, seed=1)
    # The margin keeps every hinge of these numbers away from its kink.
    assert torch.autograd.gradcheck(
        lambda x: term(x, features.double(), 0.05).value, z.requires_grad_()
    )


@pytest.mark.parametrize("term", [mcos, mdms])
def test_a_latent_of_zeros_has_a_finite_gradient(term, features):
    z = torch.zeros(2, 8, 3, 5, requires_grad=True)
    term(z, features, 0.0).value.backward()
    assert z.grad.isfinite().all()


# In blocks, and sampled


@pytest.mark.parametrize("block", [1, 4, 15])
def test_blocks_change_neither_value_nor_gradient(z, features, block):
    found = {}
    for rows in (block, 1000):
        x = z.double().requires_grad_()
        value, active = mdms(x, features.double(), 0.1, block=rows)
        value.backward()
        found[rows] = (value.detach(), active, x.grad)
    for a, b in zip(*found.values(), strict=True):
        assert torch.allclose(a.double(), b.double(), atol=1e-12)


def test_a_sample_of_all_positions_is_exact(z, features):
    exact, found = mdms(z, features, 0.1), mdms_sampled(z, features, 0.1, 15, rng())
    assert torch.allclose(found.value, exact.value, atol=1e-6)
    assert torch.allclose(found.active, exact.active, atol=1e-6)


def test_sampling_is_unbiased(z, features):
    generator = rng(5)
    draws = np.array([mdms_sampled(z, features, 0.1, 4, generator).value for _ in range(2000)])
    error = draws.std() / len(draws) ** 0.5
    assert abs(draws.mean() - mdms(z, features, 0.1).value.item()) < 4 * error
    # Without the correction for pairs of equal positions it would be a quarter too small.
    assert error < 0.01 * draws.mean()


# Grids


@pytest.mark.parametrize(
    ("factor", "match", "size", "grid"),
    [
        (16, "features", (32, 48), (2, 3)),
        (16, "input", (32, 48), (2, 3)),
        (16, "latents", (32, 48), (2, 3)),
        (32, "features", (64, 96), (2, 3)),
        (32, "input", (64, 96), (2, 3)),
        (32, "latents", (64, 96), (4, 6)),
        (8, "features", (16, 24), (2, 3)),
        (8, "latents", (16, 40), (1, 2)),
        (16, "features", (33, 17), (3, 2)),
        (4, "features", (4, 4), (1, 1)),
    ],
)
def test_grids_become_one(teacher, factor, match, size, grid):
    alignment = Alignment(AlignmentSettings(teacher=teacher, match=match), 6, factor)
    z = noise(1, 6, *(-(-n // factor) for n in size))
    latents, features = alignment.matched(z, noise(1, 3, *size).clamp(-1, 1))
    assert latents.shape == (1, 6, *grid)
    assert features.shape == (1, 32, *grid)


def test_f32_sees_means_of_what_f16_sees(teacher):
    image = noise(1, 3, 64, 96).clamp(-1, 1)
    fine, coarse = (
        Alignment(AlignmentSettings(teacher=teacher), 6, factor).matched(
            noise(1, 6, 64 // factor, 96 // factor), image
        )[1]
        for factor in (16, 32)
    )
    assert torch.allclose(coarse, torch.nn.functional.avg_pool2d(fine, 2), atol=1e-6)


def test_many_positions_are_sampled_and_the_sample_follows_from_the_rng(teacher, images):
    few = AlignmentSettings(teacher=teacher, match="input", exact=23, sampled=8)
    z = noise(2, 6, 4, 6)
    alignment = Alignment(few, 6, 4)
    a, b, c = (alignment(z, images, 0, 0, rng(seed))[1].value for seed in (1, 1, 2))
    assert a == b != c
    alignment.settings = few.model_copy(update={"exact": 24})
    d, e = (alignment(z, images, 0, 0, rng(seed))[1].value for seed in (1, 2))
    assert d == e


def test_cosines_are_float32_under_autocast(teacher, images):
    alignment = Alignment(AlignmentSettings(teacher=teacher, match="input"), 6, 4)
    z = noise(2, 6, 4, 6)
    _, features = alignment.matched(z, images)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        alignment.matched = lambda z, image: (z, features)
        found = alignment(z, images, 0, 0, rng())
    expected = alignment(z, images, 0, 0, rng())
    for a, b in zip(found, expected, strict=True):
        assert a.value.dtype == torch.float32
        assert torch.allclose(a.value, b.value, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"layer": 0},
        {"match": "both"},
        {"cap": 0},
        {"sampled": 1},
        {"exact": 1},
        {"sampled": 9, "exact": 8},
    ],
)
def test_settings_that_mean_nothing_are_refused(change):
    with pytest.raises(ValidationError):
        AlignmentSettings(**change)


# The adaptive weight


def norm(x):
    return x.double().norm().item()


def pull(ratio):
    return Pull(torch.tensor(ratio), torch.full((2,), torch.nan))


def test_the_alignment_s_gradient_counts_ratio_times_and_both_are_measured():
    z = noise(2, 6, 4, 6).requires_grad_()
    decoded, aligned, ratio = split(z, 0.3, in_force := pull(4.0))
    assert ratio == 4.0
    # Each branch has its own, constant gradient.
    a, b = noise(2, 6, 4, 6, seed=1), 1e-4 * noise(2, 6, 4, 6, seed=2)
    ((decoded * a).sum() + 0.3 * (aligned * b).sum()).backward()
    assert torch.allclose(z.grad, a + 0.3 * 4.0 * b)
    expected = [norm(a) ** 2, norm(b) ** 2]
    assert in_force.squares.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_ratio_is_that_of_the_running_means_and_forgets_by_halves():
    balance = Balance(cap=100.0)
    assert not balance.measured
    balance.begin(torch.tensor([16.0, 4.0]))
    assert balance.measured
    assert balance.ratio() == 2.0
    for _ in range(20):  # means that start from zero have no bias in their ratio
        balance.update(torch.tensor([16.0, 4.0]))
    assert balance.ratio().item() == pytest.approx(2.0, rel=1e-6)
    for _ in range(200):
        balance.update(torch.tensor([0.0, 4.0]))
    for _ in range(HALF_LIFE):
        balance.update(torch.tensor([8.0, 4.0]))
    assert balance.ratio().item() == pytest.approx(1.0, rel=1e-3)  # half way from 0 to 8 / 4


def test_a_bad_step_and_one_without_finite_norms_leave_no_trace():
    balance = Balance(cap=100.0)
    balance.begin(torch.tensor([torch.nan, 1.0]))
    assert not balance.measured
    balance.begin(torch.tensor([4.0, 1.0]))
    before = balance.state()
    balance.update(torch.tensor([torch.nan, torch.inf]), torch.tensor(1.0))
    assert balance.state() == before
    balance.update(torch.tensor([9.0, 1.0]), torch.tensor(0.0))
    assert balance.state() != before
    balance.forget()
    assert not balance.measured
    assert balance.ratio() == 0


def test_a_balance_goes_on_with_its_bits():
    ours, theirs = Balance(100.0), Balance(100.0)
    ours.begin(torch.tensor([1.2345678, 0.7]))
    theirs.restore(json.loads(json.dumps(ours.state())))
    for balance in (ours, theirs):
        balance.update(torch.tensor([0.1, 0.3]))
    assert ours.state() == theirs.state()
    assert theirs.measured


@pytest.mark.parametrize(
    ("squares", "expected"),
    [([9.0, 1e-12], 100.0), ([9.0, 0.0], 100.0), ([0.0, 1.0], 0.0), ([0.0, 0.0], 0.0)],
)
def test_the_cap_holds_and_dead_branches_give_no_nan(squares, expected):
    balance = Balance(cap=100.0)
    balance.begin(torch.tensor(squares))
    assert balance.ratio() == expected


def test_one_pass_gives_the_gradients_of_three(tiny, aligned, images):
    """The first step: it is measured, and then has VA-VAE's weight for its own images."""
    weights = Weights(alignment=0.5)
    model = VAE(tiny)
    objective = build_objective(weights, aligned, tiny)
    step, balance = Step(model, objective), Balance(1e9)
    step(images, weights, rng(), first := pull(1.0))[0].backward()
    balance.begin(first.squares)
    model.zero_grad()
    total, terms = step(images, weights, rng(), Pull(balance.ratio(), first.squares))
    total.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}

    held = []
    encode = model.encode
    model.encode = lambda x: held.append(encode(x)) or held[-1]
    model.zero_grad()
    _, parts = step(images, weights, rng())
    assert "alignment_weight" not in parts
    z = held[0]
    reconstruction = (model.decode(z) - images).abs().mean()
    cosine, distance = objective.alignment(z, images, 0, 0, rng())
    alignment = cosine.value + distance.value
    norms = [
        torch.autograd.grad(loss, z, retain_graph=True)[0].norm()
        for loss in (reconstruction, alignment)
    ]
    scale = 0.5 * norms[0] / norms[1]
    assert terms["alignment_weight"].item() == pytest.approx(scale.item(), rel=1e-4)
    (reconstruction + scale * alignment).backward()
    for name, p in model.named_parameters():
        assert torch.allclose(p.grad, found[name], rtol=1e-4, atol=1e-7), name


# What learns


def test_only_the_projection_learns_beside_the_model(tiny, aligned, images):
    weights = Weights(alignment=0.5)
    objective = build_objective(weights, aligned, tiny)
    assert list(objective.learned()) == ["alignment.projection.weight"]
    assert objective.learned()["alignment.projection.weight"].shape == (32, 6, 1, 1)
    Step(VAE(tiny), objective)(images, weights, rng())[0].backward()
    assert objective.alignment.projection.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in objective.alignment.teacher.parameters())


def test_the_projection_follows_from_the_seed_alone(tiny, aligned):
    before = torch.get_rng_state()
    a, b, c = (
        build_objective(Weights(alignment=1), aligned, tiny, seed=seed).alignment.projection
        for seed in (1, 1, 2)
    )
    assert torch.equal(a.weight, b.weight)
    assert not torch.equal(a.weight, c.weight)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("adaptive", [False, True])
def test_latents_can_be_aligned(adaptive, tiny, aligned, images):
    """The terms fall when only they matter, and margins decide which positions still pull."""
    settings = aligned.model_copy(update={"adaptive": adaptive})
    model = VAE(tiny.model_copy(update={"skip": "none", "mirror": False, "feed_mirror": False}))
    weights = Weights(alignment=20.0)
    objective = build_objective(weights, settings, model.settings)
    forward = Step(model, objective)
    optimizer = torch.optim.Adam([*model.parameters(), *objective.learned().values()], 3e-3)
    values = []
    for step in range(40):
        total, terms = forward(images, weights, rng(step))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(terms["alignment"].item())
    assert values[-1] < 0.8 * values[0]
    loose = Weights(alignment=20.0, cosine_margin=0.5, distance_margin=0.25)
    _, relaxed = forward(images, loose, rng())
    assert relaxed["alignment"] < terms["alignment"]
    assert relaxed["mcos_active"] < terms["mcos_active"]


# In a run


@pytest.fixture
def run(settings, aligned):
    """Settings of a run with an alignment, whose pairs are sampled in stage two."""
    one, two = (stage.model_dump() for stage in settings.stages)
    change = {
        # Whole cells of the teacher; 16 and 64 positions.
        "stages": (one | {"resolution": 16}, two | {"resolution": 32, "shares": {"general": 1.0}}),
        "weights": {"alignment": 0.5},
        "alignment": aligned.model_copy(update={"exact": 20, "sampled": 4}).model_dump(),
    }
    return TrainSettings.model_validate(settings.model_dump() | change)


@pytest.fixture
def streams(streams):
    """The one that the run draws from."""
    return {"general": streams["general"]}


def learned(checkpoint):
    return load_file(checkpoint / "objective.safetensors")["alignment.projection.weight"].clone()


def test_a_stopped_run_resumes_with_the_bits_of_its_projection(run, streams, tmp_path):
    def stop(row):
        if row["step"] == 6:
            signal.raise_signal(signal.SIGINT)

    whole = fit(run, streams, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(run, streams, tmp_path / "cut", progress=stop)
    assert not torch.equal(learned(tmp_path / "cut/step-000006"), learned(whole))
    resumed = fit(run, streams, tmp_path / "cut")
    assert torch.equal(learned(resumed), learned(whole))
    a, b = (load_file(path / "model.safetensors") for path in (whole, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)
    seen = [json.loads(line) for line in (tmp_path / "cut/metrics.jsonl").read_text().splitlines()]
    watched = {"mcos", "mdms", "mcos_active", "mdms_active", "alignment", "alignment_weight"}
    assert watched < seen[0].keys()
    assert all(0 < row["alignment_weight"] < 50 for row in seen)


def test_a_checkpoint_holds_neither_the_teacher_nor_its_moments(run, streams, tmp_path):
    last = fit(run, streams, tmp_path / "out")
    assert list(load_file(last / "objective.safetensors")) == ["alignment.projection.weight"]
    assert not [name for name in load_file(last / "model.safetensors") if "teacher" in name]
    moments = {name.rpartition(".")[0] for name in load_file(last / "optimizer.safetensors")}
    ours = {f"model.{name}" for name, _ in VAE(run.model()).named_parameters()}
    assert moments == ours | {"objective.alignment.projection.weight"}


def test_a_run_cannot_go_on_with_another_alignment(run, settings, streams, tmp_path):
    fit(run, streams, tmp_path / "with")
    other = run.model_copy(update={"weights": Weights()})
    with pytest.raises(UserError, match=r"another recipe \(weights.alignment: 0.5 → 0.0\)"):
        fit(other, streams, tmp_path / "with")
    # A teacher of another width, where the same one was asked for.
    state = begin(settings)
    with pytest.raises(UserError, match=r"holds \(32, 6, 1, 1\) for alignment.proj.*run nothing"):
        state.load(newest(tmp_path / "with"))


def test_the_loss_falls_in_a_run(run, make_shard, tmp_path):
    folder = make_shard("s", "text", 1, (16, 16))
    change = {"samples": 400, "resolution": 16, "shares": {"s": 1.0}}
    stage = Stage.model_validate(run.stages[0].model_dump() | change)
    change = {"stages": (stage,), "log_every": 10, "resized": (), "checkpoint_every": 400}
    seen = []
    fit(run.model_copy(update=change), {"s": folder}, tmp_path / "out", progress=seen.append)
    for name in ("total", "l1", "alignment"):
        assert seen[-1][name] < 0.9 * seen[0][name]
