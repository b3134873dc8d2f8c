#!/usr/bin/env python3
"""Is the protein baseline the same network? Its outputs, losses, gradients, steps against recorded runs of Proteina.

The recordings (`--oracle FOLDER`) are those of qsd's own tests, `tests/fixtures/protein`: a tiny network's weights
and inputs, and in f64 and f32 what came out. An error is the largest difference over a tensor divided by the largest
number of the reference's; a row states the worst tensor's. Exits with 1 if a limit is passed. `--compile` checks the
parts as `torch.compile` makes them.
"""

import argparse
import sys
from pathlib import Path

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


class Oracle:
    """A folder of recordings of the tiny network."""

    def __init__(self, folder: Path, compiled: bool):
        self.folder, self.compiled = folder, compiled
        self.inputs = self.load("inputs")

    def load(self, name: str) -> dict[str, Tensor]:
        """The tensors of a recording."""
        return load_file(self.folder / f"tiny_{name}.safetensors")

    def network(self, dtype: torch.dtype) -> ProteinNetwork:
        """The network with the recorded weights; a name or shape that differs is an error."""
        model = ProteinNetwork(TINY).to(dtype)
        model.load_state_dict({k: v.to(dtype) for k, v in self.load("weights").items()}, strict=True)
        if self.compiled:
            # Anew for every check: PyTorch gives up on what it has compiled in many variants.
            torch.compiler.reset()
            model.compile_parts()
        return model

    def chains(self, case: str) -> Chains:
        """The recorded chains, with what a case tells of them."""
        unknown = Chains.unknown(self.inputs["mask"], TINY)
        if case == "defaults":
            return unknown
        folds = self.inputs["cath_index"] if case == "fold" else unknown.folds
        return Chains(
            self.inputs["mask"], self.inputs["residue_pdb_idx"], self.inputs["chain_breaks_per_residue"], folds
        )


def check_case(report: Report, oracle: Oracle, case: str, dtype: torch.dtype) -> None:
    """Output, x̂_1, loss, and every parameter's gradient (not recorded for `defaults`)."""
    expected = oracle.load(f"{TYPES[dtype]}_{case}")
    model, chains = oracle.network(dtype), oracle.chains(case)
    x_1, x_t, t, x_sc = (oracle.inputs[name].to(dtype) for name in ["x_1", "x_t", "t", "x_sc"])
    u = model(chains, x_t, t, x_sc if case in ["sc", "fold"] else None)
    estimated = estimate(x_t, t, u)
    value = loss(chains, x_1, estimated, t)
    label = f"{case} {TYPES[dtype]}"
    results = {"nn_out": u, "x_1_pred": estimated, "loss.total": value}
    for name, found in results.items():
        report.row(f"{label}: {name}", relative_error(found, expected[name]), VALUE_LIMIT[dtype])
    if case == "defaults":
        return
    names, parameters = zip(*(p for p in model.named_parameters() if not p[0].endswith(WITHOUT_GRADIENT)))
    gradients = torch.autograd.grad(value, parameters)
    errors = [relative_error(g, expected[f"grad.{name}"]) for name, g in zip(names, gradients)]
    report.row(f"{label}: gradients of {len(errors)} parameters", max(errors), GRADIENT_LIMIT[dtype])


def check_training(report: Report, oracle: Oracle) -> None:
    """Three steps in f64: losses, norms before clipping, weights and their average at the end."""
    dtype = torch.float64
    expected = oracle.load("train3_f64")
    model, chains = oracle.network(dtype), oracle.chains("nosc")
    trainer = Trainer(model, rate=1e-3)
    x_1 = oracle.inputs["x_1"].to(dtype)
    for step in range(3):
        at = {name: expected[f"step{step}.{name}"] for name in ["x_t", "t", "loss", "grad_norm_before_clip"]}
        value = trainer.step(chains, x_1, at["x_t"], at["t"], self_condition=f"step{step}.x_sc" in expected)
        label = f"training step {step} f64"
        for name, found in [("loss", value), ("grad_norm_before_clip", trainer.norm)]:
            report.row(f"{label}: {name}", relative_error(torch.tensor(found, dtype=dtype), at[name]), VALUE_LIMIT[dtype])
    names = [name for name, _ in model.named_parameters()]
    for kind, tensors in [("param", trainer.parameters), ("ema", trainer.average)]:
        errors = [
            relative_error(found, expected[f"{kind}.{name}"])
            for name, found in zip(names, tensors)
            if not name.endswith(WITHOUT_GRADIENT)
        ]
        report.row(f"after 3 steps f64: {kind} of {len(errors)} parameters", max(errors), 1e-10)


def check_sampling(report: Report, oracle: Oracle, kind: str, gamma: float | None) -> None:
    """Eight steps in f64, the noise as recorded."""
    expected = oracle.load(f"sampler_{kind}_f64")
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
    if not (options.oracle / "tiny_weights.safetensors").exists():
        sys.exit(f"{options.oracle}: no tiny_weights.safetensors; give the recordings' folder with --oracle")
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
