#!/usr/bin/env python3
"""Is the baseline the same network? Its edges, outputs, losses and all gradients against recorded runs of ET-Flow.

The recordings are those of qsd's own tests, `tests/fixtures/et`. An error is the largest difference over a tensor
divided by the largest number of the reference's; a row states the worst tensor's. Exits with 1 if a limit is passed.
`--compile` checks the layers as `torch.compile` makes them.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

import graph
from graph import Molecules
from network import Config, EtFlow
from objective import LOSSES

FIXTURES = Path(__file__).resolve().parents[2] / "tests/fixtures/et"
RECIPES = ["drugs-o3", "drugs-so3", "qm9-so3"]
TYPES = {torch.float64: "f64", torch.float32: "f32"}
VALUE_LIMIT = {torch.float64: 1e-10, torch.float32: 1e-5}
GRADIENT_LIMIT = {torch.float64: 1e-10, torch.float32: 1e-4}
GRADIENTS = {"grad_l2": "l2", "grad_proj": "projected_mse", "grad_mse": "mse"}


class Report:
    """Prints rows and remembers whether all were within their limits."""

    def __init__(self) -> None:
        self.failed = 0
        self.rows = 0

    def row(self, what: str, error: float, limit: float) -> None:
        good = error <= limit
        self.failed += not good
        self.rows += 1
        print(f"{'ok  ' if good else 'FAIL'}  {what:56} {error:8.1e}  (limit {limit:.0e})")


def relative_error(found: Tensor, expected: Tensor) -> float:
    """max |found − expected| / max |expected|; where nothing is expected, nothing may be found."""
    found, expected = found.detach().double(), expected.double()
    if found.shape != expected.shape:
        return float("inf")
    difference, scale = (found - expected).abs().max(), expected.abs().max()
    if scale == 0:
        return 0.0 if difference == 0 else float("inf")
    error = float(difference / scale)
    return error if error == error else float("inf")


def bonds_once(index: Tensor) -> Tensor:
    """The bonds (M, 2) of an index (2, 2M) that lists both directions."""
    return index[:, index[0] < index[1]].T.long()


class Case:
    """One recorded tiny network with its input."""

    def __init__(self, recipe: str):
        self.tensors = load_file(FIXTURES / f"{recipe}.safetensors")
        self.config = Config(
            hidden=32,
            layers=3,
            heads=4,
            rbf=16,
            so3=recipe.endswith("so3"),
            output_layer_norm=recipe.startswith("qm9"),
        )

    def molecules(self, dtype: torch.dtype) -> Molecules:
        given = {name: self.tensors[f"in.{name}"] for name in ["ptr", "z", "node_attr", "bond_index"]}
        bonds = bonds_once(given["bond_index"].long())
        return Molecules(given["ptr"].long(), given["z"].long(), given["node_attr"].to(dtype), bonds)

    def network(self, dtype: torch.dtype) -> EtFlow:
        """The network with the recorded weights; a name or shape that differs is an error."""
        model = EtFlow(self.config).to(dtype)
        weights = {k.removeprefix("weights."): v.to(dtype) for k, v in self.tensors.items() if k.startswith("weights.")}
        model.load_state_dict(weights, strict=True)
        if "--compile" in sys.argv[1:]:
            model.compile_layers()
        return model


def check_edges(report: Report) -> None:
    """The index rule on sets of molecules made to be hard, and on the recorded inputs."""
    sets = load_file(FIXTURES / "graphs.safetensors")
    for name in ["mixed", "single_big", "line", "ball40", "edge_cases"]:
        of = {k.removeprefix(f"{name}."): v for k, v in sets.items() if k.startswith(f"{name}.")}
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), of["batch"].long().bincount().cumsum(0)])
        atoms = len(of["batch"])
        bonds = bonds_once(of["bond_index"].long())
        molecules = Molecules(offsets, torch.ones(atoms, dtype=torch.long), torch.zeros(atoms, 10), bonds)
        compare_edges(report, name, molecules, of["pos"], of["index.edge_index"], of["index.edge_type"])
    for recipe in RECIPES:
        case = Case(recipe)
        of = case.tensors
        molecules = case.molecules(torch.float64)
        compare_edges(report, recipe, molecules, of["in.pos_centred"], of["in.ext_edge_index"], of["in.ext_edge_type"])


def compare_edges(report: Report, name: str, molecules: Molecules, x: Tensor, index: Tensor, types: Tensor) -> None:
    found_index, found_types = graph.edges(molecules, x)
    same = torch.equal(found_index, index.long()) and torch.equal(found_types, types.long())
    report.row(f"{name}: {index.shape[1]} edges and their types", 0.0 if same else float("inf"), 0.0)


def check_network(report: Report, recipe: str, dtype: torch.dtype) -> None:
    """Prediction, losses and the gradients of every parameter under every recorded loss."""
    case = Case(recipe)
    molecules, model = case.molecules(dtype), case.network(dtype)
    x_t, t, target = (case.tensors[f"in.{name}"].to(dtype) for name in ["x_t", "t", "u_t"])
    v = model(molecules, x_t, t.flatten())
    label = f"{recipe} {TYPES[dtype]}"
    report.row(f"{label}: prediction v", relative_error(v, case.tensors["out.v"]), VALUE_LIMIT[dtype])
    for kind, loss_name in GRADIENTS.items():
        if not any(key.startswith(f"{kind}.") for key in case.tensors):
            continue
        # Forward anew: a compiled network's record serves one way back only.
        loss = LOSSES[loss_name](molecules, model(molecules, x_t, t.flatten()), target, x_t)
        expected = case.tensors[{"l2": "out.loss_l2", "mse": "out.loss_mse"}.get(loss_name, "out.loss_proj_mse")]
        report.row(f"{label}: loss {loss_name}", relative_error(loss.reshape(1), expected), VALUE_LIMIT[dtype])
        names, parameters = zip(*model.named_parameters())
        gradients = torch.autograd.grad(loss, parameters)
        errors = [relative_error(g, case.tensors[f"{kind}.{name}"]) for name, g in zip(names, gradients)]
        # The recorded gradients of the plain squared error are f32 themselves.
        limit = max(GRADIENT_LIMIT[dtype], 1e-5) if kind == "grad_mse" else GRADIENT_LIMIT[dtype]
        report.row(f"{label}: gradients of {loss_name}, {len(errors)} parameters", max(errors), limit)


def check_planar(report: Report, dtype: torch.dtype) -> None:
    """Planar molecules, where the head's rule about exact zeros shows."""
    tensors = load_file(FIXTURES / "planar.safetensors")
    for recipe in ["drugs-o3", "drugs-so3"]:
        case = Case(recipe)
        of = {k.removeprefix(f"{recipe}."): v for k, v in tensors.items() if k.startswith(f"{recipe}.")}
        planar = of["planar.pos"].double()
        turned = planar @ of["rotation"].double().T
        t = case.tensors["in.t"].to(dtype).flatten()
        model, molecules = case.network(dtype), case.molecules(dtype)
        for x, name in [(planar, "planar.v"), (turned, "planar_rotated.v")]:
            error = relative_error(model(molecules, x.to(dtype), t), of[name])
            report.row(f"{recipe} {TYPES[dtype]}: {name}", error, VALUE_LIMIT[dtype])


def check_size(report: Report) -> None:
    """The full networks have as many parameters as the published ones."""
    for so3, expected in [(False, 8_337_329), (True, 9_063_729)]:
        found = sum(p.numel() for p in EtFlow(Config(so3=so3)).parameters())
        report.row(f"drugs-{'so3' if so3 else 'o3'}: {found} parameters", abs(found - expected), 0.0)


def main() -> int:
    torch.manual_seed(0)
    report = Report()
    check_size(report)
    check_edges(report)
    for dtype in TYPES:
        for recipe in RECIPES:
            check_network(report, recipe, dtype)
        check_planar(report, dtype)
    print(f"{report.rows - report.failed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
