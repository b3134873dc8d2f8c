"""Inverse folding and folding by first principles, for tests of the contract of `qsd-eval designability`.

    designability_tool.py sequences INPUTS OUTPUTS NUM
    designability_tool.py fold      INPUTS OUTPUTS

Sequences: residues that biotite's P-SEA finds in a helix become leucine, those of a strand valine, all others glycine;
sequence k has, for k > 0, its k-th residue changed to alanine. Folding: a backbone of ideal bonds with the dihedrals of an
α helix or a strand, written by gemmi. Both are right for helices and straight strands, and wrong for everything else.

Each result is noted in the file that TOOL_JOURNAL names, with TOOL_JOB. TOOL_FAULT=STEP:FAULT is what such programs do on a bad
day; with =N after it for the N-th item (from 0) only. The fault `slow` takes N seconds for each item.
"""

import os
import sys
import time
from pathlib import Path

import gemmi
import numpy as np

HELIX, STRAND = (-57.8, -47.0), (-120.0, 130.0)
# Engh and Huber's bond lengths in Å and angles in degrees: N-CA, CA-C, C-N; N-CA-C, CA-C-N, C-N-CA.
LENGTHS, ANGLES = (1.459, 1.525, 1.336), (111.0, 117.2, 121.7)


def sequences(path: Path, num: int) -> list[str]:
    # Here, since folding is quicker without.
    import biotite.structure as struc
    import biotite.structure.io.pdb as pdb

    trace = pdb.PDBFile.read(str(path)).get_structure(model=1)
    letters = ["L" if kind == "a" else "V" if kind == "b" else "G" for kind in struc.annotate_sse(trace)]
    # P-SEA leaves the ends of a helix open.
    letters[:2], letters[-2:] = [letters[2]] * 2, [letters[-3]] * 2
    changed = [letters[:k] + (["A"] if k else []) + letters[k + (k > 0) :] for k in range(num)]
    return ["".join(one) for one in changed]


def place(a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, dihedral: float) -> np.ndarray:
    """The atom after a, b, c."""
    angle, dihedral = np.radians([angle, dihedral])
    forward = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, forward)
    normal /= np.linalg.norm(normal)
    x, y, z = -np.cos(angle), np.sin(angle) * np.cos(dihedral), np.sin(angle) * np.sin(dihedral)
    return c + length * (x * forward + y * np.cross(normal, forward) + z * normal)


def dihedrals(letters: str) -> list[tuple[float, float]]:
    """φ and ψ of each residue: of a helix where most of the seven residues around it like helices (Chou and Fasman)."""
    windows = [letters[max(i - 3, 0) : i + 4] for i in range(len(letters))]
    return [HELIX if 2 * sum(letter in "AEHKLMQR" for letter in window) > len(window) else STRAND for window in windows]


def fold(letters: str) -> gemmi.Structure:
    atoms = [np.array([0.0, 0.0, 0.0]), np.array([LENGTHS[0], 0.0, 0.0])]
    bend = np.radians(180.0 - ANGLES[0])
    atoms.append(atoms[1] + LENGTHS[1] * np.array([np.cos(bend), np.sin(bend), 0.0]))
    angles = dihedrals(letters)
    for (_, psi), (phi, _) in zip(angles, angles[1:]):
        atoms.append(place(*atoms[-3:], LENGTHS[2], ANGLES[1], psi))
        atoms.append(place(*atoms[-3:], LENGTHS[0], ANGLES[2], 180.0))
        atoms.append(place(*atoms[-3:], LENGTHS[1], ANGLES[0], phi))
    chain = gemmi.Chain("A")
    for i, name in enumerate(gemmi.expand_one_letter_sequence(letters, gemmi.ResidueKind.AA)):
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.entity_type = name, gemmi.SeqId(i + 1, " "), gemmi.EntityType.Polymer
        for k, (atom_name, element) in enumerate((("N", "N"), ("CA", "C"), ("C", "C"))):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos = atom_name, gemmi.Element(element), gemmi.Position(*atoms[3 * i + k])
            residue.add_atom(atom)
        chain.add_residue(residue)
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    return structure


def spoil(fault: str, path: Path, text: str) -> None:
    """Leaves what a fault leaves instead of `text` under `path`."""
    if fault == "crash":
        sys.exit("CUDA out of memory\x1b[0m, as it happens")
    elif fault == "hang":
        time.sleep(3600)
    elif fault == "kill":
        os.kill(os.getpid(), 9)
    elif fault == "half":
        path.write_text(text[: len(text) * 2 // 3])
    elif fault == "nan":
        path.write_text("".join(line[:38] + "     nan" + line[46:] + "\n" for line in text.splitlines()))
    elif fault == "link":
        path.symlink_to("/etc/hostname")
    elif fault == "pipe":
        os.mkfifo(path)
    elif fault == "huge":
        with path.open("w") as file:
            file.write(text)
            file.truncate(1 << 30)
    elif fault == "native":
        path.write_text(">native\n" + "A" * len(text.splitlines()[1]) + "\n" + text)
    elif fault == "slash":
        path.write_text(text.replace(">", ">../../../"))
    elif fault == "unknown":
        path.write_text(text.replace("L", "X"))
    elif fault == "short":
        path.write_text("".join(line[:-1] + "\n" if line[0] != ">" else line + "\n" for line in text.splitlines()))
    elif fault == "other":
        path.write_text(text.replace("LEU", "ILE"))
    elif fault == "none":
        print("skipped", path.stem)
    else:
        sys.exit(f"no fault {fault}")


def leave(path: Path, text: str, index: int, fault: str) -> None:
    name, _, which = fault.partition("=")
    if name == "slow":
        time.sleep(float(which))
    elif name and which in ("", str(index)):
        spoil(name, path, text)
        return
    path.write_text(text)
    with open(os.environ.get("TOOL_JOURNAL", os.devnull), "a") as journal:
        journal.write(f"{path.name} {os.environ.get('TOOL_JOB')}\n")


def main() -> None:
    step, inputs, outputs, *rest = sys.argv[1:]
    inputs, outputs = Path(inputs), Path(outputs)
    spoiled, _, fault = os.environ.get("TOOL_FAULT", "").partition(":")
    fault = fault if spoiled == step else ""
    print("working on", inputs, flush=True)
    if step == "sequences":
        for index, path in enumerate(sorted(inputs.glob("*.pdb"))):
            records = [f">k{k}\n{letters}\n" for k, letters in enumerate(sequences(path, int(rest[0])))]
            leave(outputs / f"{path.stem}.fasta", "".join(records), index, fault)
    else:
        records = (inputs / "sequences.fasta").read_text().split(">")[1:]
        for index, (name, letters) in enumerate(record.split() for record in records):
            leave(outputs / f"{name}.pdb", fold(letters).make_pdb_string(), index, fault)


if __name__ == "__main__":
    main()
