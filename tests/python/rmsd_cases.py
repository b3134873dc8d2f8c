"""Ensembles with what RDKit's GetBestRMS says of them, as the example `rmsd` (bench/rmsd.rs) reads them.

    python tests/python/rmsd_cases.py groups|symmetric|PARTITION_FOLDER... > cases.json

`groups` embeds molecules with charged and conjugated groups, `symmetric` molecules with many symmetries; a folder is a data
set such as data/sample/qm9, whose conformers are taken as they are and disturbed. The generated side lists its atoms in another
order. Molecules keep all hydrogens; RDKit removes them itself.
"""

import json
import random
import sys
import time
from pathlib import Path

import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem, rdMolAlign
from rdkit.Geometry import Point3D

RDLogger.DisableLog("rdApp.*")

ORDERS = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3, Chem.BondType.AROMATIC: 4}

GROUPS = [
    "CC(=O)[O-]", "CC(=O)O", "CC(=O)OC", "OC(=O)CCC(=O)O", "OC(=O)CCC(=O)[O-]", "[O-]C(=O)CCC(=O)[O-]", "C[N+](=O)[O-]",
    "O=[N+]([O-])c1ccc([N+](=O)[O-])cc1", "CS(=O)(=O)[O-]", "CS(=O)(=O)O", "CS(=O)(=O)N", "CS(=O)(=O)C", "COP(=O)([O-])[O-]",
    "COP(=O)(O)O", "COP(=O)([O-])OP(=O)([O-])[O-]", "NC(=[NH2+])NCC", "NC(=N)NCC", "CC(=N)N", "CC(=[NH2+])N", "NC(N)=O",
    "NC(N)=S", "NC(=N)N", "CCN=[N+]=[N-]", "CC(=S)[O-]", "CC(=O)S", "CC(=S)[S-]", "C[N+](C)(C)[O-]", "c1cc[n+]([O-])cc1",
    "CC(=O)NO", "[O-][n+]1ccccc1C(=O)[O-]", "C[N+](=O)[O-].C", "O=C([O-])c1ccc(C(=O)O)cc1", "[NH3+]CC(=O)[O-]", "ON=O",
    "CO[N+](=O)[O-]", "O=S(=O)(c1ccccc1)c1ccccc1", "CN=C(N)N", "O=C(O)C(O)(O)C(=O)O", "C[C](C)C", "C[CH]C", "OO", "O=O", "[H][H]", "O",
    "C", "N#N", "C#C", "O=C=O", "CC#CC", "[H]/N=C(/C)O", "[H]/N=C(/C)N", "N=C(N)N", "[H]/N=C1/CCOC1", "[H]/N=N/C", "OC(=O)/C=C/C(=O)O",
    "[H]/N=C(\\N)c1ccc(/C(N)=N/[H])cc1", "FC(F)(F)C(=O)[O-]", "CP(=O)(C)C", "O=P(O)(O)c1ccccc1", "[O-]Cl(=O)(=O)=O", "N[N+](=O)[O-]",
    "[B-](F)(F)(F)F", "C[Si](C)(C)O", "O=C1NC(=O)NC(=O)N1", "CC(C)(C)c1cc(C(=O)[O-])cc(C(C)(C)C)c1", "C[S+]([O-])C", "CN(C)C=[N+](C)C",
]

SYMMETRIC = {
    "tert-butyls 3": "CC(C)(C)c1cc(C(C)(C)C)cc(C(C)(C)C)c1",
    "tert-butyls 4": "CC(C)(C)Oc1c(OC(C)(C)C)c(OC(C)(C)C)cc(OC(C)(C)C)c1",
    "trifluoromethyls": "FC(F)(F)c1cc(C(F)(F)F)cc(NC(=O)Nc2cc(C(F)(F)F)cc(C(F)(F)F)c2)c1",
    "phenyls": "c1ccccc1C(c1ccccc1)(c1ccccc1)c1ccccc1",
    "phenyls of a chain": "c1ccccc1CC(c1ccccc1)CC(c1ccccc1)CC(c1ccccc1)CCc1ccccc1",
    "hexaphenylbenzene": "c1ccccc1-c1c(-c2ccccc2)c(-c2ccccc2)c(-c2ccccc2)c(-c2ccccc2)c1-c1ccccc1",
    "adamantane": "C1C2CC3CC1CC(C2)C3",
    "cubane": "C12C3C4C1C5C2C3C45",
    "cyclohexane": "C1CCCCC1",
    "neopentane": "CC(C)(C)C",
    "tetra-tert-butyl neopentane": "CC(C)(C)CC(CC(C)(C)C)(CC(C)(C)C)CC(C)(C)C",
    "tris(trimethylsilyl)silane": "C[Si](C)(C)[SiH]([Si](C)(C)C)[Si](C)(C)C",
    "SF6": "FS(F)(F)(F)(F)F",
    "PF5": "FP(F)(F)(F)F",
    "C60": "c12c3c4c5c1c1c6c7c2c2c8c3c3c9c4c4c%10c5c5c1c1c6c6c%11c7c2c2c7c8c3c3c8c9c4c4c9c%10c5c5c1c1c6c6c%11c2c2c7c3c3c8c4c4c9c5c1c1c6c2c3c41",
    "18-crown-6": "C1COCCOCCOCCOCCOCCO1",
    "isopropyls": "CC(C)N(C(C)C)P(OCCC#N)N(C(C)C)C(C)C",
    "sucrose octaacetate like": "CC(=O)OCC(OC(C)=O)C(OC(C)=O)C(OC(C)=O)C(OC(C)=O)COC(C)=O",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "imatinib": "CN1CCN(CC1)Cc1ccc(cc1)C(=O)Nc1ccc(C)c(c1)Nc1nccc(n1)-c1cccnc1",
}


def graph(mol):
    """A molecule's graph for the example."""
    atoms = [(a.GetAtomicNum(), a.GetFormalCharge(), a.GetNumRadicalElectrons()) for a in mol.GetAtoms()]
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx(), ORDERS.get(b.GetBondType(), 5)) for b in mol.GetBonds()]
    return {"atoms": atoms, "bonds": bonds}


def embedded(smiles, count, seed):
    """A molecule with conformers, its stereo marks set from them as a reader of structure files sets them; None if it cannot be embedded."""
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles, parameters))
    settings = AllChem.ETKDGv3()
    settings.randomSeed = seed
    settings.useRandomCoords = True
    if len(AllChem.EmbedMultipleConfs(mol, count, settings)) < count:
        return None
    Chem.AssignStereochemistryFrom3D(mol)
    return mol


def scattered(smiles, count, seed):
    """A molecule whose atoms stand anywhere: for what cannot be embedded, and the hardest case for a search."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    numbers = np.random.default_rng(seed)
    for _ in range(count):
        conformer = Chem.Conformer(mol.GetNumAtoms())
        for atom, x in enumerate(numbers.normal(0.0, 3.0, (mol.GetNumAtoms(), 3))):
            conformer.SetAtomPosition(atom, Point3D(*map(float, x)))
        mol.AddConformer(conformer, assignId=True)
    return mol


def shuffled(mol, seed):
    """The same with its atoms in another order."""
    order = list(range(mol.GetNumAtoms()))
    random.Random(seed).shuffle(order)
    return Chem.RenumberAtoms(mol, order)


def disturbed(mol, size, seed):
    """The same with normal noise of `size` Å on all positions."""
    noise, moved = np.random.default_rng(seed), Chem.Mol(mol)
    for conformer in moved.GetConformers():
        for atom, x in enumerate(conformer.GetPositions() + noise.normal(0.0, size, (moved.GetNumAtoms(), 3))):
            conformer.SetAtomPosition(atom, Point3D(*map(float, x)))
    return moved


def positions(mol):
    return [conformer.GetPositions().tolist() for conformer in mol.GetConformers()]


def best_rms(reference, generated, terminal_groups):
    """RDKit's matrix, row by row; None where it finds no match."""
    rows = []
    for i in [c.GetId() for c in reference.GetConformers()]:
        for j in [c.GetId() for c in generated.GetConformers()]:
            try:
                rows.append(rdMolAlign.GetBestRMS(generated, reference, j, i, symmetrizeConjugatedTerminalGroups=terminal_groups))
            except RuntimeError:
                rows.append(None)
    return rows


def case(name, reference, generated, unrestricted=True):
    """One case with RDKit's answers and the time that the first of them took (the median of a pair times the pairs)."""
    heavy, sampled = Chem.RemoveHs(reference), Chem.RemoveHs(generated)
    begun = time.perf_counter()
    expected = best_rms(heavy, sampled, True)
    seconds = time.perf_counter() - begun
    return {
        "name": name,
        "reference": graph(reference),
        "generated": graph(generated),
        "references": positions(reference),
        "samples": positions(generated),
        "expected": expected,
        "expected_unrestricted": best_rms(heavy, sampled, False) if unrestricted else None,
        "rdkit_seconds": seconds,
    }


def from_smiles(name, smiles, seed, rows=3, columns=4):
    reference, generated = embedded(smiles, rows, seed), embedded(smiles, columns, seed + 1)
    if reference is None or generated is None:
        reference, generated = scattered(smiles, rows, seed), scattered(smiles, columns, seed + 1)
    return case(name, reference, shuffled(generated, seed))


def from_folder(folder, most=60, rows=3, columns=4):
    """Cases from a data set's shards: real conformers as they are, and disturbed ones as the generated."""
    import pyarrow as pa

    molecules = []
    for shard in sorted(Path(folder).glob("*.arrow")):
        table = pa.ipc.open_file(shard).read_all()
        molecules += table.select(["smiles", "atomic_numbers", "positions"]).to_pylist()
    for index, molecule in enumerate(molecules[:: max(1, len(molecules) // most)]):
        parameters = Chem.SmilesParserParams()
        parameters.removeHs = False
        mol = Chem.MolFromSmiles(molecule["smiles"], parameters)
        mol = Chem.RenumberAtoms(mol, sorted(range(mol.GetNumAtoms()), key=lambda a: mol.GetAtomWithIdx(a).GetAtomMapNum()))
        assert [a.GetAtomicNum() for a in mol.GetAtoms()] == molecule["atomic_numbers"], molecule["smiles"]
        clouds = np.array(molecule["positions"], dtype=float).reshape(-1, mol.GetNumAtoms(), 3)
        for cloud in clouds[: max(rows, columns)]:
            conformer = Chem.Conformer(mol.GetNumAtoms())
            for atom, x in enumerate(cloud):
                conformer.SetAtomPosition(atom, Point3D(*map(float, x)))
            mol.AddConformer(conformer, assignId=True)
        for atom in mol.GetAtoms():
            atom.SetAtomMapNum(0)
        yield case(molecule["smiles"], mol, shuffled(disturbed(mol, 0.3, index), index))


def main():
    for source in sys.argv[1:]:
        if source == "groups":
            cases = [from_smiles(smiles, smiles, 7 * k + 1) for k, smiles in enumerate(GROUPS)]
        elif source == "symmetric":
            cases = [from_smiles(name, smiles, 7 * k + 1, 2, 2) for k, (name, smiles) in enumerate(SYMMETRIC.items())]
        else:
            cases = list(from_folder(source))
        json.dump(cases, sys.stdout)


if __name__ == "__main__":
    main()
