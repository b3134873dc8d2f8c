#!/usr/bin/env python3
"""Coverage and matching by RDKit and numpy alone, as the field computes them; prints JSON by molecule.

    covmat.py REFERENCE.sdf GENERATED.sdf PER_REFERENCE

Molecules go by the property SMILES. Of K reference conformers the first PER_REFERENCE * K generated ones count (0: all).
"""

import json
import sys
from collections import defaultdict

import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem import rdMolAlign

RDLogger.DisableLog("rdApp.*")


def read(path):
    """Heavy-atom molecules by SMILES."""
    found = defaultdict(list)
    for mol in Chem.SDMolSupplier(path, removeHs=False):
        found[mol.GetProp("SMILES")].append(Chem.RemoveHs(mol))
    return found


def best(generated, reference):
    try:
        return rdMolAlign.GetBestRMS(generated, reference)
    except RuntimeError:
        return np.nan


def main(reference, generated, per_reference):
    references, samples = read(reference), read(generated)
    thresholds = np.arange(0.05, 3.05, 0.05)
    found = {}
    for key in references.keys() & samples.keys():
        count = per_reference * len(references[key]) or len(samples[key])
        if len(samples[key]) < count:
            continue
        rmsd = np.array([[best(Chem.Mol(g), r) for g in samples[key][:count]] for r in references[key]])
        if np.isnan(rmsd).all():
            continue
        rows, columns = np.nanmin(rmsd, axis=1), np.nanmin(rmsd, axis=0)
        found[key] = {
            "heavy_atoms": references[key][0].GetNumAtoms(),
            "cov_recall": [float((rows < t).mean()) for t in thresholds],
            "cov_precision": [float((columns < t).mean()) for t in thresholds],
            "amr_recall": float(rows.mean()),
            "amr_precision": float(columns.mean()),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
