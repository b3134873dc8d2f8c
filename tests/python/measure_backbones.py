"""Measures backbones with numpy and biotite, for comparison with `qsd-eval backbones`.

    measure_backbones.py FILE...     the CA atoms of each file, which gemmi and biotite must read alike
    measure_backbones.py             a JSON list of chains, each a list of positions in Å, from standard input

Prints a JSON list: for each chain what docs/evaluation.md defines, by the names of the columns of backbones.csv.
"""

import json
import sys

import biotite.structure as struc
import biotite.structure.io.pdb as pdb
import biotite.structure.io.pdbx as pdbx
import gemmi
import numpy as np


def from_file(path):
    """CA positions, read by two programs that must agree."""
    model = gemmi.read_structure(path)[0]
    positions = np.array([atom.pos.tolist() for chain in model for residue in chain for atom in residue])
    if path.endswith(".pdb"):
        atoms = pdb.PDBFile.read(path).get_structure(model=1)
    else:
        atoms = pdbx.get_structure(pdbx.CIFFile.read(path), model=1)
    assert np.allclose(positions, atoms.coord, atol=1e-3), path
    return positions


def structure(positions):
    """The letters of P-SEA, without regard to gaps."""
    atoms = struc.AtomArray(len(positions))
    atoms.coord = positions.astype(np.float32)
    atoms.atom_name[:] = "CA"
    atoms.res_name[:] = "ALA"
    atoms.chain_id[:] = "A"
    atoms.res_id = np.arange(1, len(positions) + 1)
    return "".join(struc.annotate_sse(atoms))


def handedness(positions):
    """Helical turns, and the share of right-handed ones."""
    first, second, third, fourth = (positions[k : len(positions) - 3 + k] for k in range(4))
    angles = np.degrees([struc.angle(first, second, third), struc.angle(second, third, fourth)])
    dihedrals = np.degrees(struc.dihedral(first, second, third, fourth))
    helical = ((angles >= 77) & (angles <= 101)).all(axis=0) & (np.abs(dihedrals) >= 30) & (np.abs(dihedrals) <= 70)
    return int(helical.sum()), float(np.mean(dihedrals[helical] > 0)) if helical.any() else None


def measure(positions):
    """The row of one chain."""
    n = len(positions)
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    near = steps[steps <= 4.5]
    places = np.arange(n)
    apart = np.abs(places[:, None] - places)
    distance = np.linalg.norm(positions[:, None] - positions, axis=-1)
    radius = np.sqrt(((positions - positions.mean(axis=0)) ** 2).sum(axis=1).mean())
    letters = structure(positions)
    turns, right_handed = handedness(positions) if n > 3 else (0, None)
    return {
        "length": n,
        "ca_ca_mean": near.mean() if len(near) else None,
        "ca_ca_std": near.std(ddof=1) if len(near) > 1 else None,
        "ca_ca_median": np.sort(near)[(len(near) - 1) // 2] if len(near) else None,
        "ca_ca_min": near.min() if len(near) else None,
        "ca_ca_max": steps.max() if len(steps) else None,
        "ca_ca_good": np.mean(np.abs(near - 3.8) < 0.1) if len(near) else None,
        "breaks": int((steps > 4.5).sum()),
        "close_pairs": int(((distance < 2) & (places[:, None] < places)).sum()),
        "clashes": ((distance < 3.4) & (apart > 2)).any(axis=1).mean(),
        "radius": radius,
        "radius_ratio": radius / (2.2 * n**0.38),
        "helix": letters.count("a") / n,
        "strand": letters.count("b") / n,
        "coil": letters.count("c") / n,
        "turns": turns,
        "right_handed": right_handed,
        "structure": letters,
    }


if __name__ == "__main__":
    np.seterr(invalid="ignore")
    files = [from_file(path) for path in sys.argv[1:]]
    given = [] if files else [np.array(chain, dtype=float).reshape(-1, 3) for chain in json.load(sys.stdin)]
    json.dump([measure(positions) for positions in files or given], sys.stdout, default=float)
