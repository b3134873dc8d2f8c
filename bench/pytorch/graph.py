"""The edges that the network sees: radius neighbours by ET-Flow's index rule, merged with the bonds.

B molecules, N atoms in all, n the atoms of the largest molecule, M bonds, E edges.
"""

import torch
from torch import Tensor

CUTOFF = 10.0
"""Å; pairs strictly below it are neighbours."""

MAX_HITS = 33
"""Neighbours that a target takes in index order, itself counted among them (and dropped afterwards)."""


class Molecules:
    """A batch of molecular graphs: what stays the same while the positions move.

    `offsets` (B+1), `atomic_numbers` (N), `features` (N, 10), `bonds` (M, 2) as indices into the N atoms, each once.
    """

    def __init__(self, offsets: Tensor, atomic_numbers: Tensor, features: Tensor, bonds: Tensor):
        self.offsets, self.atomic_numbers, self.features, self.bonds = offsets, atomic_numbers, features, bonds
        self.sizes = offsets.diff()
        self.molecule = torch.repeat_interleave(torch.arange(len(self)), self.sizes)
        self.place = torch.arange(len(self.molecule)) - offsets[self.molecule]
        self.largest = int(self.sizes.max())
        # Dense per molecule: (B, n, n), true where two atoms are bonded.
        self.bonded = torch.zeros(len(self), self.largest, self.largest, dtype=torch.bool)
        a, b = bonds.T
        self.bonded[self.molecule[a], self.place[a], self.place[b]] = True
        self.bonded[self.molecule[a], self.place[b], self.place[a]] = True

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def padded(self, nodes: Tensor) -> Tensor:
        """(N, C) as (B, n, C), zeros behind each molecule's atoms."""
        dense = nodes.new_zeros(len(self), self.largest, nodes.shape[1])
        return dense.index_put((self.molecule, self.place), nodes)

    def centred(self, nodes: Tensor) -> Tensor:
        """(N, 3) with each molecule's mean at the origin."""
        sums = nodes.new_zeros(len(self), nodes.shape[1]).index_add(0, self.molecule, nodes)
        return nodes - (sums / self.sizes[:, None].to(nodes.dtype))[self.molecule]


@torch.no_grad()
def edges(molecules: Molecules, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Edge index (2, E), sources above targets and sorted by both, and types (E), 1 for bonds and 0 otherwise.

    A target's neighbours are the first 33 atoms of its molecule, in index order and itself included, that are
    nearer than 10 Å; then it is dropped. Distances are taken in f32. Bonds are always edges, in both directions.
    """
    x, y, z = molecules.padded(positions.float()).unbind(-1)
    dx, dy, dz = (c[:, :, None] - c[:, None, :] for c in (x, y, z))
    atom = torch.arange(molecules.largest)
    real = atom < molecules.sizes[:, None]
    near = (dx * dx + dy * dy + dz * dz < CUTOFF * CUTOFF) & real[:, :, None] & real[:, None, :]
    # (B, target, source): the running count along the sources says which hit is which.
    near &= near.cumsum(2) <= MAX_HITS
    near &= atom[:, None] != atom
    chosen = near.transpose(1, 2) | molecules.bonded
    b, source, target = chosen.nonzero().T
    start = molecules.offsets[b]
    return torch.stack([start + source, start + target]), molecules.bonded[b, source, target].long()
