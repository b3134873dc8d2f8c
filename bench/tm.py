"""TM-align of qsd beside tmtools (https://pypi.org/project/tmtools, the authors' program as a Python module), pair by pair in turn.

    pip install tmtools numpy gemmi
    cargo build --release --example tm
    python bench/tm.py                          # the chains of tests/fixtures/eval, all pairs of the fixture
    python bench/tm.py FOLDER --pairs 300       # random pairs of the chains of PDB and mmCIF files
    python bench/tm.py --generated 300          # random pairs of made-up backbones

Prints how far scores, aligned lengths and RMSDs are apart, and the medians of the times. On a busy machine times are
comparable only because the two programs take turns.
"""

import argparse
import gzip
import json
import math
import pathlib
import random
import statistics
import subprocess
import time

import numpy
import tmtools

ROOT = pathlib.Path(__file__).parent.parent


def from_fixture():
    fixture = json.loads((ROOT / "tests/fixtures/eval/chains.json").read_text())
    chains = {chain["id"]: numpy.array(chain["ca"]) for chain in fixture["chains"]}
    return [(chains[pair["first"]], chains[pair["second"]]) for pair in fixture["pairs"]]


def from_folder(folder, pairs, lengths, draw):
    import gemmi

    chains = []
    for path in sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file()):
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        try:
            cif = data.lstrip().startswith(b"data_")
            text = data.decode()
            structure = gemmi.make_structure_from_block(gemmi.cif.read_string(text)[0]) if cif else gemmi.read_pdb_string(text)
        except Exception:  # what gemmi cannot read is not compared
            continue
        for chain in structure[0] if len(structure) else []:
            ca = [a.pos.tolist() for r in chain.first_conformer() for a in r if a.name == "CA" and a.element.name == "C"]
            if len(ca) in lengths:
                chains.append(numpy.array(ca))
    print(f"{len(chains)} chains")
    return [draw.sample(chains, 2) for _ in range(pairs)]


def backbone(length, draw):
    """A Cα trace of helices, strands and loops: bonds of 3.8 Å, angles and dihedrals of the kinds' means with noise."""
    kinds = {"helix": (91, 50, 3), "strand": (124, -170, 8), "loop": (110, None, 12)}
    points = [numpy.zeros(3), numpy.array([3.8, 0, 0]), numpy.array([5.0, 3.6, 0])]
    while len(points) < length:
        angle, dihedral, noise = kinds[draw.choice(list(kinds))]
        for _ in range(draw.randint(3, 14)):
            bend = math.radians(draw.gauss(angle, noise))
            turn = math.radians(draw.uniform(-180, 180) if dihedral is None else draw.gauss(dihedral, noise))
            a, b, c = points[-3:]
            along = (c - b) / numpy.linalg.norm(c - b)
            up = numpy.cross(b - a, along)
            up /= numpy.linalg.norm(up)
            side = numpy.cross(up, along)
            step = -math.cos(bend) * along + math.sin(bend) * (math.cos(turn) * side + math.sin(turn) * up)
            points.append(c + 3.8 * step)
    return numpy.array(points[:length])


def generated(pairs, lengths, draw):
    """Unrelated backbones, noisy copies (some with a piece left out), and clouds that are no chains."""
    for k in range(pairs):
        first = backbone(draw.choice(lengths), draw)
        if k % 4 == 0:
            second = backbone(draw.choice(lengths), draw)
        elif k % 4 == 1:
            second = first + numpy.random.default_rng(k).normal(0, draw.uniform(0.2, 4), first.shape)
        elif k % 4 == 2:
            cut = draw.randint(0, len(first) // 2)
            gone = draw.randint(0, len(first) // 3)
            second = numpy.delete(first, slice(cut, cut + gone), axis=0)
            second = second + numpy.random.default_rng(k).normal(0, 1.0, second.shape)
        else:
            second = numpy.random.default_rng(k).normal(0, 10, (draw.choice(lengths), 3))
        if len(second) >= lengths.start:
            yield first, second


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--generated", type=int)
    parser.add_argument("--shortest", type=int, default=3, help="chains of at least so many residues")
    parser.add_argument("--longest", type=int, default=300, help="chains of at most so many residues")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--program", default=ROOT / "target/release/examples/tm")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    lengths = range(options.shortest, options.longest + 1)
    if options.generated:
        pairs = generated(options.generated, lengths, draw)
    elif options.folder:
        pairs = from_folder(options.folder, options.pairs, lengths, draw)
    else:
        pairs = from_fixture()

    program = subprocess.Popen([options.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    apart, aligned, rmsd, scores, ours, theirs, number = [], [], [], [], [], [], 0
    for first, second in pairs:
        number += 1
        begin = time.perf_counter()
        expected = tmtools.tm_align(first, second, "A" * len(first), "A" * len(second))
        theirs.append(time.perf_counter() - begin)
        program.stdin.write(json.dumps({"first": first.tolist(), "second": second.tolist()}) + "\n")
        program.stdin.flush()
        found = json.loads(program.stdout.readline())
        ours.append(found["seconds"])
        worst = max(
            abs(found["tm_first"] - expected.tm_norm_chain1), abs(found["tm_second"] - expected.tm_norm_chain2)
        )
        apart.append(worst)
        if worst > 1e-4:
            print(f"lengths {len(first)} {len(second)}: {found} tmtools {expected.tm_norm_chain1} {expected.tm_norm_chain2}")
        elif found["rmsd"] is not None:
            rmsd.append(abs(found["rmsd"] - expected.rmsd))
        if len(first) == len(second):
            sequence = "A" * len(first)
            given = tmtools.tm_align(first, second, sequence, sequence, alignment=[sequence, sequence])
            scores.append(abs(found["score"] - given.tm_norm_chain1))
            if scores[-1] > 1e-6:
                print(f"length {len(first)}: score {found['score']}, tmtools {given.tm_norm_chain1}")
    program.stdin.close()
    program.wait()

    print("| pairs | TM-scores apart: median | 99 % | largest | over 1e-9 | over 1e-4 |")
    print("|---|---|---|---|---|---|")
    ordered = sorted(apart)
    over = [sum(a > limit for a in apart) for limit in (1e-9, 1e-4)]
    print(f"| {number} | {statistics.median(apart):.0e} | {ordered[int(0.99 * (number - 1))]:.0e} | {ordered[-1]:.0e} | {over[0]} | {over[1]} |")
    if rmsd:
        print(f"RMSD, where scores agree: largest difference {max(rmsd):.0e} Å")
    if scores:
        print(f"residue on residue, {len(scores)} pairs of equal length: largest difference {max(scores):.0e}")
    ratios = [t / o for t, o in zip(theirs, ours)]
    print(
        f"median time: tmtools {1e3 * statistics.median(theirs):.1f} ms, qsd {1e3 * statistics.median(ours):.1f} ms; "
        f"median of ratios {statistics.median(ratios):.1f}; slower on {sum(r < 1 for r in ratios)} pairs"
    )


if __name__ == "__main__":
    main()
