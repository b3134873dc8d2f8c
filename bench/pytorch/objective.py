"""Losses, the clipping of gradients by their recent history, and one training step.

B molecules, N atoms in all. A loss is a mean over molecules of a mean over atoms.
"""

import contextlib
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor, nn

from graph import Molecules


def mean(molecules: Molecules, per_atom: Tensor) -> Tensor:
    """Mean over molecules of the mean over atoms of (N)."""
    shares = 1.0 / (len(molecules) * molecules.sizes.to(per_atom.dtype))
    return (per_atom * shares[molecules.molecule]).sum()


def l2(molecules: Molecules, v: Tensor, target: Tensor, x_t: Tensor) -> Tensor:
    """‖v − u‖, ET-Flow's loss."""
    return mean(molecules, torch.linalg.vector_norm(v - target, dim=1))


def mse(molecules: Molecules, v: Tensor, target: Tensor, x_t: Tensor) -> Tensor:
    """‖v − u‖²."""
    return mean(molecules, (v - target).square().sum(1))


def projected_mse(molecules: Molecules, v: Tensor, target: Tensor, x_t: Tensor) -> Tensor:
    """‖P(v − u)‖² with P the projection that takes the rigid motions at x_t away: the quotient objective.

    For molecules whose atoms are not on one line.
    """
    return mean(molecules, horizontal(molecules, v - target, x_t).square().sum(1))


LOSSES: dict[str, Callable[[Molecules, Tensor, Tensor, Tensor], Tensor]] = {
    "l2": l2,
    "mse": mse,
    "projected_mse": projected_mse,
}


def horizontal(molecules: Molecules, residual: Tensor, x_t: Tensor) -> Tensor:
    """The residual without translation and rotation: r − ω × x with K ω = Σ x × r, K the inertia tensor."""
    x, r = molecules.centred(x_t), molecules.centred(residual)

    def total(nodes: Tensor) -> Tensor:
        return nodes.new_zeros(len(molecules), *nodes.shape[1:]).index_add(0, molecules.molecule, nodes)

    square = x.square().sum(1)[:, None, None] * torch.eye(3, dtype=x.dtype)
    inertia = total(square - x[:, :, None] * x[:, None, :])
    omega = torch.linalg.solve(inertia, total(torch.linalg.cross(x, r)))
    return r - torch.linalg.cross(omega[molecules.molecule], x)


class Clipper:
    """Clips by min(1.5 mean + 2 std, 100) of the 50 newest gradient norms, as ET-Flow does."""

    def __init__(self) -> None:
        self.norms: deque[float] = deque([3000.0], maxlen=50)

    def __call__(self, model: nn.Module) -> float:
        seen = torch.tensor(self.norms)
        allowed = min(float(1.5 * seen.mean() + 2.0 * seen.std(correction=0)), 100.0)
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), allowed))
        self.norms.append(allowed if allowed < norm < 100.0 else norm)
        return norm


class Trainer:
    """A network with its optimizer; `step` is one training step."""

    def __init__(self, model: nn.Module, loss: str, autocast: bool = False):
        self.model, self.loss, self.clip = model, LOSSES[loss], Clipper()
        self.autocast = autocast
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=1e-5, betas=(0.95, 0.999), eps=1e-8, weight_decay=1e-8, fused=True
        )

    def step(self, molecules: Molecules, x_t: Tensor, t: Tensor, target: Tensor) -> float:
        """Forward, loss, backward, clipping and update; returns the loss."""
        with torch.autocast("cpu", torch.bfloat16) if self.autocast else contextlib.nullcontext():
            v = self.model(molecules, x_t, t)
        loss = self.loss(molecules, v.float(), target, x_t)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.clip(self.model)
        self.optimizer.step()
        return float(loss.detach())
