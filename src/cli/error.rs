use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::bench::BenchError;
use crate::lab::LabError;
use crate::resource::ResourceError;
use crate::scenario::ScenarioError;
use crate::server::ServerError;
use crate::vault::VaultError;
use crate::world::{BadAddress, WorldError};

/// Why a command did not do its work, in the words that the user reads.
#[derive(Debug)]
pub struct CliError(Cause);

#[derive(Debug)]
enum Cause {
    Message(String),
    /// Nobody reads the output any more (`atrest ... | head`): not worth a word.
    ClosedPipe,
}

impl CliError {
    /// A cause and what to do about it, not tied to a file.
    pub fn new(cause: impl fmt::Display, advice: &str) -> Self {
        Self(Cause::Message(format!("{cause}; {advice}")))
    }

    /// A cause at a file, and what to do about it.
    pub fn at(file: &Path, cause: impl fmt::Display, advice: &str) -> Self {
        Self::new(format_args!("{}: {cause}", file.display()), advice)
    }

    /// A failure to write to standard output.
    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self(Cause::ClosedPipe)
        } else {
            Self::new(
                format_args!("standard output: {error}"),
                "see that it can be written to",
            )
        }
    }

    /// Tells the user, and gives the exit code: 2, or 0 when only the reader went away.
    pub(super) fn report(self) -> ExitCode {
        match self.0 {
            Cause::Message(text) => {
                eprint_quietly(&format!("atrest: {text}\n"));
                ExitCode::from(2)
            }
            Cause::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Message(text) => f.write_str(text),
            Cause::ClosedPipe => f.write_str("standard output was closed"),
        }
    }
}

macro_rules! from_lower_layers {
    ($($error:ty),*) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self(Cause::Message(error.to_string()))
            }
        }
    )*};
}

from_lower_layers!(
    ResourceError,
    VaultError,
    BadAddress,
    WorldError,
    LabError,
    ScenarioError,
    BenchError,
    ServerError
);

/// `eprintln!` panics when standard error is closed; this does not.
fn eprint_quietly(text: &str) {
    let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
}
