"""One molecule of GEOM: from RDKit's objects to the row of a shard (docs/data-format.md); used by prepare_geom.py."""

import csv
import dataclasses
import math
import pickle

import numpy as np
from rdkit import Chem

MAX_ATOMS = 10_000  # no reader takes larger molecules
GAS_CONSTANT = 1.987204259e-3  # kcal/mol/K
TEMPERATURE = 298.15  # K, GEOM's
ORDER_CODE = {
    Chem.BondType.SINGLE: 1,
    Chem.BondType.DOUBLE: 2,
    Chem.BondType.TRIPLE: 3,
    Chem.BondType.AROMATIC: 4,
}
TAG_SIGN = {Chem.ChiralType.CHI_TETRAHEDRAL_CW: -1, Chem.ChiralType.CHI_TETRAHEDRAL_CCW: +1}


class Dropped(Exception):
    """A molecule that is left out, and the reason it is counted under."""

    def __init__(self, reason, detail=""):
        super().__init__(detail)
        self.reason = reason


@dataclasses.dataclass
class Ensemble:
    """A molecule's conformers as its source gives them."""

    key: str
    mols: list  # RDKit molecules, each with one conformer
    weights: np.ndarray  # (C,), not yet normalised
    energies: np.ndarray  # (C,) kcal/mol above the lowest; NaN where the source has none


def read_species(content, name):
    """The ensemble in one of GEOM's pickles."""
    try:
        species = pickle.loads(content)
        conformers = species["conformers"]
        mols = [c["rd_mol"] for c in conformers]
    except Exception as cause:  # a pickle may raise anything
        raise Dropped("unreadable", f"{type(cause).__name__}: {cause}") from None
    energies = np.array([c.get("relativeenergy", math.nan) for c in conformers], dtype=np.float64)
    return Ensemble(species.get("smiles") or name.removesuffix(".pickle"), mols, boltzmann(conformers, energies), energies)


def boltzmann(conformers, energies):
    """The weights listed; where one is missing, those of the energies; uniform where these are missing too."""
    listed = [c.get("boltzmannweight") for c in conformers]
    if conformers and None not in listed and sum(listed) > 0:
        return np.array(listed, dtype=np.float64)
    if np.isfinite(energies).all():
        degeneracy = np.array([c.get("degeneracy", 1) for c in conformers], dtype=np.float64)
        return degeneracy * np.exp(-energies / (GAS_CONSTANT * TEMPERATURE))
    return np.ones(len(conformers))


def graph_of(mol):
    """The atom-mapped SMILES with explicit hydrogens, and the molecule RDKit reads from it, in `mol`'s atom order."""
    if len(Chem.GetMolFrags(mol)) != 1:
        raise Dropped("disconnected")
    mapped = Chem.Mol(mol)
    mapped.RemoveAllConformers()
    for atom in mapped.GetAtoms():
        atom.SetAtomMapNum(atom.GetIdx() + 1)
    smiles = Chem.MolToSmiles(mapped, canonical=False)
    return smiles, parse_mapped(smiles)


def parse_mapped(smiles):
    """The molecule of a SMILES whose atoms are all mapped 1..N, its atoms in the order of the map."""
    options = Chem.SmilesParserParams()
    options.removeHs = False
    parsed = Chem.MolFromSmiles(smiles, options)
    if parsed is None:
        raise Dropped("unparsable graph", smiles)
    order = sorted(range(parsed.GetNumAtoms()), key=lambda i: parsed.GetAtomWithIdx(i).GetAtomMapNum())
    ordered = Chem.RenumberAtoms(parsed, order)
    for atom in ordered.GetAtoms():
        atom.SetAtomMapNum(0)
    return ordered


def chirality(atom):
    """+1 counter-clockwise, -1 clockwise, 0 none; seen from the first neighbour in the order of the bonds' indices."""
    sign = TAG_SIGN.get(atom.GetChiralTag(), 0)
    bonds = [bond.GetIdx() for bond in atom.GetBonds()]
    inversions = sum(a > b for i, a in enumerate(bonds) for b in bonds[i + 1 :])
    return -sign if inversions % 2 else sign


def positions_of(mols):
    """(C, N, 3) float32, in Å; the atoms of all must be the same."""
    atoms = [a.GetAtomicNum() for a in mols[0].GetAtoms()]
    for mol in mols:
        if [a.GetAtomicNum() for a in mol.GetAtoms()] != atoms:
            raise Dropped("conformers differ in their atoms")
        if mol.GetNumConformers() != 1:
            raise Dropped("unreadable", f"a molecule with {mol.GetNumConformers()} conformers in place of 1")
    positions = np.stack([mol.GetConformer().GetPositions() for mol in mols]).astype(np.float32)
    if not np.isfinite(positions).all():
        raise Dropped("position not finite")
    return positions


def row_of(ensemble, max_conformers):
    """The shard's row; conformers by falling weight, ties in the order of the source."""
    if not ensemble.mols:
        raise Dropped("no conformers")
    if any(mol is None for mol in ensemble.mols):
        raise Dropped("unreadable", "a conformer without a molecule")
    if ensemble.mols[0].GetNumAtoms() > MAX_ATOMS:
        raise Dropped("too many atoms", f"{ensemble.mols[0].GetNumAtoms()}, the limit is {MAX_ATOMS}")
    positions = positions_of(ensemble.mols)
    kept = np.argsort(-ensemble.weights, kind="stable")[:max_conformers]
    smiles, mol = graph_of(ensemble.mols[kept[0]])
    weights = ensemble.weights[kept]
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise Dropped("weights not usable")
    return {
        "key": ensemble.key,
        "smiles": smiles,
        "atomic_numbers": [a.GetAtomicNum() for a in mol.GetAtoms()],
        "formal_charges": [a.GetFormalCharge() for a in mol.GetAtoms()],
        "radical_electrons": [a.GetNumRadicalElectrons() for a in mol.GetAtoms()],
        "chirality": [chirality(a) for a in mol.GetAtoms()],
        "bonds": [i for b in mol.GetBonds() for i in (b.GetBeginAtomIdx(), b.GetEndAtomIdx())],
        "bond_orders": [ORDER_CODE.get(b.GetBondType(), 0) for b in mol.GetBonds()],
        "weights": (weights / weights.sum()).astype(np.float32),
        "energies": ensemble.energies[kept].astype(np.float32),
        "positions": positions[kept].reshape(-1),
    }


def from_mols(key, mols):
    """An ensemble of bare molecules: equal weights, no energies."""
    return Ensemble(key, list(mols), np.ones(len(mols)), np.full(len(mols), math.nan))


def read_corrected(path):
    """The field's list of test molecules, {key: non-isomeric SMILES of the graph that most conformers have}."""
    with open(path, newline="") as file:
        rows = csv.DictReader(file)
        missing = {"smiles", "corrected_smiles"} - set(rows.fieldnames or [])
        if missing:
            raise SystemExit(f"{path}: no column {', '.join(sorted(missing))}; expected smiles and corrected_smiles")
        return {row["smiles"]: non_isomeric(Chem.MolFromSmiles(row["corrected_smiles"], sanitize=False)) for row in rows}


def non_isomeric(mol):
    """The graph's canonical SMILES without handedness; None without a molecule."""
    return Chem.MolToSmiles(mol, isomericSmiles=False) if mol else None


def clean(ensemble, corrected):
    """The conformers that have kept the molecule's graph, as the field's evaluation counts them."""
    if ensemble.key not in corrected:
        raise Dropped("not in the list of test molecules")
    graph = corrected[ensemble.key]
    same = [mol is not None and non_isomeric(Chem.RemoveHs(mol, sanitize=False)) == graph for mol in ensemble.mols]
    if not any(same):
        raise Dropped("no conformer of the corrected graph", f"{len(same)} conformers, expected {graph}")
    mols = [mol for mol, keep in zip(ensemble.mols, same) if keep]
    return Ensemble(ensemble.key, mols, ensemble.weights[same], ensemble.energies[same])
