"""Computes scRMSDs once more, by biotite: check_designability.py OUT INPUT_FOLDER_PARENT. Prints how many were compared."""

import csv
import sys
from pathlib import Path

import biotite.structure as struc
import biotite.structure.io.pdb as pdb
import numpy as np


def trace(path: Path) -> np.ndarray:
    atoms = pdb.PDBFile.read(str(path)).get_structure(model=1)
    return atoms.coord[atoms.atom_name == "CA"].astype(np.float64)


out, parent = Path(sys.argv[1]), Path(sys.argv[2])
compared = 0
for row in csv.DictReader((out / "designability.csv").open()):
    if row["failure"]:
        continue
    backbone, structure = trace(parent / row["file"]), trace(out / row["best_structure"])
    moved, _ = struc.superimpose(backbone, structure)
    rmsd = float(struc.rmsd(backbone, moved))
    scores = [float(score) for score in row["sc_rmsds"].split()]
    assert abs(rmsd - float(row["sc_rmsd"])) < 1e-3, (row, rmsd)
    assert float(row["sc_rmsd"]) == min(scores), row
    assert row["designable"] == str(min(scores) < 2).lower(), row
    assert len(row["best_sequence"]) == int(row["length"]) == len(backbone), row
    compared += 1
print(compared)
