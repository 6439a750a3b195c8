"""Steps on one rank and on many: the same bits, or gradients that differ by rounding alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from shards import UserError
from tests.vae.conftest import TINY, on_ranks
from vae import VAE, AlignmentSettings, Objective, VAESettings, Weights, fit
from vae.curriculum.curriculum import Knobs
from vae.curriculum.stage import Stage
from vae.data.batch import Batch
from vae.data.unindexed import ANY_SIZE
from vae.objective.alignment import Alignment
from vae.objective.balance import Balance
from vae.training.begin import begin
from vae.training.budget import RESERVE
from vae.training.execution import check_shared, compile_parts, recomputed, reduce_on
from vae.training.ranks import ALONE
from vae.training.reductions import part_of, whole, wrap
from vae.training.step import Step, take

M = 4
"""Micro-batches of a step."""

PLAIN = Weights(l1=0.0, perceptual=1.0)
ALIGNED = PLAIN.model_copy(update={"alignment": 0.5})
COURSE = [PLAIN, ALIGNED, ALIGNED, PLAIN, ALIGNED, ALIGNED]
"""The alignment begins, ends and begins anew. A step that leaves its projection out is where a
wrapper notices a parameter without a gradient."""


class Edges(torch.nn.Module):
    """In a teacher's place: a frozen conv, whose features are known in a moment."""

    width = 32

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, self.width, 4, stride=4).requires_grad_(False)

    @torch.no_grad()
    def forward(self, image, grid):
        return self.conv(image)


def squares(x, y):
    """A distance without a kink, where rounding could turn a gradient around."""
    return (x - y).square().mean((1, 2, 3))


def built(exact):
    """Model and objective; nothing in them is left at the zero where a head starts."""
    torch.manual_seed(0)
    model = VAE(VAESettings(**TINY))
    with torch.no_grad():
        for head in (model.encoder.head, model.decoder.head):
            head.conv.weight.normal_(std=0.1)
    aligned = AlignmentSettings(match="input", exact=exact, sampled=8)
    return Step(model, Objective(perceptual=squares, alignment=Alignment(aligned, 6, 4, Edges())))


def micro_batches(number, count=M):
    """The images of a step, (b, 3, h, w) uint8, cut in `count`."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 3, 16, 24), dtype=np.uint8)
    return [Batch(images, (), None, ()) for images in torch.from_numpy(pixels).chunk(count)]


def knobs(number, weights=None, count=M):
    """What holds at a step of the course, as far as a step asks."""
    weights = weights or COURSE[number]
    return Knobs(number, 8 * number, None, (16, 24), count, 8 // count, {}, weights, 0.01)


class Course:
    """Some steps of a run, with all that a run keeps from one to the next."""

    def __init__(self, ranks, reduce, state=None, exact=23):
        self.ranks, self.step = ranks, built(exact)
        self.reduction = wrap(reduce, self.step, ranks)
        learn = self.reduction.parameters
        self.optimizer = torch.optim.AdamW(learn, 1e-2, fused=reduce != "shard")
        self.balance, self.log = Balance(100.0), []
        if state is not None:
            for name, parameter in self.step.named_parameters():
                if name in state["weights"]:
                    ours = part_of(state["weights"][name], parameter.data)
                    parameter.data.copy_(ours)
            self.optimizer.load_state_dict(state["optimizer"])
            self.balance.restore(state["balance"])

    def run(self, numbers, *, learn=True):
        for number in numbers:
            images = [micro_batches(number)[m] for m in self.ranks.part(M)]
            outcome = take(self.reduction, images, knobs(number), 0, self.balance)
            named = dict(self.step.named_parameters())
            gradients = {n: p.grad.clone() for n, p in named.items() if p.requires_grad}
            self.log.append((whole(gradients), outcome))
            self.reduction.clip(outcome.norm, 0.5)
            if learn:
                self.optimizer.step()
            if outcome.squares is not None:
                self.balance.update(outcome.squares)
        return self

    def state(self):
        learned = {n: p.detach() for n, p in self.step.named_parameters() if p.requires_grad}
        return {
            "weights": {name: value.clone() for name, value in whole(learned).items()},
            "optimizer": self.optimizer.state_dict(),
            "balance": self.balance.state(),
        }


def work(ranks, state):
    """What each rank does: the middle of an exact run, and whole runs in the other two ways."""
    middle = Course(ranks, "exact", state).run({2: range(2, 4), 4: range(4, 5)}[ranks.world])
    # At weights that stay: Adam makes rounding larger from step to step.
    logs = {way: Course(ranks, way).run(range(6), learn=False).log for way in ("fast", "shard")}
    return middle.state(), Course(ranks, "exact").run(range(6)).log, logs


@pytest.fixture(scope="module")
def alone():
    return Course(ALONE, "exact").run(range(6))


@pytest.fixture(scope="module")
def worlds():
    """What ranks of worlds of 2 and of 4 returned, and the last state of 1, 2, 4, 1 in turn."""
    state = Course(ALONE, "exact").run(range(2)).state()
    found = {}
    for world in (2, 4):
        found[world] = on_ranks(world, work, state)
        state = found[world][0][0]
    return found, Course(ALONE, "exact", state).run(range(5, 6)).state()


def same(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_exact_runs_have_the_same_bits_at_any_world_and_through_changes_of_it(alone, worlds):
    found, last = worlds
    for world in found:
        for state, log, _ in found[world]:
            assert same(state["weights"], found[world][0][0]["weights"])
            for (gradients, outcome), (expected, told) in zip(log, alone.log, strict=True):
                assert same(gradients, expected)
                assert outcome.names == told.names
                assert torch.equal(outcome.terms, told.terms)
                assert torch.equal(outcome.norm, told.norm)
    expected = alone.state()
    assert same(last["weights"], expected["weights"])
    assert last["balance"] == expected["balance"]
    moments = [x["optimizer"]["state"] for x in (last, expected)]
    assert moments[0].keys() == moments[1].keys()
    assert all(same(moments[0][k], moments[1][k]) for k in moments[0])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fast", "shard"])
@pytest.mark.parametrize("world", [2, 4])
def test_wrapped_ranks_have_one_gradient_and_it_is_that_of_one_process(worlds, way, world):
    logs = [logs[way] for _, _, logs in worlds[0][world]]
    for other in logs[1:]:
        assert all(same(a, b) for (a, _), (b, _) in zip(logs[0], other, strict=True))
        assert all(
            torch.equal(a.norm, b.norm) for (_, a), (_, b) in zip(logs[0], other, strict=True)
        )
    alone = Course(ALONE, "exact").run(range(6), learn=False)
    for (gradients, outcome), (expected, told) in zip(logs[0], alone.log, strict=True):
        apart = {name: gradients[name] - value for name, value in expected.items()}
        assert size(apart) <= 1e-5 * size(expected)
        assert torch.allclose(outcome.norm, told.norm, rtol=1e-5)
        # A share of hinges is a count: rounding may move it by one.
        kept = [k for k, name in enumerate(told.names) if not name.endswith("_active")]
        assert torch.allclose(outcome.terms[:, kept], told.terms[:, kept], rtol=1e-4)


def size(gradients):
    return torch.cat([gradient.double().flatten() for gradient in gradients.values()]).norm()


def test_the_norm_is_that_of_the_model_and_clipping_brings_it_down():
    course = Course(ALONE, "exact")
    outcome = take(course.reduction, micro_batches(0), knobs(0), 0)
    model = [p.grad for p in course.step.model.parameters()]
    assert outcome.norm.item() == pytest.approx(torch.nn.utils.get_total_norm(model).item())
    course.reduction.clip(outcome.norm, 0.25 * outcome.norm.item())
    clipped = torch.nn.utils.get_total_norm(model).item()
    assert clipped == pytest.approx(0.25 * outcome.norm.item(), rel=1e-4)
    course.reduction.clip(torch.tensor(clipped), 1e9)
    assert torch.nn.utils.get_total_norm(model).item() == clipped


@pytest.mark.parametrize("way", ["exact", "fast"])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_gradients_and_the_adaptive_weight_do_not_depend_on_how_a_step_is_cut(way, count):
    """2 % apart where each micro-batch has a weight of its own."""
    found = []
    for parts in (count, 4):
        course = Course(ALONE, way, exact=24)
        for number in range(2):
            images = micro_batches(number, parts)
            outcome = take(
                course.reduction, images, knobs(number, ALIGNED, parts), 0, course.balance
            )
            course.balance.update(outcome.squares)
        found.append({n: p.grad for n, p in course.step.named_parameters() if p.requires_grad})
        found[-1] |= {"means": torch.tensor(list(course.balance.state().values()))}
    assert size({n: found[0][n] - found[1][n] for n in found[0]}) <= 1e-6 * size(found[1])


def stage(name, count):
    shares = {"pages": 1.0}
    return Stage(name=name, samples=count, batch=count, micro=1, resolution=16, shares=shares)


def test_exact_is_refused_where_it_cannot_be():
    check_shared([stage("small", 4), stage("large", 16)], 4, "exact")
    check_shared([stage("small", 12)], 6, "fast")
    with pytest.raises(
        UserError, match=r"6 ranks are no power of two; use 4 or 8, or --reduce fast"
    ):
        check_shared([stage("small", 12)], 6, "exact")
    with pytest.raises(UserError, match=r"stage large: .* 12 a step .* or use --reduce fast"):
        check_shared([stage("small", 4), stage("large", 12)], 4, "exact")
    assert (reduce_on("cpu"), reduce_on("cuda")) == ("exact", "fast")


def test_in_bfloat16_weights_and_their_gradients_stay_float32():
    outcomes = {}
    for precision in ("float32", "bfloat16"):
        course = Course(ALONE, "exact")
        course.step.precision = precision
        outcomes[precision] = take(course.reduction, micro_batches(1), knobs(1), 0, course.balance)
        seen = {p.dtype for p in course.step.parameters()} | {
            p.grad.dtype for p in course.reduction.parameters
        }
        assert seen == {torch.float32}
        assert outcomes[precision].terms.dtype == torch.float32
    whole, half = (outcomes[precision] for precision in ("float32", "bfloat16"))
    assert not torch.equal(whole.losses, half.losses)
    assert torch.allclose(whole.losses, half.losses, rtol=0.02)
    assert torch.allclose(whole.norm, half.norm, rtol=0.05)


# Torch's own look at a tensor inside the graph.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_parts_are_whole_and_give_the_gradients_of_the_whole():
    """With a backend that compiles nothing: whether the parts can be traced, not what of them."""
    outcomes = []
    counters.clear()
    for compiled in (False, True):
        course = Course(ALONE, "exact")
        if compiled:
            compile_parts(course.step, backend="eager")
        take(course.reduction, micro_batches(1), knobs(1), 0, course.balance)
        outcomes.append({n: p.grad for n, p in course.step.named_parameters() if p.requires_grad})
    assert size({n: outcomes[0][n] - outcomes[1][n] for n in outcomes[0]}) <= 1e-5 * size(
        outcomes[0]
    )
    # Else torch leaves parts, or what is between them, as they are, and says so in a warning alone.
    assert not counters["graph_break"]
    assert not counters["unimplemented"]


def test_what_is_watched_is_not_compiled(settings, images):
    state, graphs = begin(settings), []
    compile_parts(state.reduction.step, backend=lambda graph, _: graphs.append(graph))
    with state.shown(), torch.no_grad():
        state.model.decode(state.model.encode(images))
    assert not graphs


def test_blocks_are_recomputed_where_a_step_would_not_fit(settings):
    asked = {"on": "on", "off": "off", "small": "auto", "large": "auto"}
    sides = {"on": 16, "off": 512, "small": 16, "large": 512}
    stages = [
        stage(name, 4).model_copy(update={"recompute": how, "resolution": sides[name]})
        for name, how in asked.items()
    ]

    def again(*stages, memory=None):
        run = settings.model_copy(update={"stages": stages})
        return recomputed(run, run.curriculum({"pages": ANY_SIZE}), ALONE, "exact", memory)

    assert again(*stages) == {"on"}
    assert again(*stages, memory=RESERVE + 2**40) == {"on"}
    with pytest.raises(UserError, match=r"stage off takes .* or set recompute to auto"):
        again(*stages, memory=RESERVE + 10 * 2**20)
    one, _, *rest = stages
    assert again(one, *rest, memory=RESERVE + 40 * 2**20) == {"on", "large"}
    with pytest.raises(UserError, match=r"blocks recomputed, .* lower its micro"):
        again(one, *rest, memory=RESERVE + 2**16)


def trained(ranks, settings, streams, out):
    return str(fit(settings, streams, out, ranks=ranks))


@pytest.mark.slow
def test_two_ranks_train_to_the_files_of_one(settings, streams, tmp_path):
    stages = [
        one.model_copy(update={"samples": 4 * one.samples // one.batch, "batch": 4, "micro": 2})
        for one in settings.stages
    ]
    run = settings.model_copy(update={"stages": tuple(stages)})
    alone = fit(run, streams, tmp_path / "alone")
    both = on_ranks(2, trained, run, streams, tmp_path / "both")
    assert both[0] == both[1] == str(tmp_path / "both" / alone.name)
    for name in ("model", "average", "optimizer"):
        files = [Path(last) / f"{name}.safetensors" for last in (alone, both[0])]
        assert files[0].read_bytes() == files[1].read_bytes()
