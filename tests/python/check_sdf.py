#!/usr/bin/env python3
"""How sane are the conformers in an SDF file? Reads every record with RDKit and prints, as JSON:

  records   how many there are
  unread    how many RDKit refuses
  bonds     share of bonds whose length is within 15 % of the sum of the covalent radii
  molecules share of conformers in which every bond is within 25 % of it
  clashes   share of conformers in which two atoms that are not bonded come closer than 1.3 times the radii
"""

import json
import sys

import numpy as np
from rdkit import Chem, RDLogger

RDLogger.DisableLog("rdApp.*")


def main(path):
    table = Chem.GetPeriodicTable()
    records = unread = bonds = good_bonds = good_molecules = clashing = 0
    for mol in Chem.SDMolSupplier(path, removeHs=False):
        records += 1
        if mol is None:
            unread += 1
            continue
        positions = mol.GetConformer().GetPositions()
        radii = np.array([table.GetRcovalent(atom.GetAtomicNum()) for atom in mol.GetAtoms()])
        ratio = np.linalg.norm(positions[:, None] - positions[None], axis=-1) / (radii[:, None] + radii[None])
        bonded = Chem.GetAdjacencyMatrix(mol).astype(bool)
        lengths = ratio[np.triu(bonded)]
        bonds += len(lengths)
        good_bonds += int(np.sum(np.abs(lengths - 1) < 0.15))
        good_molecules += bool(np.all(np.abs(lengths - 1) < 0.25))
        clashing += bool(np.any(ratio[np.triu(~bonded, k=1)] < 1.3))
    read = max(records - unread, 1)
    report = {
        "records": records,
        "unread": unread,
        "bonds": good_bonds / max(bonds, 1),
        "molecules": good_molecules / read,
        "clashes": clashing / read,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
