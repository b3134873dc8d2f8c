"""Reads a shard with pyarrow alone and computes the atom features of its molecules with RDKit alone.

    rdkit_features.py SHARD

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


def molecule(smiles):
    options = Chem.SmilesParserParams()
    options.removeHs = False
    mol = Chem.MolFromSmiles(smiles, options)
    order = sorted(range(mol.GetNumAtoms()), key=lambda i: mol.GetAtomWithIdx(i).GetAtomMapNum())
    return Chem.RenumberAtoms(mol, order)


def describe(row):
    mol = molecule(row["smiles"])
    return {
        "key": row["key"],
        "atomic_numbers": [atom.GetAtomicNum() for atom in mol.GetAtoms()],
        "features": features(mol),
        "bonds": [[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()] for bond in mol.GetBonds()],
        "conformers": len(row["weights"]),
        "sum": sum(row["positions"]),
    }


with pa.ipc.open_file(sys.argv[1]) as reader:
    print(json.dumps([describe(row) for row in reader.read_all().to_pylist()]))
