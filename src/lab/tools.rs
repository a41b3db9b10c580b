//! Standard tools of the trade, used where they are installed. The lab's own detectors need none of
//! them; a tool that is absent is said to be.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::LabError;

/// A tool, by the name of its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// gdb's program that writes a core dump of a running process.
    Gcore,
}

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Self::Gcore => "gcore",
        }
    }

    /// Whether it is on the search path.
    pub(super) fn is_here(self) -> bool {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|dir| dir.join(self.program()).is_file())
    }

    fn command(self) -> Command {
        let mut command = Command::new(self.program());
        command.stdin(Stdio::null());
        command
    }
}

/// A core dump of a process, beginning with the path `to`; `None` where there is no `gcore`, or it may
/// not trace.
pub(super) fn gcore(id: u32, to: &Path) -> Result<Option<PathBuf>, LabError> {
    if !Tool::Gcore.is_here() {
        return Ok(None);
    }
    let done = Tool::Gcore
        .command()
        .arg("-o")
        .arg(to)
        .arg(id.to_string())
        .output();
    done.map_err(|e| LabError::io(to, e))?;
    let mut path = to.as_os_str().to_owned();
    path.push(format!(".{id}"));
    let path = PathBuf::from(path);
    Ok(path.is_file().then_some(path))
}
