"""Coverage and matching of generated conformers, by RDKit: COV and AMR as the field defines them.

    compare_ensembles.py REFERENCES.sdf GENERATED.sdf THRESHOLD

Records of one molecule have the same title in both files. Prints means over molecules as JSON.
"""

import collections
import json
import sys

import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem import rdMolAlign

RDLogger.DisableLog("rdApp.*")


def ensembles(path):
    groups = collections.defaultdict(list)
    for molecule in Chem.SDMolSupplier(path, removeHs=False):
        groups[molecule.GetProp("_Name")].append(Chem.RemoveHs(molecule))
    return groups


references, generated = ensembles(sys.argv[1]), ensembles(sys.argv[2])
threshold = float(sys.argv[3])
assert references.keys() == generated.keys()
rows = []
for key, conformers in references.items():
    rmsd = np.array([[rdMolAlign.GetBestRMS(Chem.Mol(sample), conformer) for sample in generated[key]] for conformer in conformers])
    recall, precision = rmsd.min(1), rmsd.min(0)
    rows.append([(recall < threshold).mean(), (precision < threshold).mean(), recall.mean(), precision.mean()])
names = ["cov_recall", "cov_precision", "amr_recall", "amr_precision"]
json.dump(dict(zip(names, np.mean(rows, 0))), sys.stdout)
