//! The folder of a report: every file appears whole or not at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A folder that a report is written to.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    overwrite: bool,
}

impl Folder {
    /// Makes the folder; refuses one that holds one of the files `names` already, unless told to `overwrite`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file that is there; [`Error::Io`].
    pub fn create(path: &Path, overwrite: bool, names: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(Error::io(path))?;
        match names.iter().map(|name| path.join(name)).find(|file| file.exists() && !overwrite) {
            Some(file) => Err(Error::Config(format!("{} exists; give --overwrite to replace it", file.display()))),
            None => Ok(Folder { path: path.to_path_buf(), overwrite }),
        }
    }

    /// Writes a file.
    ///
    /// # Errors
    /// [`Error::Io`], also when another program has made the file meanwhile and `overwrite` was not given.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(&self.path)
            .map_err(Error::io(&path))?;
        file.write_all(content).map_err(Error::io(&path))?;
        file.as_file().sync_all().map_err(Error::io(&path))?;
        let named = if self.overwrite { file.persist(&path) } else { file.persist_noclobber(&path) };
        named.map(drop).map_err(|e| Error::io(&path)(e.error))
    }
}

/// A table as CSV.
///
/// # Errors
/// [`Error::Data`] when rows differ in their number of fields.
pub fn csv(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let failed = |e: csv::Error| Error::Data(format!("a table with the columns {}: {e}", header.join(", ")));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(failed)?;
    rows.into_iter().try_for_each(|row| writer.write_record(&row)).map_err(failed)?;
    writer.into_inner().map_err(|e| failed(e.into_error().into()))
}

/// A table in Markdown, its columns as wide as their longest cell; numbers to the right.
pub fn markdown(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
        cells.chain([header[column], "---"]).map(|cell| cell.chars().count()).max().unwrap_or(3)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let cell = |(column, cell): (usize, &&str)| match column {
            0 => format!("{cell:<width$}", width = widths[column]),
            _ => format!("{cell:>width$}", width = widths[column]),
        };
        format!("| {} |\n", cells.iter().enumerate().map(cell).collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| if column == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width - 1)) })
        .collect();
    let rule: Vec<&str> = rule.iter().map(String::as_str).collect();
    let body = rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    line(header) + &line(&rule) + &body.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_not_replaced_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let folder = Folder::create(&path, false, &["x.csv"]).unwrap();
        folder.write("x.csv", b"1").unwrap();
        assert!(folder.write("x.csv", b"2").is_err());
        let message = Folder::create(&path, false, &["y", "x.csv"]).unwrap_err().to_string();
        assert!(message.contains("x.csv exists") && message.contains("--overwrite"), "{message}");
        Folder::create(&path, true, &["x.csv"]).unwrap().write("x.csv", b"3").unwrap();
        assert_eq!(std::fs::read(path.join("x.csv")).unwrap(), b"3");
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn tables() {
        let rows = [vec!["a,\"b\"".to_string(), "1".to_string()], vec!["c".to_string(), "1000".to_string()]];
        assert_eq!(csv(&["key", "n"], rows.clone()).unwrap(), b"key,n\n\"a,\"\"b\"\"\",1\nc,1000\n");
        assert!(csv(&["key"], rows.clone()).is_err());
        assert_eq!(
            markdown(&["key", "n"], &rows),
            "| key   |    n |\n| ----- | ---: |\n| a,\"b\" |    1 |\n| c     | 1000 |\n"
        );
    }
}
