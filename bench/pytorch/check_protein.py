#!/usr/bin/env python3
"""Is the protein baseline the same network? Its outputs, losses, gradients, steps against recorded runs of Proteina.

The recordings (`--oracle FOLDER`) are those of qsd's own tests, `tests/fixtures/protein`: a tiny network's inputs, and
in f64 and f32 what came out, the chains' residues one after the other. Its weights follow from their names. An error is
the largest difference over a tensor divided by the largest number of the reference's; a row states the worst tensor's.
Exits with 1 if a limit is passed. `--compile` checks the parts as `torch.compile` makes them.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from check_oracle import TYPES, Report, relative_error
from protein_network import Chains, Config, ProteinNetwork
from protein_objective import Sampler, Trainer, estimate, loss

FIXTURES = Path(__file__).resolve().parents[2] / "tests/fixtures/protein"
CASES = ["nosc", "sc", "fold", "defaults"]
VALUE_LIMIT = {torch.float64: 1e-12, torch.float32: 1e-5}
GRADIENT_LIMIT = {torch.float64: 1e-12, torch.float32: 1e-4}
WITH_GRADIENTS = {torch.float64: ["nosc", "sc", "fold"], torch.float32: ["sc"]}
# A softmax does not change with what all its numbers share: recorded gradients of these are round-off.
WITHOUT_GRADIENT = ("pair_norm.bias", "k_layer_norm.bias")

TINY = Config(
    token=32,
    layers=2,
    heads=4,
    pair=20,
    condition=24,
    registers=3,
    index=12,
    time=16,
    fold=8,
    separations=21,
    distances=16,
    fed_back_distances=20,
    classes=(3, 5, 9),
)


def synthetic(name: str, shape: torch.Size) -> Tensor:
    """The recorded network's parameter of a name: base + scale u in f32, u from −1 to 1 by a hash of name and place."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    z = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(h)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    u = 2.0 * ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float64) * 2.0**-24 - 1.0
    if name == "registers":
        base, scale = 0.0, 0.2
    elif "embedding_" in name:
        base, scale = 0.0, 1.0
    elif len(shape) == 2:
        base, scale = 0.0, math.sqrt(3.0 / shape[1]) * (2.0 if name.endswith("swish_linear.0.weight") else 1.0)
    elif name.endswith("to_adaln_zero_gamma.0.bias"):
        base, scale = -1.0, 0.5
    else:
        base, scale = (1.0, 0.3) if name.endswith("weight") else (0.0, 0.2)
    return torch.from_numpy((base + scale * u).astype(np.float32)).reshape(shape)


class Oracle:
    """A folder of recordings of the tiny network."""

    def __init__(self, folder: Path, compiled: bool):
        self.folder, self.compiled = folder, compiled
        self.inputs = self.load("tiny_inputs")
        lengths = self.inputs["lengths"]
        self.mask = torch.arange(int(lengths.max())) < lengths[:, None]

    def load(self, name: str) -> dict[str, Tensor]:
        """The tensors of a recording."""
        return load_file(self.folder / f"{name}.safetensors")

    def padded(self, rows: Tensor) -> Tensor:
        """What residues one after the other have, (B, L, …), zero where there are none."""
        out = rows.new_zeros(*self.mask.shape, *rows.shape[1:])
        out[self.mask] = rows
        return out

    def network(self, dtype: torch.dtype) -> ProteinNetwork:
        """The network with the recorded weights."""
        model = ProteinNetwork(TINY).to(dtype)
        model.load_state_dict({name: synthetic(name, p.shape).to(dtype) for name, p in model.named_parameters()})
        if self.compiled:
            # Anew for every check: PyTorch gives up on what it has compiled in many variants.
            torch.compiler.reset()
            model.compile_parts()
        return model

    def chains(self, case: str) -> Chains:
        """The recorded chains, with what a case tells of them."""
        unknown = Chains.unknown(self.mask, TINY)
        if case == "defaults":
            return unknown
        numbers = self.padded(self.inputs["residue_pdb_idx"]).squeeze(-1).long()
        breaks = self.padded(self.inputs["chain_breaks_per_residue"]).squeeze(-1).bool()
        folds = self.inputs["cath_index"].long() if case == "fold" else unknown.folds
        return Chains(self.mask, numbers, breaks, folds)


def check_case(report: Report, oracle: Oracle, case: str, dtype: torch.dtype) -> None:
    """Output, x̂_1, loss, and every parameter's gradient where the case has them."""
    prefix = "f32." if dtype == torch.float32 else ""
    expected = oracle.load(f"tiny_{case}")
    model, chains = oracle.network(dtype), oracle.chains(case)
    x_1, x_t, x_sc = (oracle.padded(oracle.inputs[name]).to(dtype) for name in ["x_1", "x_t", "x_sc"])
    t = oracle.inputs["t"].to(dtype)
    u = model(chains, x_t, t, x_sc if case in ["sc", "fold"] else None)
    estimated = estimate(x_t, t, u)
    value = loss(chains, x_1, estimated, t)
    label = f"{case} {TYPES[dtype]}"
    results = {"nn_out": u[oracle.mask], "x_1_pred": estimated[oracle.mask], "loss.total": value}
    for name, found in results.items():
        report.row(f"{label}: {name}", relative_error(found, expected[prefix + name]), VALUE_LIMIT[dtype])
    if case not in WITH_GRADIENTS[dtype]:
        return
    names, parameters = zip(*(p for p in model.named_parameters() if not p[0].endswith(WITHOUT_GRADIENT)))
    gradients = torch.autograd.grad(value, parameters)
    errors = [relative_error(g, expected[f"{prefix}grad.{name}"]) for name, g in zip(names, gradients)]
    report.row(f"{label}: gradients of {len(errors)} parameters", max(errors), GRADIENT_LIMIT[dtype])


def check_training(report: Report, oracle: Oracle) -> None:
    """Three steps in f64: losses, norms before clipping, at the end weights and a fourth of their average's numbers."""
    dtype = torch.float64
    expected = oracle.load("train3")
    model, chains = oracle.network(dtype), oracle.chains("nosc")
    trainer = Trainer(model, rate=1e-3)
    x_1 = oracle.padded(oracle.inputs["x_1"]).to(dtype)
    for step in range(3):
        at = {name: expected[f"step{step}.{name}"] for name in ["x_t", "t", "loss", "grad_norm_before_clip"]}
        fed_back = f"step{step}.x_sc" in expected
        value = trainer.step(chains, x_1, oracle.padded(at["x_t"]), at["t"], self_condition=fed_back)
        label = f"training step {step} f64"
        for name, found in [("loss", value), ("grad_norm_before_clip", trainer.norm)]:
            error = relative_error(torch.tensor(found, dtype=dtype), at[name])
            report.row(f"{label}: {name}", error, VALUE_LIMIT[dtype])
    names = [name for name, _ in model.named_parameters()]
    for kind, tensors in [("param", trainer.parameters), ("ema", [a.flatten()[::4] for a in trainer.average])]:
        errors = [
            relative_error(found, expected[f"{kind}.{name}"])
            for name, found in zip(names, tensors)
            if not name.endswith(WITHOUT_GRADIENT)
        ]
        report.row(f"after 3 steps f64: {kind} of {len(errors)} parameters", max(errors), 1e-10)


def check_sampling(report: Report, oracle: Oracle, kind: str, gamma: float | None) -> None:
    """Eight steps in f64, the noise as recorded."""
    expected = oracle.load(f"sampler_{kind}")
    chains = Chains.unknown(torch.ones(expected["x_0_raw"].shape[:2], dtype=torch.bool), TINY)
    sampler = Sampler(oracle.network(torch.float64), 8, gamma)
    x, fed_back, errors = chains.centred(expected["x_0_raw"]), None, []
    with torch.no_grad():
        for k in range(8):
            noise = expected.get(f"eps{k}", torch.zeros_like(x))
            x, fed_back = sampler.step(k, chains, x, fed_back, noise)
            errors.append(relative_error(x, expected[f"step{k}.x_next"]))
            errors.append(relative_error(fed_back, expected[f"step{k}.x_1_pred"]))
    errors.append(relative_error(x, expected["x_final"]))
    report.row(f"sampling f64: 8 steps, {kind}", max(errors), 1e-10)


def check_size(report: Report) -> None:
    """The full network has as many parameters as the published one."""
    found = sum(p.numel() for p in ProteinNetwork(Config()).parameters())
    report.row(f"protein-60m: {found} parameters", abs(found - 64_995_584), 0.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", type=Path, default=FIXTURES, help="the recordings' folder")
    parser.add_argument("--compile", action="store_true", help="with compiled parts")
    options = parser.parse_args()
    if not (options.oracle / "tiny_inputs.safetensors").exists():
        sys.exit(f"{options.oracle}: no tiny_inputs.safetensors; give the recordings' folder with --oracle")
    torch.manual_seed(0)
    report = Report()
    oracle = Oracle(options.oracle, options.compile)
    check_size(report)
    for dtype in TYPES:
        for case in CASES:
            check_case(report, oracle, case, dtype)
    check_training(report, oracle)
    for kind, gamma in [("vf", None), ("sc", 0.45)]:
        check_sampling(report, oracle, kind, gamma)
    print(f"{report.rows - report.failed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
