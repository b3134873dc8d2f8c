#!/usr/bin/env python3
"""Draws conformers of an SDF file as they lie in space, seen along their shortest axis, into one SVG.

    python examples/draw_conformers.py runs/quickstart/conformers.sdf docs/quickstart.svg [first record of each N, default 5]
"""

import sys

import numpy as np
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

COLUMNS, ROWS, SIZE = 4, 2, 220


def main(source, target, every=5):
    mols = [mol for i, mol in enumerate(Chem.SDMolSupplier(source, removeHs=False)) if i % every == 0 and mol]
    mols = mols[: COLUMNS * ROWS]
    for mol in mols:
        conformer = mol.GetConformer()
        positions = conformer.GetPositions() - conformer.GetPositions().mean(axis=0)
        # The principal axes, the longest first: x and y of the drawing.
        axes = np.linalg.svd(positions, full_matrices=True)[2]
        conformer.SetPositions(positions @ axes.T)
    drawer = rdMolDraw2D.MolDraw2DSVG(COLUMNS * SIZE, ROWS * SIZE, SIZE, SIZE)
    options = drawer.drawOptions()
    options.prepareMolsBeforeDrawing = False
    options.explicitMethyl = True
    options.padding = 0.1
    options.flagCloseContactsDist = -1  # atoms behind each other are no fault here
    drawer.DrawMolecules(mols, legends=[mol.GetProp("SMILES") for mol in mols])
    drawer.FinishDrawing()
    with open(target, "w", encoding="utf-8") as out:
        out.write(drawer.GetDrawingText())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
