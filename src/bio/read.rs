//! Opens structure files: what they are is told by their content, not by their names.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::chain::Entry;
use super::lines::Lines;
use super::{mmcif, pdb};
use crate::{Error, Result};

/// No more than this is read of a file, unpacked: more than any entry of the PDB takes for its first model, and what
/// keeps a packed file from filling the memory.
pub const MAX_BYTES: u64 = 2 << 30;

/// As much of a file is looked at to tell what it is.
const SNIFFED: usize = 4096;

/// What files begin with that are something else.
const OTHERS: [(&[u8], &str); 8] = [
    (b"\x1f\x9d", "packed by compress (.Z); unpack it first"),
    (b"BZh", "packed by bzip2; unpack it first"),
    (b"\xfd7zXZ", "packed by xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd; unpack it first"),
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"FCMP", "a FoldComp file; unpack it with foldcomp first"),
    (b"<?xml", "an XML file (PDBML?); PDB and mmCIF are read"),
    (b"\x1f\x8b", "packed by gzip twice; unpack it first"),
];

/// Reads the chains of a PDB or mmCIF file, plain or packed by gzip.
///
/// # Errors
/// [`Error::Data`] with the file's name (without its folder) when it is no such file or damaged; [`Error::Io`] when the
/// operating system refuses.
pub fn read(path: &Path) -> Result<Entry> {
    let file = File::open(path).map_err(Error::io(path))?;
    if !file.metadata().map_err(Error::io(path))?.is_file() {
        return Err(Error::Data(format!("{}: not a file", path.display())));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    from_source(BufReader::new(file)).map_err(|what| Error::Data(format!("{name}: {what}")))
}

/// Reads the chains of a file's bytes.
///
/// # Errors
/// What is wrong with them.
pub fn read_bytes(bytes: &[u8]) -> Result<Entry, String> {
    from_source(bytes)
}

fn from_source(mut source: impl BufRead) -> Result<Entry, String> {
    let start = source.fill_buf().map_err(|e| e.to_string())?;
    match start.starts_with(b"\x1f\x8b") {
        true => from_text(BufReader::new(MultiGzDecoder::new(source))),
        false => from_text(source),
    }
}

fn from_text(mut source: impl BufRead) -> Result<Entry, String> {
    let mut start = Vec::new();
    let sniffed = source.by_ref().take(SNIFFED as u64).read_to_end(&mut start);
    if let Err(error) = sniffed
        && start.is_empty()
    {
        return Err(format!("cannot be read: {error}"));
    }
    if start.is_empty() {
        return Err("empty".into());
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err((*what).to_string());
    }
    if start.contains(&0) {
        return Err("binary (BinaryCIF, MMTF?); PDB and mmCIF are read, plain or packed by gzip".into());
    }
    let is_cif = is_cif(&start);
    let mut lines = Lines::new(start.chain(source), MAX_BYTES);
    if is_cif { mmcif::read(&mut lines) } else { pdb::read(&mut lines) }
}

/// Whether the first word that is no comment begins a data block.
fn is_cif(start: &[u8]) -> bool {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let mut lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && line[0] != b'#').unwrap_or_default();
    first.len() >= 5 && first[..5].eq_ignore_ascii_case(b"data_")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const ATOM: &str = "ATOM      2  CA  SER A   1      11.104  -6.134   2.000  1.00 12.50           C  \n";

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_or_plain_by_content() {
        let many = ATOM.repeat(200);
        let plain = read_bytes(many.as_bytes()).unwrap();
        assert_eq!(plain, read_bytes(&pack(many.as_bytes())).unwrap());
        let parts = [pack(&many.as_bytes()[..5000]), pack(&many.as_bytes()[5000..])].concat();
        assert_eq!(plain, read_bytes(&parts).unwrap(), "several gzip members");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let packed = pack(&ATOM.repeat(2000).into_bytes());
        for (bytes, expected) in [
            (&b""[..], "empty"),
            (b"just words", "no atoms"),
            (b"\x83\xa7encoder\x00", "binary"),
            (b"BZh91AY", "bzip2"),
            (&pack(&packed), "gzip twice"),
            (&packed[..packed.len() / 2], "truncated"),
            (&packed[..12], "cannot be read"),
            (b"\n# x\nDATA_A\n_cell.length_a 1", "without atoms"),
        ] {
            let message = read_bytes(bytes).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        // 64 MiB of one line in 300 KiB.
        let bomb = pack(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 1 << 19);
        assert!(read_bytes(&bomb).unwrap_err().contains("line 1 is longer"));
    }
}
