//! A file of JSON lines: one object per step, for plots and scripts.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tempfile::NamedTempFile;

use super::Metrics;
use crate::{Error, Result};

/// The longest line that is read back; a record has some hundred bytes.
const MAX_LINE: u64 = 1 << 20;

/// Appends one JSON object per line.
pub struct JsonlWriter {
    path: PathBuf,
    file: File,
}

impl JsonlWriter {
    /// Opens the file, or makes it. The session will write steps from `first_step` on: 0 for a new run, k + 1
    /// for one that resumes from the checkpoint of step k. Records of these steps that an earlier session
    /// left, and a last line that it did not finish, are removed first; the file is replaced as a whole, so a
    /// crash leaves the old or the new one.
    ///
    /// # Errors
    /// [`Error::Data`] if a line before the last is no record, [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, first_step: u64) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        if path.exists() {
            remove_from(&path, first_step)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        Ok(JsonlWriter { path, file })
    }

    /// Appends the record of a step. The line is handed to the operating system at once.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, metrics: &Metrics) -> Result<()> {
        let mut line = serde_json::to_vec(metrics).map_err(|error| Error::io(&self.path)(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::io(&self.path))
    }
}

/// What a line must have to be a record.
#[derive(Deserialize)]
struct Head {
    step: u64,
}

/// Removes the records of `first_step` and later steps, and an unfinished last line.
fn remove_from(path: &Path, first_step: u64) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut kept = NamedTempFile::new_in(folder).map_err(Error::io(folder))?;
    copy_before(path, first_step, kept.as_file_mut())?;
    let permissions = fs::metadata(path).map_err(Error::io(path))?.permissions();
    kept.as_file().set_permissions(permissions).map_err(Error::io(path))?;
    kept.as_file().sync_all().map_err(Error::io(path))?;
    kept.persist(path).map_err(|error| Error::io(path)(error.error))?;
    Ok(())
}

/// Copies the records before `first_step`.
fn copy_before(path: &Path, first_step: u64, kept: &mut File) -> Result<()> {
    let mut lines = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let mut kept = BufWriter::new(kept);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(Error::io(path))?;
        if line.is_empty() {
            break;
        }
        match serde_json::from_slice::<Head>(&line) {
            Ok(Head { step }) if line.ends_with(b"\n") => {
                if step < first_step {
                    kept.write_all(&line).map_err(Error::io(path))?;
                }
            }
            // The last line of a session that was killed while it wrote.
            _ if lines.fill_buf().map_err(Error::io(path))?.is_empty() => break,
            _ => return Err(Error::Data(format!("{}:{number}: {NO_RECORD}", path.display()))),
        }
    }
    kept.flush().map_err(Error::io(path))
}

/// What is wrong with a line, and what to do.
const NO_RECORD: &str = "expected a JSON object with `step`; repair the line or move the file away";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn metrics(step: u64, loss: f64) -> Metrics {
        let mut metrics = Metrics::new(step, 1.5);
        metrics.set("loss/train", loss);
        metrics
    }

    fn write(path: &Path, first_step: u64, steps: impl IntoIterator<Item = u64>) {
        let mut writer = JsonlWriter::open(path, first_step).unwrap();
        steps.into_iter().for_each(|step| writer.write(&metrics(step, 0.1)).unwrap());
    }

    fn steps(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str::<Head>(line).unwrap().step).collect()
    }

    #[test]
    fn a_record_is_one_flat_object() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut record = metrics(3, f64::NAN);
        record.set("lr", 0.1);
        record.set("grad/norm", f64::INFINITY);
        record.set("step", 9.0);
        JsonlWriter::open(&path, 0).unwrap().write(&record).unwrap();
        let expected = "{\"step\":3,\"wall_time\":1.5,\"grad/norm\":null,\"loss/train\":null,\"lr\":0.1}\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn a_resumed_session_replaces_later_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        write(&path, 0, 1..=7);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        write(&path, 5, 5..=6);
        assert_eq!(steps(&path), [1, 2, 3, 4, 5, 6]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        write(&path, 0, [1]);
        assert_eq!(steps(&path), [1]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn a_torn_last_line_is_dropped_wherever_it_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        write(&path, 0, 1..=2);
        let whole = fs::read(&path).unwrap();
        for length in whole.len() / 2..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            write(&path, 9, [9]);
            assert_eq!(steps(&path), [1, 9], "torn at byte {length}");
        }
        fs::write(&path, [&whole[..], &[0; 5000]].concat()).unwrap();
        write(&path, 9, [9]);
        assert_eq!(steps(&path), [1, 2, 9]);
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        for damage in [&b"\xff\n"[..], b"{}\n", b"\n", b"{\"step\":-1}\n", &[b'x'; (MAX_LINE + 9) as usize]] {
            let text = [b"{\"step\":1}\n", damage, b"{\"step\":2}\n"].concat();
            fs::write(&path, &text).unwrap();
            let error = JsonlWriter::open(&path, 9).err().expect("the damage went unnoticed");
            assert!(matches!(error, Error::Data(_)));
            assert_eq!(error.to_string(), format!("{}:2: {NO_RECORD}", path.display()));
            assert_eq!(fs::read(&path).unwrap(), text, "the file must stay as it was");
        }
    }
}
