//! The SDF file that appears whole or not at all.

use std::fs::Permissions;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::chem::{Record, sdf};
use crate::{Error, Result};

/// An SDF file in the making, under a temporary name beside its own.
pub(super) struct Output {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    overwrite: bool,
}

impl Output {
    /// Begins a file; refuses to replace one unless told to.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self> {
        if path.exists() && !overwrite {
            return Err(Error::Config(format!("{} exists; give --overwrite to replace it", path.display())));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        // Readable as any new file is, not for the owner alone as temporary files are.
        let mut builder = tempfile::Builder::new();
        let file = builder.permissions(Permissions::from_mode(0o666)).tempfile_in(folder).map_err(Error::io(folder))?;
        Ok(Output { path: path.to_path_buf(), file: BufWriter::new(file), overwrite })
    }

    /// Appends a record.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        sdf::write_record(&mut self.file, record)
    }

    /// Gives the file its name.
    pub fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(Error::io(&self.path))?;
        let file = self.file.into_inner().map_err(|e| Error::io(&self.path)(e.into_error()))?;
        file.as_file().sync_all().map_err(Error::io(&self.path))?;
        let named = if self.overwrite { file.persist(&self.path) } else { file.persist_noclobber(&self.path) };
        named.map(drop).map_err(|e| Error::io(&self.path)(e.error))
    }
}
