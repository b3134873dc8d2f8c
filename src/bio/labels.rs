//! Fold labels of chains, from the tables that CATH, SIFTS and TED publish.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::fold::is_code;
use super::lines::{Lines, text};
use crate::{Error, Result};

/// A chain, as tables may call it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The file's name without its endings.
    pub stem: &'a str,
    /// The id in the PDB that the file states; may be empty.
    pub entry: &'a str,
    /// The chain's id.
    pub chain: &'a str,
}

impl Subject<'_> {
    /// The chain's name in a data set: the file's, and the chain's id where it has one.
    pub fn key(&self) -> String {
        match self.chain {
            "" => self.stem.to_string(),
            chain => format!("{}_{chain}", self.stem),
        }
    }

    /// The id in the PDB in lower case: the one that the file states, or the one in its name (`1abc`, `pdb1abc`).
    pub fn entry_id(&self) -> Option<String> {
        let stem = self.stem.to_lowercase();
        let of_name = stem.strip_prefix("pdb").filter(|rest| is_entry_id(rest)).unwrap_or(&stem);
        [&self.entry.to_lowercase(), of_name].into_iter().find(|id| is_entry_id(id)).map(str::to_string)
    }

    /// The names that a list of clusters may use.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = vec![self.key(), self.stem.to_string()];
        if let Some(id) = self.entry_id() {
            names.extend([format!("{id}_{}", self.chain), format!("{}_{}", id.to_uppercase(), self.chain)]);
        }
        names
    }
}

/// Whether this is an id such as `1abc`.
fn is_entry_id(text: &str) -> bool {
    text.len() == 4 && text.as_bytes()[0].is_ascii_digit() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The name of a model of AlphaFold without its version: `AF-P12345-F1` of `AF-P12345-F1-model_v4`.
fn model_id(name: &str) -> Option<&str> {
    let name = name.split("-model_v").next().filter(|name| name.starts_with("AF-"))?;
    let fragment = name.rsplit("-F").next()?;
    (!fragment.is_empty() && fragment.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// Fold codes of chains.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// Of chains, called `1abc_A`.
    chains: HashMap<String, BTreeSet<String>>,
    /// Of CATH's domains, called `1abcA01`.
    domains: HashMap<String, String>,
    /// Of models of AlphaFold, without version.
    models: HashMap<String, BTreeSet<String>>,
    /// Domains that SIFTS lists for chains, until all tables are read.
    pending: Vec<(String, String)>,
}

/// The columns of a table.
enum Table {
    /// `cath-domain-list.txt`: domain, C, A, T, H, …
    DomainList,
    /// `cath-b-newest-all`: domain, version, code, segments.
    Daily,
    /// SIFTS' `pdb_chain_cath_uniprot.tsv`: entry, chain, UniProt, domain.
    Sifts,
    /// TED's domain summary: 14th column of 21.
    Ted,
}

impl Labels {
    /// Reads tables, plain or packed by gzip; what each is is told by its first row. Of TED's, which is larger than
    /// memory, only the rows of the models among `stems` (names of files without their endings) are kept.
    ///
    /// # Errors
    /// [`Error::Data`] with file and line when a table is none of those known or damaged, [`Error::Io`] when the
    /// operating system refuses.
    pub fn read<'a>(paths: impl IntoIterator<Item = &'a Path>, stems: &[&str]) -> Result<Self> {
        let models: HashSet<&str> = stems.iter().filter_map(|stem| model_id(stem)).collect();
        let mut labels = Labels::default();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let source = open(path)?;
            labels.read_table(source, &models).map_err(|what| Error::Data(format!("{name}: {what}")))?;
        }
        for (chain, domain) in std::mem::take(&mut labels.pending) {
            let code = labels.domains.get(&domain).map_or(&domain, |code| code);
            if is_code(code) {
                labels.chains.entry(chain).or_default().insert(code.clone());
            } else if labels.domains.is_empty() {
                let what = "names domains, not folds; give cath-b-newest-all or cath-domain-list.txt too";
                return Err(Error::Data(format!("the SIFTS table {what}")));
            }
        }
        Ok(labels)
    }

    /// The codes of a chain, ascending; none where it has no label.
    pub fn of(&self, subject: Subject) -> Vec<String> {
        if let Some(code) = self.domains.get(subject.stem) {
            return vec![code.clone()];
        }
        let model = model_id(subject.stem).and_then(|id| self.models.get(id));
        let chain = || self.chains.get(&format!("{}_{}", subject.entry_id()?, subject.chain));
        model.or_else(chain).map(|codes| codes.iter().cloned().collect()).unwrap_or_default()
    }

    fn read_table(&mut self, source: impl BufRead, models: &HashSet<&str>) -> Result<(), String> {
        let mut lines = Lines::new(source, u64::MAX);
        let mut table = None;
        loop {
            let number = lines.number() + 1;
            let Some(line) = lines.next()? else { return Ok(()) };
            let line = text(line);
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let at = |what: String| format!("line {number}: {what}");
            if table.is_none() {
                table = Some(Table::of(&line).map_err(at)?);
                if line.starts_with("PDB\t") || line.starts_with("ted_id\t") {
                    continue;
                }
            }
            self.take(table.as_ref().expect("set above"), &line, models).map_err(at)?;
        }
    }

    fn take(&mut self, table: &Table, line: &str, models: &HashSet<&str>) -> Result<(), String> {
        let words: Vec<&str> = match table {
            Table::Sifts | Table::Ted => line.split('\t').collect(),
            Table::DomainList | Table::Daily => line.split_whitespace().collect(),
        };
        match (table, &words[..]) {
            (Table::DomainList, [domain, levels @ ..]) if levels.len() >= 4 => {
                self.domain(domain, levels[..4].join("."))
            }
            (Table::Daily, [domain, _, code, ..]) => self.domain(domain, code.to_string()),
            (Table::Sifts, [entry, chain, _, domain, ..]) => {
                self.pending.push((format!("{}_{chain}", entry.to_lowercase()), domain.to_string()));
                Ok(())
            }
            (Table::Ted, words) if words.len() >= 14 => {
                let model = words[0].split("_TED").next().and_then(model_id);
                let Some(model) = model.filter(|model| models.contains(model)) else { return Ok(()) };
                for code in words[13].split(',').filter(|code| *code != "-") {
                    check(code)?;
                    self.models.entry(model.to_string()).or_default().insert(code.to_string());
                }
                Ok(())
            }
            (_, words) => Err(format!("{} columns: too few", words.len())),
        }
    }

    fn domain(&mut self, domain: &str, code: String) -> Result<(), String> {
        check(&code)?;
        // Entry of four characters, chain of one or more, domain of two.
        let chain = domain.len().checked_sub(2).and_then(|end| Some((domain.get(..4)?, domain.get(4..end)?)));
        if let Some((entry, chain)) = chain.filter(|(entry, _)| is_entry_id(entry)) {
            // `0` stands for a blank.
            let chain = if chain == "0" { "" } else { chain };
            self.chains.entry(format!("{entry}_{chain}")).or_default().insert(code.clone());
        }
        self.domains.insert(domain.to_string(), code);
        Ok(())
    }
}

fn check(code: &str) -> Result<(), String> {
    match is_code(code) {
        true => Ok(()),
        false => Err(format!("{code:?} is no CATH code, as 1.10.8.10")),
    }
}

impl Table {
    fn of(line: &str) -> Result<Self, String> {
        let tabs: Vec<&str> = line.split('\t').collect();
        let words: Vec<&str> = line.split_whitespace().collect();
        if tabs.len() >= 14 && (tabs[0].contains("_TED") || tabs[0] == "ted_id") {
            Ok(Table::Ted)
        } else if tabs.len() == 4 && (tabs[0] == "PDB" || is_entry_id(tabs[0])) {
            Ok(Table::Sifts)
        } else if words.len() >= 10 && words[1..5].iter().all(|word| word.parse::<u32>().is_ok()) {
            Ok(Table::DomainList)
        } else if words.len() >= 3 && is_code(words[2]) {
            Ok(Table::Daily)
        } else {
            Err("none of the tables known: cath-domain-list.txt, cath-b-newest-all, pdb_chain_cath_uniprot.tsv, \
                 TED's domain_summary.tsv"
                .into())
        }
    }
}

/// Opens a table, plain or packed by gzip.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let mut source = BufReader::with_capacity(1 << 16, File::open(path).map_err(Error::io(path))?);
    let packed = source.fill_buf().map_err(Error::io(path))?.starts_with(b"\x1f\x8b");
    Ok(if packed { Box::new(BufReader::new(MultiGzDecoder::new(source))) } else { Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAILY: &str = "1oaiA00 v4_3_0 1.10.8.10 561-619:A\n1abcA01 putative 3.40.50.300 1-90:A\n\
                         1abcA02 v4_3_0 2.40.10.10 91-200:A\n1old001 v4_3_0 2.60.40.10 1-90:0\n";
    const LIST: &str = "# CATH List File (CLF) Format\n#-------\n\
                        1oaiA00     1    10     8    10     1     1     1     1     1    59 1.000\n";
    const SIFTS: &str = "# 2026/01/01\nPDB\tCHAIN\tSP_PRIMARY\tCATH_ID\n1xyz\tAB\tP1\t1oaiA00\n";
    const TED: &str = "AF-A0A000-F1-model_v4_TED01\tf8\thigh\t11-41_290-389\t131\t2\t94.3\t21\t4\t7\t11\t10\tp\t\
                       3.90.1150.10\tH\tfoldseek\t11.4\t0.3\t-\tS\tl\n\
                       AF-A0A000-F1-model_v4_TED02\tf8\thigh\t42-99\t131\t2\t94.3\t21\t4\t7\t11\t10\tp\t\
                       3.40.640,1.10.8\tT\tfoldclass\t11.4\t0.3\t-\tS\tl\n\
                       AF-A0A001-F1-model_v4_TED01\tf8\thigh\t42-99\t131\t2\t94.3\t21\t4\t7\t11\t10\tp\t-\t-\t-\t\
                       11.4\t0.3\t-\tS\tl\n";

    fn labels(tables: &[&str], stems: &[&str]) -> Result<Labels> {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..tables.len()).map(|i| dir.path().join(format!("table-{i}"))).collect();
        tables.iter().zip(&paths).for_each(|(table, path)| std::fs::write(path, table).unwrap());
        Labels::read(paths.iter().map(|path| path.as_path()), stems)
    }

    fn of(labels: &Labels, stem: &str, entry: &str, chain: &str) -> Vec<String> {
        labels.of(Subject { stem, entry, chain })
    }

    #[test]
    fn each_table_gives_its_labels() {
        let found = labels(&[DAILY], &[]).unwrap();
        assert_eq!(of(&found, "1ABC", "", "A"), ["2.40.10.10", "3.40.50.300"]);
        assert_eq!(of(&found, "model", "1ABC", "A"), ["2.40.10.10", "3.40.50.300"]);
        assert_eq!(of(&found, "pdb1old", "", ""), ["2.60.40.10"]);
        assert_eq!(of(&found, "1abcA02", "", "A"), ["2.40.10.10"], "a domain's own file");
        assert!(of(&found, "1abc", "", "a").is_empty());
        assert_eq!(of(&labels(&[LIST], &[]).unwrap(), "1oai", "", "A"), ["1.10.8.10"]);
        assert_eq!(of(&labels(&[SIFTS, LIST], &[]).unwrap(), "1xyz", "", "AB"), ["1.10.8.10"]);
        let ted = labels(&[TED], &["AF-A0A000-F1-model_v6", "AF-A0A001-F1-model_v4"]).unwrap();
        assert_eq!(of(&ted, "AF-A0A000-F1-model_v6", "", "A"), ["1.10.8", "3.40.640", "3.90.1150.10"]);
        assert!(of(&ted, "AF-A0A001-F1-model_v4", "", "A").is_empty());
        assert!(
            labels(&[TED], &["AF-A0A001-F1-model_v4"]).unwrap().models.is_empty(),
            "only what is asked for is kept"
        );
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for (tables, expected) in [
            (vec!["a b\n"], "line 1: none of the tables known"),
            (vec![SIFTS], "give cath-b-newest-all"),
            (vec!["1oaiA00 v4 1.10.8.10 1-9:A\n1oaiA00 v4\n"], "line 2: 2 columns"),
            (vec!["1oaiA00 v4 1.10.8.10 1-9:A\n1oaiA00 v4 fold 1-9:A\n"], "line 2: \"fold\" is no CATH code"),
        ] {
            let message = labels(&tables, &[]).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
