"""Reads backbone files with gemmi and with biotite.

    read_backbones.py FILE...

Prints a JSON list: per file what gemmi and what biotite find, each a list of CA positions. Both must find one model with
one chain A of alanines, numbered from 1, that are recognised as a polymer's residues.
"""

import json
import sys

import biotite.structure.io.pdb as pdb
import biotite.structure.io.pdbx as pdbx
import gemmi


def by_gemmi(path):
    """CA positions as gemmi reads them."""
    structure = gemmi.read_structure(path)
    structure.setup_entities()
    assert len(structure) == 1 and [chain.name for chain in structure[0]] == ["A"], structure
    residues = list(structure[0]["A"])
    assert [r.seqid.num for r in residues] == list(range(1, len(residues) + 1))
    assert all(r.name == "ALA" and r.het_flag == "A" for r in residues)
    return [r.sole_atom("CA").pos.tolist() for r in residues]


def by_biotite(path):
    """CA positions as biotite reads them."""
    if path.endswith(".pdb"):
        atoms = pdb.PDBFile.read(path).get_structure(model=1)
    else:
        atoms = pdbx.get_structure(pdbx.CIFFile.read(path), model=1)
    assert set(atoms.chain_id) == {"A"} and set(atoms.res_name) == {"ALA"} and set(atoms.element) == {"C"}
    assert list(atoms.res_id) == list(range(1, len(atoms) + 1)) and set(atoms.atom_name) == {"CA"}
    return atoms.coord.tolist()


json.dump([[by_gemmi(path), by_biotite(path)] for path in sys.argv[1:]], sys.stdout)
