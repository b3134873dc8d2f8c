"""Compares qsd's molecular graphs and features with RDKit's.

    pip install rdkit            # and, for the larger sets, msgpack safetensors
    cargo build --release --example print_features
    python tests/python/compare_rdkit.py PROGRAM graphs|smiles|sdf SOURCE...

PROGRAM is the built example. With `graphs`, RDKit's own graph is handed over and only the features are compared;
with `smiles`, qsd reads the SMILES itself and atoms, charges, radicals, tags, bonds and features are compared.
With `sdf`, qsd reads the conformers of a folder of pickles from an SDF that RDKit wrote, perceives aromaticity and
handedness itself and writes them back; both its graph and RDKit's reading of its file are compared with RDKit's
reading of the first. A SOURCE is a folder of GEOM pickles, a .csv with a column `smiles` (or `SMILES`), a .msgpack of GEOM (its keys),
or a text file with one SMILES per line. SMILES with an atom map on every atom but at most one are read with their
explicit hydrogens and ordered by the map, others as AddHs(MolFromSmiles(...)).
"""

import csv
import json
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

from rdkit import Chem, RDLogger, rdBase

RDLogger.DisableLog("rdApp.*")
csv.field_size_limit(10**9)

HYBRIDISATION = [getattr(Chem.HybridizationType, name) for name in ("SP", "SP2", "SP3", "SP3D", "SP3D2")]
TAGS = {Chem.ChiralType.CHI_TETRAHEDRAL_CW: -1, Chem.ChiralType.CHI_TETRAHEDRAL_CCW: 1}
ORDERS = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3, Chem.BondType.AROMATIC: 4}


def features(mol):
    """The ten features of each atom, as the reference implementation of ET-Flow computes them."""
    rows = []
    for atom in mol.GetAtoms():
        charge = atom.GetFormalCharge() + 5
        hybridisation = atom.GetHybridization()
        rows.append([
            4,
            min(atom.GetTotalDegree(), 11),
            charge if 0 <= charge <= 10 else 11,
            0,
            0,
            HYBRIDISATION.index(hybridisation) if hybridisation in HYBRIDISATION else 5,
            min(atom.GetNumRadicalElectrons(), 5),
            int(atom.GetIsAromatic()),
            int(atom.IsInRing()),
            sum(atom.IsInRingSize(size) for size in (3, 4, 5, 6)),
        ])
    return rows


def graph(mol):
    atoms = [
        [a.GetAtomicNum(), a.GetFormalCharge(), a.GetNumRadicalElectrons(), TAGS.get(a.GetChiralTag(), 0) if a.GetTotalDegree() == 4 else 0]
        for a in mol.GetAtoms()
    ]
    bonds = [[b.GetBeginAtomIdx(), b.GetEndAtomIdx(), ORDERS.get(b.GetBondType(), 5)] for b in mol.GetBonds()]
    return {"atoms": atoms, "bonds": bonds}


def from_smiles(smiles):
    """The molecule as the reference builds it: mapped SMILES keep their hydrogens and follow the map."""
    plain = Chem.MolFromSmiles(smiles, sanitize=False)
    if plain is None:
        return None
    unmapped = sum(a.GetAtomMapNum() == 0 for a in plain.GetAtoms())
    if unmapped > 1 or plain.GetNumAtoms() == 1:
        mol = Chem.MolFromSmiles(smiles)
        return None if mol is None else Chem.AddHs(mol)
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    mol = Chem.MolFromSmiles(smiles, parameters)
    if mol is None:
        return None
    order = sorted(range(mol.GetNumAtoms()), key=lambda k: mol.GetAtomWithIdx(k).GetAtomMapNum())
    return Chem.RenumberAtoms(mol, order)


def smiles_of(source):
    if source.is_dir():
        for path in sorted(source.rglob("*.pickle")):
            yield pickle.loads(path.read_bytes())["smiles"]
    elif source.suffix == ".csv":
        with open(source, newline="") as file:
            for row in csv.DictReader(file):
                yield row.get("SMILES") or row["smiles"]
    elif source.suffix == ".msgpack":
        import msgpack

        with open(source, "rb") as file:
            for part in msgpack.Unpacker(file, raw=False, strict_map_key=False, max_buffer_size=2**31 - 1):
                yield from part
    else:
        yield from (line.split()[0] for line in source.read_text().splitlines() if line.strip())


def molecules_of(source, mode):
    """(label, RDKit molecule) with explicit hydrogens: those of pickles, or as read from SMILES."""
    if source.is_dir() and mode != "smiles":
        for path in sorted(source.rglob("*.pickle")):
            for index, conformer in enumerate(pickle.loads(path.read_bytes())["conformers"]):
                yield f"{path.name}[{index}]", conformer["rd_mol"]
        return
    for smiles in smiles_of(source):
        yield smiles, from_smiles(smiles)


def read_block(block):
    mol = Chem.MolFromMolBlock(block, removeHs=False)
    if mol is not None:
        Chem.AssignStereochemistryFrom3D(mol)
    return mol


def ask(program, mode, lines):
    text = "".join(line + "\n" for line in lines)
    answer = subprocess.run([program, mode], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in answer.stdout.splitlines()]


def differences(ours, mol, with_graph):
    """What differs, each as a short text."""
    theirs = graph(mol)
    if with_graph:
        for key, names in (("atoms", ("element", "charge", "radicals", "tag")), ("bonds", ("begin", "end", "order"))):
            if len(ours[key]) != len(theirs[key]):
                yield f"number of {key}"
                return
            for mine, other in zip(ours[key], theirs[key]):
                yield from (name for name, a, b in zip(names, mine, other) if a != b)
    for mine, other in zip(ours["features"], features(mol)):
        yield from (f"feature {k}" for k, (a, b) in enumerate(zip(mine, other)) if a != b)


def compare(program, mode, source):
    labels, mols = zip(*molecules_of(source, mode))
    lines = labels if mode == "smiles" else [json.dumps(graph(m)) if m else "{}" for m in mols]
    if mode == "sdf":
        blocks = [Chem.MolToMolBlock(mol) for mol in mols]
        lines, mols = [block + "$$$$" for block in blocks], [read_block(block) for block in blocks]
    counts, equal, refused, examples = Counter(), 0, Counter(), []
    for label, mol, answer in zip(labels, mols, ask(program, mode, lines), strict=True):
        if mol is None or "error" in answer:
            refused[f"RDKit {'refuses' if mol is None else 'reads'}, qsd {'refuses' if 'error' in answer else 'reads'}"] += 1
            if mol is not None or "error" not in answer:
                examples.append(f"{label}: {answer.get('error', 'read')}")
            continue
        found = Counter(differences(answer, mol, mode != "graphs"))
        if mode == "sdf":
            back = read_block(answer["sdf"])
            found.update("unreadable" for _ in range(back is None))
            found.update(() if back is None else ["graph read back"] * (graph(back) != graph(mol)))
        equal += not found
        counts.update(found.keys())
        if found:
            examples.append(f"{label}: {dict(found)}")
    print(f"{source} ({mode}): {equal} of {len(labels)} molecules equal; refused {dict(refused)}; differ in {dict(counts)}")
    for example in examples[:20]:
        print("   ", example)
    return equal + refused["RDKit refuses, qsd refuses"] == len(labels)


if __name__ == "__main__":
    program, mode, *sources = sys.argv[1:]
    print("RDKit", rdBase.rdkitVersion)
    sys.exit(0 if all([compare(program, mode, Path(source)) for source in sources]) else 1)
