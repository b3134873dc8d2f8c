"""Makes a tiny folder in the form of GEOM's rdkit_folder, with every fault that the preparation counts.

    make_geom_folder.py FOLDER

Writes FOLDER/rdkit_folder/qm9/*.pickle, FOLDER/split.npy, and FOLDER/expected.json: per split the keys of the molecules
that must come through, in order, with the weights their conformers must have. Beside them FOLDER/test_mols.pkl, test
molecules of which some have reacted, and FOLDER/corrected.csv, the list of what is to be evaluated.
"""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem import AllChem

GOOD = [
    "CCO", "C[C@H](O)F", "C[C@@H](O)F", "c1ccoc1", "CC(=O)[O-]", "C[NH3+]", "C#N", "O", "C1CC1", "N[C@@H](C)C(=O)O",
    "CC=CC", "C1CCNCC1", "c1ccncc1", "CS(=O)C", "OC[C@@H]1CO1", "[O-][N+](=O)C", "F/C=C/F", "CC(C)C", "NC=O", "CNC",
]  # fmt: skip


def conformers(smiles, count):
    """Species-dictionary entries with falling weights, shuffled."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    ids = list(AllChem.EmbedMultipleConfs(mol, count, randomSeed=7))
    weights = np.arange(len(ids), 0, -1) / (len(ids) * (len(ids) + 1) / 2)
    entries = []
    for rank, conformer in enumerate(ids):
        one = Chem.Mol(mol, confId=conformer)
        one.RemoveAllConformers()
        one.AddConformer(mol.GetConformer(conformer), assignId=True)
        entries.append({"rd_mol": one, "boltzmannweight": float(weights[rank]), "relativeenergy": 0.5 * rank})
    return entries[::-1]


def species(key, entries):
    return pickle.dumps({"smiles": key, "conformers": entries}, protocol=3)


def faulty():
    """Pickle contents by name; each must be dropped."""
    differing = conformers("CCO", 1) + conformers("CCF", 1)
    lost = conformers("CCC", 1)
    lost[0]["rd_mol"].GetConformer().SetAtomPosition(0, (float("nan"), 0.0, 0.0))
    return {
        "x_disconnected": species("C.O", conformers("C.O", 1)),
        "x_differing": species("CCO", differing),
        "x_empty": species("CC", []),
        "x_lost": species("CCC", lost),
        "x_truncated": species("CC", conformers("CC", 1))[:100],
        "x_no_dictionary": pickle.dumps([1, 2, 3]),
    }


def write_test_mols(folder):
    """Ethanol with an ether among its conformers, butene (cis and trans count alike), a molecule that has reacted in all
    of its conformers, and one that the list lacks."""
    mols = {
        "CCO": [structure("CCO"), structure("COC"), structure("CCO")],
        "C/C=C/C": [structure("C/C=C/C"), structure("C/C=C\\C")],
        "CC=O": [structure("C=CO")],
        "CCC": [structure("CCC")],
    }
    (folder / "test_mols.pkl").write_bytes(pickle.dumps(mols, protocol=3))
    rows = ["smiles,n_conformers,corrected_smiles", "CCO,3,CCO", "C/C=C/C,2,C/C=C/C", "CC=O,1,CC=O"]
    (folder / "corrected.csv").write_text("\n".join(rows) + "\n")


def structure(smiles):
    return conformers(smiles, 1)[0]["rd_mol"]


def main(folder):
    pickles = folder / "rdkit_folder" / "qm9"
    pickles.mkdir(parents=True)
    ensembles = {}
    for number, key in enumerate(GOOD):
        entries = conformers(key, 1 + number % 5)
        name = key.replace("/", "_")
        ensembles[name] = (key, sorted((e["boltzmannweight"] for e in entries), reverse=True))
        if key == "CNC":  # newer folders lack the weights of some: those of the energies stand in
            for entry in entries:
                del entry["boltzmannweight"]
            factors = np.exp(-np.array([0.5 * rank for rank in range(len(entries))]) / (1.987204259e-3 * 298.15))
            ensembles[name] = (key, list(factors / factors.sum()))
        (pickles / (name + ".pickle")).write_bytes(species(key, entries))
    for name, content in faulty().items():
        (pickles / (name + ".pickle")).write_bytes(content)
    names = sorted(path.name for path in pickles.iterdir())
    order = np.random.default_rng(3).permutation(len(names))
    parts = np.split(order, [18, 22])
    split = np.empty(3, dtype=object)
    split[:] = parts
    write_test_mols(folder)
    np.save(folder / "split.npy", split, allow_pickle=True)
    stems = [[names[i].removesuffix(".pickle") for i in part] for part in parts]
    expected = [[ensembles[stem] for stem in part if stem in ensembles] for part in stems]
    (folder / "expected.json").write_text(json.dumps(dict(zip(("train", "val", "test"), expected))))


main(Path(sys.argv[1]))
