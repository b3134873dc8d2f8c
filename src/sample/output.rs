//! Files that appear whole or not at all.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::bio::{self, Format};
use crate::chem::{Record, sdf};
use crate::files::refuse_existing;
use crate::geometry::Point;
use crate::{Error, Result};

/// An SDF file in the making, under a temporary name beside its own.
pub(super) struct Sdf {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    overwrite: bool,
}

impl Sdf {
    /// Begins a file; refuses to replace one unless told to.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self> {
        refuse_existing(path, overwrite)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        // Readable as any new file is, not for the owner alone as temporary files are.
        let mut builder = tempfile::Builder::new();
        let file = builder.permissions(Permissions::from_mode(0o666)).tempfile_in(folder).map_err(Error::io(folder))?;
        Ok(Sdf { path: path.to_path_buf(), file: BufWriter::new(file), overwrite })
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

/// A folder that chains are written to, a file each in every form.
pub(super) struct Folder {
    path: PathBuf,
    formats: Vec<Format>,
    overwrite: bool,
}

impl Folder {
    /// Makes the folder; refuses to replace one of the files `names` (without endings) unless told to.
    pub fn create(
        path: &Path,
        formats: &[Format],
        overwrite: bool,
        names: impl Iterator<Item = String>,
    ) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(Error::io(path))?;
        let folder = Folder { path: path.to_path_buf(), formats: formats.to_vec(), overwrite };
        for name in names {
            formats.iter().try_for_each(|&format| refuse_existing(&folder.file(&name, format), overwrite))?;
        }
        Ok(folder)
    }

    /// Writes a chain.
    pub fn write(&mut self, name: &str, title: &str, positions: &[Point]) -> Result<()> {
        let save = |&format: &Format| bio::save(&self.file(name, format), format, title, positions, self.overwrite);
        self.formats.iter().try_for_each(save)
    }

    /// Makes the new names last.
    pub fn finish(self) -> Result<()> {
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(Error::io(&self.path))
    }

    fn file(&self, name: &str, format: Format) -> PathBuf {
        self.path.join(format!("{name}.{}", format.extension()))
    }
}
