"""What a step takes of one rank: bytes by part, and seconds by a model of the hardware.

Bytes of a run are counted (vae/training/count.py). Seconds are not: convs and matrix products run
at an assumed part of the peak, everything else at the speed of the memory, and gradients travel at
the speed of the slowest link. The assumptions are arguments, and a plan prints them.
"""

from typing import NamedTuple

import torch

from vae.training.count import Numbers, Work
from vae.training.reductions import Reduce

NUMBER = 4
"""Bytes of a weight, a gradient, a moment: all are float32 in every precision."""

BUCKET = 25 * 2**20
"""Bytes of gradients that DDP sends at a time, its default; the last of them overlaps nothing."""

NODE = 8
"""GPUs that share the links of a node."""


class GPU(NamedTuple):
    """A kind of GPU, as its makers print it.

    `bfloat16` and `float32` are dense FLOP a second, the latter without tensor cores. `memory` is
    in bytes, `bandwidth` its bytes a second; `link` are bytes a second that one GPU sends to its
    neighbours in the node, `network` to another node (one 400 or 200 Gb/s port a GPU, as in DGX
    H100 and A100; 100 Gb/s a GPU elsewhere, our choice).
    """

    bfloat16: float
    float32: float
    memory: float
    bandwidth: float
    link: float
    network: float

    def flop(self, dtype: torch.dtype) -> float:
        """FLOP a second at the peak."""
        return self.bfloat16 if dtype == torch.bfloat16 else self.float32


GPUS = {
    "h100": GPU(989e12, 67e12, 80e9, 3.35e12, 450e9, 50e9),
    "h200": GPU(989e12, 67e12, 141e9, 4.8e12, 450e9, 50e9),
    "a100": GPU(312e12, 19.5e12, 80e9, 2.039e12, 300e9, 25e9),
    "l40s": GPU(362e12, 91.6e12, 48e9, 0.864e12, 32e9, 12.5e9),
    "rtx4090": GPU(165.2e12, 82.6e12, 24e9, 1.008e12, 32e9, 12.5e9),
}
"""By the name that a plan takes. From NVIDIA's data sheets of H100 SXM, H200 SXM, A100 80GB SXM and
L40S, and the Ada architecture's whitepaper for the RTX 4090; halves of what they give for both
directions and with sparsity. L40S and RTX 4090 have no NVLink: their link is PCIe 4.0 x16."""

RESERVE = 2 * 2**30
"""Bytes of a GPU that are left to its driver, libraries and gaps between tensors (our choice)."""


class Memory(NamedTuple):
    """Bytes that a rank holds while it trains, at their most.

    `weights` of the model and of the frozen networks, `gradients` with the sums that wait for
    their neighbours, `moments` of AdamW, `average` of the weights, `activations` that autograd
    keeps for one micro-batch, and the `workspace` beside them: the largest that operations have
    in hand.
    """

    weights: int
    gradients: int
    moments: int
    average: int
    activations: int
    workspace: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def rank_memory(
    numbers: Numbers,
    work: Work,
    *,
    reduce: Reduce = "fast",
    world: int = 1,
    parts: int = 1,
    average: bool = True,
) -> Memory:
    """Add up what one of `world` ranks holds, which takes `parts` micro-batches of each step."""
    split = world if reduce == "shard" else 1
    trained = NUMBER * numbers.trained
    weights = trained // split + NUMBER * (numbers.still + numbers.frozen)
    gradients = trained // split
    if split > 1:
        # The part at work and the next one, which is gathered meanwhile.
        weights += NUMBER * (numbers.root + 2 * numbers.unit)
        # Until the last micro-batch all gradients are whole.
        gradients += trained if parts > 1 else NUMBER * (numbers.root + numbers.unit)
    workspace = work.peak - work.saved
    if reduce == "exact":
        # A sum of each level of the tree below the micro-batch at hand.
        gradients = trained * parts.bit_length()
        if world > 1:
            # After the last backward: one flat copy, what the others send, their sums, all sums.
            exchange = 3 * trained + trained // world
            waiting = gradients - trained
            workspace = max(workspace, exchange - waiting - work.saved)
    return Memory(
        weights=weights,
        gradients=gradients,
        moments=2 * trained // split,
        average=NUMBER * numbers.model // split if average else 0,
        activations=work.saved,
        workspace=workspace,
    )


class Pace(NamedTuple):
    """Seconds of a step of a rank, by the model above, and bytes that it sends.

    `arithmetic` of convs and matrix products, `traffic` of all else, `reduction` of the exchange
    of gradients (and weights), of which `exposed` are not hidden behind backward.
    """

    arithmetic: float
    traffic: float
    reduction: float
    exposed: float
    sent: float

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.arithmetic + self.traffic + self.exposed

    @property
    def limit(self) -> str:
        """Name the largest part."""
        parts = {
            "arithmetic": self.arithmetic,
            "memory bandwidth": self.traffic,
            "interconnect": self.exposed,
        }
        return max(parts, key=lambda name: parts[name])


def pace(
    numbers: Numbers,
    work: Work,
    gpu: GPU,
    *,
    utilisation: float,
    dtype: torch.dtype = torch.bfloat16,
    reduce: Reduce = "fast",
    world: int = 1,
    parts: int = 1,
) -> Pace:
    """Guess how long one of `world` ranks takes for a step of `parts` micro-batches of its own."""
    speed = gpu.flop(dtype) * utilisation
    arithmetic, traffic = parts * work.flop / speed, parts * work.traffic / gpu.bandwidth
    if world == 1:
        return Pace(arithmetic, traffic, 0.0, 0.0, 0.0)
    once = NUMBER * numbers.trained * (world - 1) / world
    link = gpu.link if world <= NODE else gpu.network
    backward = (work.flop - work.forward) / speed + work.traffic / gpu.bandwidth / 2
    if reduce == "shard":
        # Weights are gathered for each forward and each backward, gradients scattered once.
        sent, hidden = (2 * parts + 1) * once, arithmetic + traffic
    else:
        sent, hidden = 2 * once, backward if reduce == "fast" else 0.0
    reduction = sent / link
    last = min(reduction, 2 * BUCKET / link)
    return Pace(arithmetic, traffic, reduction, max(reduction - hidden, last), sent)
