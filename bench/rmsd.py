"""RMSDs over symmetries, RDKit's and qsd's in turn on the same pairs, one thread each.

    cargo build --release --example rmsd
    python bench/rmsd.py target/release/examples/rmsd SOURCE... [--repeats N]

A SOURCE is `symmetric` or `groups` (embedded molecules, see tests/python/rmsd_cases.py), the folder of a data set (data/sample/qm9), the
fixture tests/fixtures/eval/rdkit_ensembles.json, or an SDF with several records per title: the first half of a molecule's conformers are references, the others generated. Prints for each molecule
the median of the times that each took for a pair (everything counted that a matrix needs: RDKit's calls of GetBestRMS on molecules whose
hydrogens were removed before; in qsd the removal, too), their ratio, and the largest difference of the values.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))

from rdkit import Chem  # noqa: E402
from rmsd_cases import GROUPS, SYMMETRIC, best_rms, case, from_folder, from_smiles  # noqa: E402
from rdkit.Geometry import Point3D  # noqa: E402


def from_sdf(path):
    """A case per title with at least two records of one graph."""
    molecules = {}
    for mol in Chem.SDMolSupplier(str(path), removeHs=False):
        if mol is not None:
            molecules.setdefault(mol.GetProp("_Name"), []).append(mol)
    for title, records in molecules.items():
        same = [mol for mol in records if mol.GetNumAtoms() == records[0].GetNumAtoms()]
        half = len(same) // 2
        if half == 0:
            continue
        joined = []
        for part in (same[:half], same[half:]):
            mol = Chem.Mol(part[0])
            for other in part[1:]:
                mol.AddConformer(other.GetConformer(), assignId=True)
            joined.append(mol)
        yield case(title, *joined)


def from_oracle(path):
    """The molecules of tests/fixtures/eval/rdkit_ensembles.json, which bear no hydrogens."""
    orders = {1.0: 1, 2.0: 2, 3.0: 3, 1.5: 4}
    for molecule in json.loads(Path(path).read_text())["molecules"]:
        graphs = [
            {
                "atoms": [(number, charge, 0) for number, charge in zip(side["atomic_numbers"], side["formal_charges"])],
                "bonds": [(begin, end, orders[order]) for begin, end, order in side["bonds"]],
            }
            for side in (molecule["ref"], molecule["gen"])
        ]
        yield {
            "name": molecule["smiles"],
            "reference": graphs[0],
            "generated": graphs[1],
            "references": molecule["ref"]["coords"],
            "samples": molecule["gen"]["coords"],
            "expected": sum(molecule["rmsd_rdkit"], []),
            "rdkit_seconds": 0.0,
        }


def cases_of(source):
    """The cases of a source, one after the other."""
    if source.endswith(".json"):
        return from_oracle(source)
    if source == "groups":
        return (from_smiles(smiles, smiles, 7 * k + 1) for k, smiles in enumerate(GROUPS))
    if source == "symmetric":
        return (from_smiles(name, smiles, 7 * k + 1, 2, 2) for k, (name, smiles) in enumerate(SYMMETRIC.items()))
    return from_folder(source) if Path(source).is_dir() else from_sdf(source)


def rebuilt(described, conformers):
    """The RDKit molecule of a case, hydrogens removed."""
    types = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE, 4: Chem.BondType.AROMATIC}
    mol = Chem.RWMol()
    for number, charge, radicals in described["atoms"]:
        atom = Chem.Atom(number)
        atom.SetFormalCharge(charge)
        atom.SetNumRadicalElectrons(radicals)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    for begin, end, order in described["bonds"]:
        mol.AddBond(begin, end, types.get(order, Chem.BondType.ZERO))
        if order == 4:
            mol.GetBondBetweenAtoms(begin, end).SetIsAromatic(True)
            mol.GetAtomWithIdx(begin).SetIsAromatic(True)
            mol.GetAtomWithIdx(end).SetIsAromatic(True)
    for cloud in conformers:
        conformer = Chem.Conformer(mol.GetNumAtoms())
        for atom, x in enumerate(cloud):
            conformer.SetAtomPosition(atom, Point3D(*x))
        mol.AddConformer(conformer, assignId=True)
    mol = mol.GetMol()
    if all(number != 1 for number, _, _ in described["atoms"]):
        # Without its hydrogens nothing but the graph is to be had, and nothing else is needed.
        mol.UpdatePropertyCache(strict=False)
        Chem.FastFindRings(mol)
        return mol
    Chem.SanitizeMol(mol)
    Chem.AssignStereochemistryFrom3D(mol)
    return Chem.RemoveHs(mol)


def rdkit_seconds(molecule, repeats):
    """The median time of a matrix; molecules that take seconds are computed once."""
    reference = rebuilt(molecule["reference"], molecule["references"])
    generated = rebuilt(molecule["generated"], molecule["samples"])
    times = []
    for _ in range(repeats if molecule["rdkit_seconds"] < 0.2 else 1):
        begun = time.perf_counter()
        best_rms(reference, generated, True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the built example")
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--repeats", type=int, default=31)
    arguments = parser.parse_args()
    ratios = []
    for source in arguments.sources:
        for molecule in cases_of(source):
            molecule["repeats"] = arguments.repeats
            theirs = rdkit_seconds(molecule, arguments.repeats)
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                json.dump([molecule], file)
                file.flush()
                ours = json.loads(subprocess.run([arguments.program, file.name], check=True, capture_output=True, text=True).stdout)
            pairs = len(molecule["expected"])
            ratio = theirs / ours["seconds"]
            found = [(a, b) for a, b in zip(ours["rmsd"], molecule["expected"]) if a is not None and b is not None]
            worst = max((abs(a - b) for a, b in found), default=0.0)
            ratios.append((ratio, molecule["name"]))
            print(
                f"{molecule['name'][:40]:40} RDKit {1e6 * theirs / pairs:11.1f} us a pair, qsd {1e6 * ours['seconds'] / pairs:9.1f} us, "
                f"ratio {ratio:8.1f}, difference {worst:.1e}, unproven {ours['unproven']}",
                flush=True,
            )
    ratios.sort()
    print(f"{len(ratios)} molecules: RDKit takes {ratios[0][0]:.1f} ({ratios[0][1]}) to {ratios[-1][0]:.0f} times as long, median {ratios[len(ratios) // 2][0]:.1f}")


if __name__ == "__main__":
    main()
