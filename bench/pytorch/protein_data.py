"""What the protein benchmark trains on: random chains, noised once and for all. Everything follows from a seed.

A chain's CA atoms take steps of 3.8 Å whose directions persist; the work depends on the number of residues alone.
x_0 standard normal and x_1 are centred, t is drawn as published, x_t = (1 − t) x_0 + t x_1. Lengths in nm.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from protein_network import Chains, Config


@dataclass
class Batch:
    """What one training step takes: positions (B, L, 3) and times (B); whether a first prediction is fed back."""

    chains: Chains
    x_1: Tensor
    x_0: Tensor
    x_t: Tensor
    t: Tensor
    self_condition: bool

    def __len__(self) -> int:
        return len(self.chains)


def times(count: int, generator: torch.Generator) -> Tensor:
    """2 % uniform, 98 % Beta(1.9, 1), whose inverse distribution function is u^(1/1.9)."""
    u = torch.rand(count, generator=generator)
    uniform = torch.rand(count, generator=generator) < 0.02
    return torch.where(uniform, u, u ** (1.0 / 1.9))


def batch(count: int, length: int, seed: int, self_condition: bool) -> Batch:
    """Chains of one length, unbroken, numbered from 1, of unknown folds."""
    generator = torch.Generator().manual_seed(seed)
    chains = Chains.unknown(torch.ones(count, length, dtype=torch.bool), Config())
    directions = torch.randn(count, length, 3, generator=generator)
    for residue in range(1, length):
        directions[:, residue] += directions[:, residue - 1]
    steps = 0.38 * torch.nn.functional.normalize(directions, dim=-1)
    x_1 = chains.centred(steps.cumsum(1))
    x_0 = chains.centred(torch.randn(count, length, 3, generator=generator))
    t = times(count, generator)
    part = t[:, None, None]
    return Batch(chains, x_1, x_0, (1 - part) * x_0 + part * x_1, t, self_condition)
