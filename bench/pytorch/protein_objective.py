"""Proteina's loss, training step and sampler, as published. B chains, L residues (padded), lengths in nm."""

import contextlib

import torch
from torch import Tensor, nn

from protein_network import Chains


def estimate(x_t: Tensor, t: Tensor, u: Tensor) -> Tensor:
    """x̂_1 = x_t + (1 − t) u, not centred."""
    return x_t + (1.0 - t)[:, None, None] * u


def loss(chains: Chains, x_1: Tensor, estimated: Tensor, t: Tensor) -> Tensor:
    """Mean over chains of Σ ‖x_1 − x̂_1‖² / (3 n ((1 − t)² + 1e-5))."""
    squares = ((x_1 - estimated) * chains.mask[..., None]).square().sum((1, 2))
    return (squares / (3 * chains.sizes * ((1.0 - t).square() + 1e-5))).mean()


def autocast(enabled: bool) -> contextlib.AbstractContextManager:
    """bf16 where PyTorch thinks fit, or nothing."""
    return torch.autocast("cpu", torch.bfloat16) if enabled else contextlib.nullcontext()


class Trainer:
    """A network with its optimizer and the running average of its weights; `step` is one training step."""

    def __init__(self, model: nn.Module, bf16: bool = False, rate: float = 1e-4):
        self.model, self.bf16 = model, bf16
        self.parameters = list(model.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.Adam(self.parameters, lr=rate, betas=(0.9, 0.999), eps=1e-8, fused=True)
        self.norm = float("nan")

    def predict(self, chains: Chains, x_t: Tensor, t: Tensor, fed_back: Tensor | None) -> Tensor:
        """x̂_1 from the network."""
        with autocast(self.bf16):
            u = self.model(chains, x_t, t, fed_back)
        return estimate(x_t, t, u.to(x_t.dtype))

    def step(self, chains: Chains, x_1: Tensor, x_t: Tensor, t: Tensor, self_condition: bool) -> float:
        """A first prediction to feed back (if so), forward, loss, backward, clipping, update, average: the loss."""
        fed_back = None
        if self_condition:
            with torch.no_grad():
                fed_back = self.predict(chains, x_t, t, None)
        value = loss(chains, x_1, self.predict(chains, x_t, t, fed_back), t)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        self.norm = float(nn.utils.clip_grad_norm_(self.parameters, 1.0))
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1.0 - 0.999)
        return float(value.detach())


class Sampler:
    """Euler steps on a logarithmic grid of times, drift and noise with g = 1/(t + 0.01) until t = 0.99.

    Without noise (`gamma` None) the steps are those of the ordinary differential equation.
    """

    def __init__(self, model: nn.Module, steps: int, gamma: float | None = 0.45, bf16: bool = False):
        self.model, self.gamma, self.bf16 = model, gamma, bf16
        # Rescaled: the grid's first point is 0, its last is 1.
        grid = 1.0 - torch.logspace(-2.0, 0.0, steps + 1, dtype=torch.float64).flip(0)
        self.times = ((grid - grid[0]) / (grid[-1] - grid[0])).tolist()

    def step(
        self, k: int, chains: Chains, x: Tensor, fed_back: Tensor | None, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The positions after step k, and x̂_1; `noise` (B, L, 3) is standard normal."""
        t, h = self.times[k], self.times[k + 1] - self.times[k]
        times = x.new_full((len(chains),), t)
        with autocast(self.bf16):
            u = self.model(chains, x, times, fed_back)
        estimated = estimate(x, times, u.to(x.dtype))
        v = (chains.centred(estimated) - chains.centred(x)) / (1.0 - t)
        if self.gamma is None or t > 0.99:
            x = x + h * v
        else:
            g = 1.0 / (t + 0.01)
            score = (t * v - x) / (1.0 - t)
            x = x + h * (v + g * score) + (2.0 * g * self.gamma * h) ** 0.5 * noise
        return chains.centred(x), estimated
