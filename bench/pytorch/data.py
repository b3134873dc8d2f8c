#!/usr/bin/env python3
"""What the benchmark trains on: the first molecules of a data set, noised once and for all.

Per molecule the first conformer x_1, a harmonic prior sample x_0 turned onto it, t uniform in (0, 1),
x_t = t x_1 + (1 − t) x_0 (both centred) and target = x_1 − x_0: what a step of the drugs recipes sees, without
the small noise along the way. Everything follows from a seed.

`data.py --out FILE` writes the inputs as safetensors, so that another program can be measured on the very same:
`offsets` i64 (B+1), `atomic_numbers` i64 (N), `features` f32 (N, 10), `bonds` i64 (M, 2) as indices into the N
atoms, each once, `positions`, `x_0`, `x_t`, `target` f64 (N, 3), `t` f64 (B).

Atom features are not stored in data sets. Those here tell atoms apart by degree, bonded hydrogens and element, so that
a molecule has several kinds of atoms, as with the real ones: what depends on features alone may be computed once a kind.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import save_file

from graph import Molecules

SAMPLE = Path(__file__).resolve().parents[2] / "data/sample/drugs"


@dataclass
class Sample:
    """One molecule of n atoms; `bonds` (m, 2), coordinates (n, 3)."""

    atomic_numbers: np.ndarray
    bonds: np.ndarray
    x_1: np.ndarray
    x_0: np.ndarray
    x_t: np.ndarray
    t: float


@dataclass
class Batch:
    """What one training step takes: graphs, x_t and target (N, 3), x_0 (N, 3) for sampling, t (B)."""

    molecules: Molecules
    x_t: torch.Tensor
    x_0: torch.Tensor
    target: torch.Tensor
    t: torch.Tensor


def harmonic(bonds: np.ndarray, atoms: int, rng: np.random.Generator) -> np.ndarray:
    """A sample of the harmonic prior of a connected graph: covariance pinv(Laplacian) per coordinate."""
    laplacian = np.zeros((atoms, atoms))
    for a, b in bonds:
        laplacian[[a, b], [b, a]] -= 1.0
        laplacian[[a, b], [a, b]] += 1.0
    values, modes = np.linalg.eigh(laplacian)
    return modes[:, 1:] @ (rng.standard_normal((atoms - 1, 3)) / np.sqrt(values[1:, None]))


def turned_onto(x: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """x, centred, turned so that it is nearest to a centred goal (Kabsch)."""
    u, _, vt = np.linalg.svd(x.T @ goal)
    sign = np.sign(np.linalg.det(u @ vt))
    return x @ (u * [1.0, 1.0, sign]) @ vt


def samples(folder: Path = SAMPLE, count: int = 64, seed: int = 0) -> list[Sample]:
    """The first molecules of the training split."""
    manifest = json.loads((folder / "manifest.json").read_text())
    rows: list[dict] = []
    for shard in manifest["splits"]["train"]:
        with pa.ipc.open_file(folder / shard["file"]) as reader:
            table = reader.read_all().select(["atomic_numbers", "bonds", "positions"])
        rows += table.slice(0, count - len(rows)).to_pylist()
        if len(rows) == count:
            break
    rng = np.random.default_rng(seed)
    return [noised(row, rng) for row in rows]


def noised(row: dict, rng: np.random.Generator) -> Sample:
    """A row of a shard with its noise."""
    atoms = len(row["atomic_numbers"])
    x_1 = np.array(row["positions"], dtype=np.float64)[: 3 * atoms].reshape(atoms, 3)
    x_1 -= x_1.mean(0)
    bonds = np.array(row["bonds"], dtype=np.int64).reshape(-1, 2)
    x_0 = harmonic(bonds, atoms, rng)
    x_0 = turned_onto(x_0 - x_0.mean(0), x_1)
    t = rng.uniform(1e-4, 0.9999)
    return Sample(np.array(row["atomic_numbers"], dtype=np.int64), bonds, x_1, x_0, t * x_1 + (1 - t) * x_0, t)


def features(sample: Sample) -> np.ndarray:
    """Rows that differ between kinds of atoms: degree, bonded hydrogens, and the element where hybridisation belongs."""
    rows = np.zeros((len(sample.atomic_numbers), 10), dtype=np.float32)
    np.add.at(rows[:, 1], sample.bonds[:, 0], 1)
    np.add.at(rows[:, 4], sample.bonds[:, 0], sample.atomic_numbers[sample.bonds[:, 1]] == 1)
    rows[:, 5] = sample.atomic_numbers
    return rows


def arrays(chosen: list[Sample]) -> dict[str, np.ndarray]:
    """Molecules side by side, by the names of the file format."""
    offsets = np.cumsum([0] + [len(s.atomic_numbers) for s in chosen])
    return {
        "offsets": offsets,
        "atomic_numbers": np.concatenate([s.atomic_numbers for s in chosen]),
        "features": np.concatenate([features(s) for s in chosen]),
        "bonds": np.concatenate([s.bonds + start for s, start in zip(chosen, offsets)]),
        "positions": np.concatenate([s.x_1 for s in chosen]),
        "x_0": np.concatenate([s.x_0 for s in chosen]),
        "x_t": np.concatenate([s.x_t for s in chosen]),
        "target": np.concatenate([s.x_1 - s.x_0 for s in chosen]),
        "t": np.array([s.t for s in chosen]),
    }


def batch(chosen: list[Sample]) -> Batch:
    """Molecules side by side, as tensors in f32."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays(chosen).items()}
    molecules = Molecules(*(tensors[name] for name in ["offsets", "atomic_numbers", "features", "bonds"]))
    return Batch(molecules, *(tensors[name].float() for name in ["x_t", "x_0", "target", "t"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--data", type=Path, default=SAMPLE, help="a data set's folder")
    parser.add_argument("--molecules", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    save_file(arrays(samples(options.data, options.molecules, options.seed)), options.out)


if __name__ == "__main__":
    main()
