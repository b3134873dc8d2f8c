"""Cuts the ET-Flow oracle down to what the tests compare with.

    python trim_et_fixtures.py <oracle folder> <output folder>

The oracle holds runs of the reference implementation (PyTorch) of tiny networks: tiny_<recipe>_f64 and
tiny_<recipe>_f32 with inputs (in.*), intermediates (int.*), outputs (out.*), weights and gradients; and edges of
awkward point sets (radius_graph) and planar molecules (quirks). Weights and inputs are bit-equal in f32 and f64.
"""

import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

RECIPES = ["drugs-o3", "drugs-so3", "qm9-so3"]
INPUTS = ["z", "ptr", "bond_index", "node_attr", "t", "x_t", "pos_centred", "u_t", "ext_edge_index", "ext_edge_type"]
OUTPUTS = ["v", "Px_residual", "loss_l2", "loss_mse", "loss_proj_mse"]


def load(path):
    with safe_open(path, "np") as file:
        return {key: file.get_tensor(key) for key in file.keys()}


def compact(array):
    """Integers in 32 bits, and contiguous."""
    array = np.ascontiguousarray(array)
    return array.astype(np.uint32) if array.dtype == np.int64 else array


def recipe(oracle, name):
    # What says little more in a second recipe is kept in one: edges (all recipes have the same), the projections
    # of the vectors, and the gradient of the plain squared error.
    first, last = name == RECIPES[0], name == RECIPES[-1]
    f64 = load(oracle / f"tiny_{name}_f64.safetensors")
    f32 = load(oracle / f"tiny_{name}_f32.safetensors")
    kept = {}
    for key, value in f64.items():
        kind, _, rest = key.partition(".")
        if kind == "in" and rest in INPUTS:
            # Inputs are f32 numbers in both files, except for those computed from them.
            kept[key] = value.astype(np.float32) if rest in ("node_attr", "t", "x_t", "u_t") else value
        elif kind == "int" and (first or not rest.startswith("edge_") and rest != "l1.vecproj"):
            kept[key] = value
        elif kind == "out" and rest in OUTPUTS or kind in ("weights", "grad_l2", "grad_proj"):
            kept[key] = value
    for key in ("node_attr", "t", "x_t", "u_t"):
        assert (kept[f"in.{key}"].astype(np.float64) == f64[f"in.{key}"]).all(), key
    kept.update({key: value for key, value in f32.items() if last and key.startswith("grad_mse.")})
    kept["f32.out.v"] = f32["out.v"]
    return kept


def main(oracle, output):
    output.mkdir(parents=True, exist_ok=True)
    files = {name: recipe(oracle, name) for name in RECIPES}
    graphs = load(oracle / "radius_graph.safetensors")
    wanted = ("pos", "batch", "bond_index", "index.edge_index", "index.edge_type")
    files["graphs"] = {key: value for key, value in graphs.items() if key.partition(".")[2] in wanted}
    files["planar"] = load(oracle / "quirks.safetensors")
    for name, tensors in files.items():
        path = output / f"{name}.safetensors"
        save_file({key: compact(value) for key, value in tensors.items()}, path)
        path.chmod(0o644)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
