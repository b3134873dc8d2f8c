"""Reads shards with pyarrow alone and computes the atom features of its molecules with RDKit alone.

    rdkit_features.py SHARD...

Prints a JSON list: per molecule its key, atomic numbers, features (one list of 10 per atom), the ends of the bonds,
number of conformers, and the sum of all coordinates. The graph is read from the column `smiles`.
"""

import json
import sys

import pyarrow as pa
from rdkit import Chem

HYBRIDISATIONS = ["SP", "SP2", "SP3", "SP3D", "SP3D2"]


def category(value, known):
    """Place of a value in the list of known ones; one past the end for others."""
    return known.index(value) if value in known else len(known)


def features(mol):
    rings = mol.GetRingInfo()
    return [
        [
            4,
            category(atom.GetTotalDegree(), list(range(11))),
            category(atom.GetFormalCharge(), list(range(-5, 6))),
            category(atom.GetValence(Chem.ValenceType.IMPLICIT), list(range(7))),
            category(atom.GetTotalNumHs(), list(range(9))),
            category(str(atom.GetHybridization()), HYBRIDISATIONS),
            category(atom.GetNumRadicalElectrons(), list(range(5))),
            int(atom.GetIsAromatic()),
            int(atom.IsInRing()),
            sum(rings.IsAtomInRingOfSize(atom.GetIdx(), size) for size in (3, 4, 5, 6)),
        ]
        for atom in mol.GetAtoms()
    ]


def describe(row):
    options = Chem.SmilesParserParams()
    options.removeHs = False
    mol = Chem.MolFromSmiles(row["smiles"], options)
    # The molecule itself is not renumbered: that would lose the rings that RDKit adds for symmetry.
    place = [atom.GetAtomMapNum() - 1 for atom in mol.GetAtoms()]
    order = sorted(range(len(place)), key=place.__getitem__)
    features_of = features(mol)
    return {
        "key": row["key"],
        "atomic_numbers": [mol.GetAtomWithIdx(i).GetAtomicNum() for i in order],
        "features": [features_of[i] for i in order],
        "bonds": [[place[bond.GetBeginAtomIdx()], place[bond.GetEndAtomIdx()]] for bond in mol.GetBonds()],
        "conformers": len(row["weights"]),
        "sum": sum(row["positions"]),
    }


def rows(path):
    with pa.ipc.open_file(path) as reader:
        return reader.read_all().to_pylist()


print(json.dumps([describe(row) for path in sys.argv[1:] for row in rows(path)]))
