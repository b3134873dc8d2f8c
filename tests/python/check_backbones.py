#!/usr/bin/env python3
"""How protein-like are backbones? Compares sampled files with the chains of a data set, as a Markdown table.

    check_backbones.py SAMPLES_FOLDER DATA_SET [SPLIT]      (--json for the numbers alone)

  chains     how many; of the samples, every .pdb and .cif file of the folder, each read with gemmi and with biotite
  CA-CA      distance of residues that follow each other: mean ± standard deviation, and the share within 0.1 Å of 3.8
  clashes    share of residues nearer than 3.4 Å to one that is more than two places away in the chain
  radius     radius of gyration over 2.2 N^0.38 Å, what folded chains of N residues have on average
  helix …    shares of secondary structure by P-SEA (biotite)
Chain breaks of the data set (beyond 4.5 Å) are not counted as distances.
"""

import json
import sys
from pathlib import Path

import biotite.structure as struc
import biotite.structure.io.pdb as pdb
import biotite.structure.io.pdbx as pdbx
import gemmi
import numpy as np
import pyarrow.ipc

BREAK = 4.5


def from_files(folder: Path) -> list[np.ndarray]:
    """The CA positions of every file, read by two programs that must agree."""
    chains = []
    for path in sorted([*folder.glob("*.pdb"), *folder.glob("*.cif")]):
        model = gemmi.read_structure(str(path))[0]
        first = np.array([atom.pos.tolist() for chain in model for residue in chain for atom in residue])
        if path.suffix == ".pdb":
            atoms = pdb.PDBFile.read(str(path)).get_structure(model=1)
        else:
            atoms = pdbx.get_structure(pdbx.CIFFile.read(str(path)), model=1)
        if not np.allclose(first, atoms.coord, atol=1e-3):
            raise SystemExit(f"{path}: gemmi and biotite read other positions")
        chains.append(first)
    return chains


def from_data(folder: Path, split: str) -> list[np.ndarray]:
    """The CA positions of a data set's chains."""
    chains = []
    for path in sorted(folder.glob(f"{split}-*.arrow")):
        for row in pyarrow.ipc.open_file(str(path)).read_all().column("positions").to_pylist():
            chains.append(np.array(row).reshape(-1, 3))
    return chains


def structure(chain: np.ndarray) -> np.ndarray:
    """Shares of helix, strand and coil."""
    atoms = struc.AtomArray(len(chain))
    atoms.coord = chain.astype(np.float32)
    atoms.atom_name[:] = "CA"
    atoms.res_name[:] = "ALA"
    atoms.chain_id[:] = "A"
    atoms.res_id = np.arange(1, len(chain) + 1)
    letters = struc.annotate_sse(atoms)
    return np.array([np.mean(letters == letter) for letter in "abc"])


def describe(chains: list[np.ndarray]) -> dict[str, float]:
    """The numbers of a table's row."""
    steps = np.concatenate([np.linalg.norm(np.diff(chain, axis=0), axis=1) for chain in chains])
    steps = steps[steps < BREAK]
    clashing, radii, shares = [], [], []
    for chain in chains:
        places = np.arange(len(chain))
        apart = np.abs(places[:, None] - places) > 2
        distance = np.linalg.norm(chain[:, None] - chain, axis=-1)
        clashing.append(((distance < 3.4) & apart).any(axis=1))
        centred = chain - chain.mean(axis=0)
        radii.append(np.sqrt((centred**2).sum(axis=1).mean()) / (2.2 * len(chain) ** 0.38))
        shares.append(structure(chain))
    helix, strand, coil = np.mean(shares, axis=0)
    return {
        "chains": len(chains),
        "step_mean": float(steps.mean()),
        "step_deviation": float(steps.std()),
        "step_good": float(np.mean(np.abs(steps - 3.8) < 0.1)),
        "clashes": float(np.concatenate(clashing).mean()),
        "radius": float(np.mean(radii)),
        "radius_deviation": float(np.std(radii)),
        "helix": float(helix),
        "strand": float(strand),
        "coil": float(coil),
    }


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    samples, data, split = Path(words[0]), Path(words[1]), (words[2:] or ["train"])[0]
    rows = {"sampled": describe(from_files(samples)), f"{data.name}, {split}": describe(from_data(data, split))}
    if "--json" in sys.argv:
        print(json.dumps(rows))
        return
    print("| | chains | CA-CA, Å | within 0.1 Å of 3.8 | clashes | radius | helix | strand | coil |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, row in rows.items():
        print(
            f"| {name} | {row['chains']} | {row['step_mean']:.2f} ± {row['step_deviation']:.2f} "
            f"| {row['step_good']:.0%} | {row['clashes']:.1%} | {row['radius']:.2f} ± {row['radius_deviation']:.2f} "
            f"| {row['helix']:.0%} | {row['strand']:.0%} | {row['coil']:.0%} |"
        )


if __name__ == "__main__":
    main()
