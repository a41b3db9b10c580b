use std::fs;
use std::path::{Path, PathBuf};

use crate::base::{FileLock, create_dir_private, write_new_atomic};
use crate::crypto::SecretBytes;

use super::ServerError;

/// The longest file that is read, in bytes.
const MAX_LEN: u64 = 1 << 20;

/// The server's own directory in a working directory (docs/format.md, "Server").
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// The directory `server` of the working directory `workspace`; made when it is missing.
    pub fn of(workspace: &Path) -> Result<Self, ServerError> {
        let dir = workspace.join("server");
        create_dir_private(&dir).map_err(|e| ServerError::io(&dir, e))?;
        Ok(Self(dir))
    }

    /// Waits until no other process changes what lies in it.
    pub(super) fn lock(&self) -> Result<FileLock, ServerError> {
        let locked = fs::File::open(&self.0).and_then(FileLock::exclusive);
        locked.map_err(|e| ServerError::io(&self.0, e))
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The file `name`; when it is missing, what `make` makes becomes the file. When two processes
    /// make it at once, both get what one of them made.
    pub(super) fn kept(
        &self,
        name: &str,
        make: impl FnOnce() -> SecretBytes,
    ) -> Result<SecretBytes, ServerError> {
        let path = self.file(name);
        if !path.exists() {
            match write_new_atomic(&path, make().expose()) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(ServerError::io(&path, e));
                }
                _ => {}
            }
        }
        let length = fs::metadata(&path).map_err(|e| ServerError::io(&path, e))?;
        if length.len() > MAX_LEN {
            return Err(self.malformed(name, "longer than 1 MiB"));
        }
        let bytes = fs::read(&path).map_err(|e| ServerError::io(&path, e))?;
        Ok(SecretBytes::from_vec(bytes))
    }

    pub(super) fn malformed(&self, name: &str, why: impl std::fmt::Display) -> ServerError {
        ServerError::Malformed {
            path: self.file(name).display().to_string(),
            dir: self.0.display().to_string(),
            why: why.to_string(),
        }
    }
}
