//! Encrypting, decrypting and giving a new data encryption key while the database is in use.

use crate::cli::protection::how;
use crate::cli::{CliError, Context};
use crate::resource::Protection;
use crate::world::landscape::Landscape;
use crate::world::{ConvertedInPlace, NamedKey, ResourceAddress};

use super::address;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest sql protect twin
  atrest sql protect twin --key payroll-key

To begin takes a moment in which nobody has the database open; from then on it is read and written as
a protected one, by any number of programs, while its pages are encrypted one after the other. When it
is interrupted, the same command goes on. How far it is, this shows:

  atrest sql query twin 'SELECT percent_complete FROM sys_dm_database_encryption_keys'

The plain file is overwritten with zeros and deleted in the end. On solid-state disks, on file systems
that copy on write, in snapshots and in backups its bytes may remain. `atrest protect` makes a copy
that is encrypted from its first byte on instead, and nobody may use the database meanwhile; the plain
original then needs the same care.")]
pub(super) struct ProtectArgs {
    /// The plain database: NAME or [ENVIRONMENT/]sql/NAME
    #[arg(value_parser = address)]
    database: ResourceAddress,

    /// The key in the customer's vault; by default the one made by `atrest init`
    #[arg(long, value_name = "[VAULT/]NAME")]
    key: Option<NamedKey>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atrest sql unprotect finance

It is read and written meanwhile; to end takes a moment in which nobody has it open. When it is
interrupted, the same command goes on.")]
pub(super) struct UnprotectArgs {
    /// The protected database: NAME or [ENVIRONMENT/]sql/NAME
    #[arg(value_parser = address)]
    database: ResourceAddress,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atrest sql rekey finance

A new data encryption key is made and wrapped by the newest version of the database's key, and all
pages are sealed anew under it, while the database is read and written. When it is interrupted, the
same command goes on. `atrest rewrap` wraps the data encryption key anew and touches no page.")]
pub(super) struct RekeyArgs {
    /// The protected database: NAME or [ENVIRONMENT/]sql/NAME
    #[arg(value_parser = address)]
    database: ResourceAddress,
}

pub(super) fn protect(args: &ProtectArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    let key = workspace.customer_key(args.key.as_ref())?;
    let progress = context.output().progress("Encrypting");
    let to = Protection::CustomerManaged { key };
    let done = workspace.encrypt_in_place(&args.database, &to, &mut |n, of| progress.set(n, of))?;
    drop(progress);
    report(&done, "encrypted", context)?;
    if let Some(bytes) = done.plain_bytes_deleted.filter(|bytes| *bytes > 0) {
        context.output().note(&format!(
            "Its plain file of {bytes} bytes was overwritten with zeros and deleted. On solid-state disks, \
             on file systems that copy on write, in snapshots and in backups those bytes may remain. \
             A database that is protected when it is made never has any."
        ));
    }
    Ok(())
}

pub(super) fn unprotect(args: &UnprotectArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    let progress = context.output().progress("Decrypting");
    let done = workspace.decrypt_in_place(&args.database, &mut |n, of| progress.set(n, of))?;
    drop(progress);
    report(&done, "decrypted", context)
}

pub(super) fn rekey(args: &RekeyArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    let progress = context.output().progress("Sealing anew");
    let done = workspace.change_key_in_place(&args.database, &mut |n, of| progress.set(n, of))?;
    drop(progress);
    report(
        &done,
        "sealed anew under a new data encryption key",
        context,
    )?;
    // It is wrapped with the newest version of the key, which a landscape watches from now on.
    if let Some(landscape) = Landscape::find(&workspace)? {
        landscape.look_again(&args.database)?;
    }
    Ok(())
}

fn report(done: &ConvertedInPlace, what: &str, context: &Context) -> Result<(), CliError> {
    context.output().answer(done, |text| {
        use std::fmt::Write;
        writeln!(text, "{}: now {}", done.address, how(&done.protection))?;
        let again = if done.resumed { ", begun earlier" } else { "" };
        writeln!(text, "  {} pages {what}{again}", done.pages)?;
        match done.room_was_made {
            true => writeln!(
                text,
                "  all of it was written anew first, to make room in its pages"
            ),
            false => Ok(()),
        }
    })
}
