"""Cuts the Proteina oracle down to what the tests compare with; needs the standard library alone.

    python trim_protein_fixtures.py <oracle folder> <output folder>

The oracle holds runs of the reference implementation (PyTorch) of two tiny networks, without pair updates (tiny) and
with them (tiny_tri), whose weights follow from their names by a rule: inputs, intermediates, outputs, losses, gradients, in f64
and f32; three training steps; guidance; two sampling runs; embeddings and bin edges. Rows of padding are cut off, so that
what is left is chain by chain, without gaps. Of a case that differs from a fuller one in its inputs alone, every
fourth number of the gradients is kept.
"""

import array
import json
import struct
import sys
from pathlib import Path

CODES = {"F64": "d", "F32": "f", "I64": "q", "I32": "i", "U8": "B", "BOOL": "B"}
# Intermediates of the cases that are not compared in full.
FEW = ["cond_feats_in", "cond", "layer0.out", "layer1.out", "layer2.out"]
REGISTERS = 3
RESULTS = ["nn_out", "x_1_pred", "loss.fm_per_sample", "loss.aux_per_sample", "loss.total", "v"]


def load(path):
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, end = entry["data_offsets"]
            numbers = array.array(CODES[entry["dtype"]], data[start + first : start + end])
            tensors[name] = (entry["dtype"], entry["shape"], numbers)
    return tensors


def save(path, tensors):
    header, data = {}, b""
    for name, (dtype, shape, numbers) in sorted(tensors.items()):
        raw = numbers.tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)
    path.chmod(0o644)


def compact(tensor):
    """What fits is stored in 8 or 32 bits."""
    dtype, shape, numbers = tensor
    if dtype == "I64":
        return ("I32", shape, array.array("i", numbers))
    return ("U8", shape, numbers) if dtype == "BOOL" else tensor


def cut(name, tensor, lengths, padded):
    """Without padding: the first axis is the chain, the second, of pairs the third too, residues or tokens."""
    dtype, shape, numbers = tensor
    if len(shape) < 2 or shape[0] != len(lengths) or shape[1] not in (padded, padded + REGISTERS):
        return tensor
    pairs = name.startswith(("bins.", "pair_")) or name.endswith("to_bias")
    extra = shape[1] - padded
    row = 1
    for size in shape[3 if pairs else 2 :]:
        row *= size
    kept = array.array(numbers.typecode)
    for chain, length in enumerate(lengths):
        side = length + extra
        for i in range(side):
            start = (chain * shape[1] + i) * (shape[2] if pairs else 1) * row
            kept.extend(numbers[start : start + (side if pairs else 1) * row])
    return (dtype, [len(kept) // row, row], kept)


def sparse(tensor):
    """Every fourth number."""
    dtype, _, numbers = tensor
    kept = numbers[::4]
    return (dtype, [len(kept)], kept)


def case(oracle, net, name, lengths, padded, full):
    f64 = load(oracle / f"{net}_f64_{name}.safetensors")
    f32 = load(oracle / f"{net}_f32_{name}.safetensors")
    kept = {}
    for key, tensor in f64.items():
        if key.startswith("grad"):
            kept[key] = tensor if full or net == "tiny" else sparse(tensor)
        elif full or key in RESULTS or key in FEW or key.startswith("bins."):
            kept[key] = cut(key, tensor, lengths, padded)
    for key in RESULTS:
        kept[f"f32.{key}"] = cut(key, f32[key], lengths, padded)
    if full:
        kept.update({f"f32.{key}": tensor for key, tensor in f32.items() if key.startswith("grad.")})
    return kept


def inputs(oracle, net, lengths, padded):
    kept = load(oracle / f"{net}_inputs.safetensors")
    assert [sum(kept["mask"][2][b * padded : (b + 1) * padded]) for b in range(3)] == lengths
    names = ["x_1", "x_0", "t", "x_t", "residue_pdb_idx", "chain_breaks_per_residue", "x_sc", "cath_index"]
    kept = {name: compact(kept[name] if name == "cath_index" else cut(name, kept[name], lengths, padded)) for name in names}
    kept["lengths"] = ("I32", [3], array.array("i", lengths))
    return kept


def training(oracle, lengths, padded):
    kept = {}
    for key, tensor in load(oracle / "tiny_train3_f64.safetensors").items():
        if key.startswith("ema."):
            kept[key] = sparse(tensor)
        else:
            kept[key] = tensor if key.startswith("param.") else cut(key, tensor, lengths, padded)
    return kept


def formulas(oracle):
    kept = {}
    for kind in ["f32", "f64"]:
        tensors = load(oracle / f"fm_vectors_{kind}.safetensors")
        for key in ["emb.t", "emb.time_256"] + [key for key in tensors if key.endswith("_edges")]:
            kept[f"{kind}.{key}"] = tensors[key]
        # Of the residue numbers every seventh, and the last: a large one.
        numbers, features = tensors["emb.idx"][2], tensors["emb.index_128_float_input"]
        rows = sorted({*range(0, len(numbers), 7), len(numbers) - 1})
        kept["emb.idx"] = ("I32", [len(rows)], array.array("i", [numbers[row] for row in rows]))
        chosen = array.array(features[2].typecode)
        for row in rows:
            chosen.extend(features[2][128 * row : 128 * (row + 1)])
        kept[f"{kind}.emb.index_128"] = (features[0], [len(rows), 128], chosen)
    return kept


def main(oracle, output):
    output.mkdir(parents=True, exist_ok=True)
    files = {"formulas": formulas(oracle), "train3": training(oracle, [16, 12, 9], 16)}
    for net, lengths, cases in [
        ("tiny", [16, 12, 9], ["nosc", "sc", "fold", "defaults"]),
        ("tiny_tri", [10, 8, 7], ["nosc", "sc"]),
    ]:
        files[f"{net}_inputs"] = inputs(oracle, net, lengths, lengths[0])
        for name in cases:
            files[f"{net}_{name}"] = case(oracle, net, name, lengths, lengths[0], name == "sc")
    files["guidance"] = {
        key: cut(key, tensor, [16, 12, 9], 16) for key, tensor in load(oracle / "tiny_guidance_f64.safetensors").items()
    }
    for kind in ["vf", "sc"]:
        files[f"sampler_{kind}"] = load(oracle / f"tiny_sampler_{kind}_f64.safetensors")
    for name, tensors in files.items():
        save(output / f"{name}.safetensors", {key: compact(tensor) for key, tensor in tensors.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
