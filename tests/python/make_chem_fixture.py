"""Writes tests/fixtures/chem/{molecules,smiles}.json: what RDKit makes of a few molecules.

    pip install rdkit numpy safetensors
    python tests/python/make_chem_fixture.py ORACLE

ORACLE is a folder with `mols.safetensors`, `smiles.txt`, `mols_qm9.safetensors` and `mols_qm9_smiles.txt`: mapped
SMILES and, made with the reference implementation of ET-Flow, the features, conformers and stereo centres of the
molecules, joined one after another with offsets.
"""

import json
import sys
from pathlib import Path

from compare_rdkit import features, from_smiles, graph
from safetensors.numpy import load_file

OUT = Path(__file__).parents[1] / "fixtures" / "chem"

# Corners of the rules: charges, radicals, hypervalent atoms, odd aromatic systems, handedness written in all ways.
SMILES = """
C [H][H] O [OH-] [NH4+] CN(=O)=O C[N+](=O)[O-] CN=N#N CN=[N+]=[N-] [CH3] [CH2] [O][O] [NH]C1=C[C@@H](N)N=C(O)O1
c1ccc2cccc2cc1 c1cc[nH]c1 c1ccoc1 c1cc[se]c1 C[n+]1ccccc1 [O-][n+]1ccccc1 c1cc[o+]cc1 [cH-]1cccc1 [cH+]1cccccc1
O=c1cccccc1 O=c1cc[nH]cc1 Cn1cnc2c1c(=O)n(C)c(=O)n2C c1ccc(cc1)-c1ccccc1 c1ccc2c(c1)Cc1ccccc12
c1cc2ccc3cccc4ccc(c1)c2c34 OB(O)c1ccccc1 B1NBNBN1 CS(=O)(=O)c1ccccc1 CS(C)=O C[P@](=O)(OC)c1ccccc1
CC[C@](C)(F)Cl C[C@H](C)O C[C@H]1CC[C@@H](C)CC1 C1C[C@H]2CC[C@@H]1CC2 C[C@H](O)[C@H](O)[C@@H](C)O
C[C@@H](O)[C@@H](O)[C@@H](C)O F[C@]1(Cl)C[C@](F)(Cl)C1 N#CC#N [C-]#[O+] C=C=O CC(=O)[O-] NC(=[NH2+])N
OCl(=O)(=O)=O FS(F)(F)(F)(F)F F[P-](F)(F)(F)(F)F O1C=CC=CC=CC=C1 C1=CC2=CC=CC=CC2=C1 C1=CC=CC=CC=C1
O=C1C=CC(=O)C=C1 [2H]C([2H])([2H])O [H]C([H])([H])C N[C@@H](C)C(=O)O N[C@H](C(=O)O)C [H][C@](N)(C)C(=O)O
[C@H](N)(C)C(=O)O C1[C@H](O)CCO1 [C@]12(F)C[C@@H]1CCO2 O1CC[C@@]1(F)Cl C%12CC[C@@]%12(F)Cl C1CCCCCCC#C1 [Na+]
[Zn+2] C[N@+](CC)(CCC)c1ccccc1 CN1C=CN2CCCN=C12 C1=Cc2cc3ccc(cc4nc(cc5ccc(cc1n2)[nH]5)C=C4)[nH]3
[O]N1C(C)(C)CCCC1(C)C [CH2+]C=C c1ccpcc1 C1C2C3CC=CC2C13 C12C3C4C1C5C2C3C45 O[C@@]12[C@H]3C[C@@H]1[C@H]1[C@@H]2C[C@@H]31
""".split()


def molecules(oracle, name, smiles_file, picks):
    tensors = load_file(oracle / f"{name}.safetensors")
    lines = (oracle / smiles_file).read_text().splitlines()
    for pick in picks:
        begin, end = tensors["atom_offsets"][pick : pick + 2]
        centre_begin, centre_end = tensors["chiral_offsets"][pick : pick + 2]
        mol = from_smiles(lines[pick].split()[0])
        yield {
            "smiles": lines[pick].split()[0],
            **graph(mol),
            "features": tensors["node_attr"][begin:end].tolist(),
            "positions": tensors["pos"][begin:end].tolist(),
            "centres": tensors["chiral_index"][centre_begin:centre_end].tolist(),
            "centre_neighbours": tensors["chiral_nbr_index"][centre_begin:centre_end].tolist(),
            "centre_tags": tensors["chiral_tag"][centre_begin:centre_end].astype(int).tolist(),
        }


if __name__ == "__main__":
    oracle = Path(sys.argv[1])
    picked = [*molecules(oracle, "mols", "smiles.txt", [0, 1, 7, 8, 9, 20, 33, 54, 77, 116, 165, 200]),
              *molecules(oracle, "mols_qm9", "mols_qm9_smiles.txt", range(0, 240, 20))]
    mols = [(smiles, from_smiles(smiles)) for smiles in SMILES]
    parsed = [{"smiles": smiles, **graph(mol), "features": features(mol)} for smiles, mol in mols]
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "molecules.json").write_text(json.dumps(picked, separators=(",", ":")).replace("},{", "},\n{") + "\n")
    (OUT / "smiles.json").write_text(json.dumps(parsed, separators=(",", ":")).replace("},{", "},\n{") + "\n")
