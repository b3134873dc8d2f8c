//! Clusters of chains, as mmseqs2 lists them.

use std::collections::HashMap;
use std::path::Path;

use super::labels::{Subject, open};
use super::lines::{Lines, text};
use crate::{Error, Result};

/// Which cluster a chain belongs to.
#[derive(Clone, Debug, Default)]
pub struct Clusters {
    names: Vec<String>,
    members: HashMap<String, u32>,
}

impl Clusters {
    /// Reads a `_cluster.tsv` (representative, tab, member), plain or packed by gzip. Members are named by the chain's
    /// key (`1abc_A`), or by the file's name without its endings.
    ///
    /// # Errors
    /// [`Error::Data`] with file and line when a line has other columns or a member is in two clusters, [`Error::Io`]
    /// when the operating system refuses.
    pub fn read(path: &Path) -> Result<Self> {
        let mut lines = Lines::new(open(path)?, u64::MAX);
        let mut clusters = Clusters::default();
        let mut indices = HashMap::new();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let damaged = |what: String| Error::Data(format!("{name}: {what}"));
        loop {
            let number = lines.number() + 1;
            let Some(line) = lines.next().map_err(damaged)? else { return Ok(clusters) };
            let line = text(line);
            let Some((representative, member)) = line.split_once('\t').filter(|(_, member)| !member.contains('\t'))
            else {
                return Err(damaged(format!("line {number}: expected representative, tab, member; found {line:?}")));
            };
            let next = clusters.names.len() as u32;
            let index = *indices.entry(representative.to_string()).or_insert(next);
            if index == next {
                clusters.names.push(representative.to_string());
            }
            if clusters.members.insert(member.to_string(), index).is_some_and(|before| before != index) {
                return Err(damaged(format!("line {number}: {member:?} is in two clusters")));
            }
        }
    }

    /// The name of a chain's cluster: its representative; `None` where the list does not name the chain.
    pub fn of(&self, subject: Subject) -> Option<&str> {
        let index = subject.names().iter().find_map(|name| self.members.get(name))?;
        Some(&self.names[*index as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<Clusters> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x_cluster.tsv");
        std::fs::write(&path, list).unwrap();
        Clusters::read(&path)
    }

    #[test]
    fn members_by_key_stem_or_entry() {
        let clusters = read("r1\tr1\nr1\tfile_B\nr2\tAF-X-F1-model_v4\nr2\t1ABC_A\n").unwrap();
        let of = |stem, entry, chain| clusters.of(Subject { stem, entry, chain });
        assert_eq!(of("file", "", "B"), Some("r1"));
        assert_eq!(of("r1", "", "A"), Some("r1"));
        assert_eq!(of("AF-X-F1-model_v4", "", "A"), Some("r2"));
        assert_eq!(of("model", "1abc", "A"), Some("r2"));
        assert_eq!(of("file", "", "A"), None);
    }

    #[test]
    fn damaged_lists_are_refused() {
        let message = read("a\tb\na b\n").unwrap_err().to_string();
        assert!(message.contains("x_cluster.tsv: line 2: expected representative, tab, member"), "{message}");
        let message = read("a\tb\nc\tb\n").unwrap_err().to_string();
        assert!(message.contains("line 2: \"b\" is in two clusters"), "{message}");
    }
}
