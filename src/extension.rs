//! What `libatrest.so`, the loadable SQLite extension, does beyond `sqlite`: it finds the working
//! directory that a database belongs to, opens it as the command line does, and tells the user why
//! it does not. The entry points are in `examples/extension.rs`.

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::base::SystemClock;
use crate::cli::{VAULT_CA, VAULT_URL, passphrase_in};
use crate::crypto::SecretBytes;
use crate::resource::ResourceError;
use crate::sqlite::{Host, Refused, SealedDatabase};
use crate::vault::{RemoteOptions, VaultError};
use crate::world::{AskPassphrase, WhichVault, Workspace, WorldError};

/// For the entry points.
pub const HOST: Host = Host { find, tell };

/// The variable that the command line reads too.
const PASSPHRASE_FILE: &str = "ATREST_PASSPHRASE_FILE";

fn find(path: &Path) -> Result<SealedDatabase, Refused> {
    let at = path.display();
    let dir = Workspace::around(path).ok_or_else(|| {
        Refused::Other(format!(
            "{at}: in no working directory (none above it has an atrest.json); \
             open a plain database without vfs=atrest, or with vfs=unix"
        ))
    })?;
    let ask: AskPassphrase = Arc::new(passphrase);
    let workspace = Workspace::open(dir, ask, Arc::new(SystemClock)).map_err(refused)?;
    let workspace = match server().map_err(|e| refused(e.into()))? {
        Some(options) => workspace.through(options),
        None => workspace,
    };
    let address = workspace.sql_at(path).ok_or_else(|| {
        Refused::Other(format!(
            "{at}: no SQL database of the working directory {}; `atrest status` lists them, \
             `atrest sql create` makes one",
            dir.display()
        ))
    })?;
    let database = workspace.open_sql(&address).map_err(refused)?;
    database.into_sealed().ok_or_else(|| {
        Refused::NotSealed(format!(
            "{at}: not protected; `atrest protect {address}` protects it, or open it with vfs=unix"
        ))
    })
}

/// The server through which the customer's vault is asked, by the variables that the command line reads.
fn server() -> Result<Option<RemoteOptions>, VaultError> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let Some(url) = variable(VAULT_URL) else {
        return Ok(None);
    };
    let url = url.to_string_lossy();
    let ca = variable(VAULT_CA);
    let ca = ca.as_deref().map(Path::new);
    RemoteOptions::from_variables(&url, ca, &variable).map(Some)
}

/// There is no terminal to ask on: it is another program's.
fn passphrase(vault: &WhichVault) -> Result<SecretBytes, String> {
    match env::var_os(PASSPHRASE_FILE) {
        Some(file) => passphrase_in(Path::new(&file)).map_err(|e| e.to_string()),
        None => Err(format!(
            "the vault {vault} is sealed under a passphrase; set {PASSPHRASE_FILE} to a file \
             with it in its first line, before the program starts"
        )),
    }
}

fn refused(error: WorldError) -> Refused {
    let why = error.to_string();
    match error {
        WorldError::Resource(ResourceError::KeyUnavailable { .. }) => Refused::NoKey(why),
        WorldError::Resource(ResourceError::Format { .. } | ResourceError::Unauthentic { .. }) => {
            Refused::NotSealed(why)
        }
        _ => Refused::Other(why),
    }
}

/// To standard error: where SQLite's own messages go is the other program's affair.
fn tell(why: &str) {
    let _ = io::stderr().write_all(format!("atrest: {why}\n").as_bytes());
}
