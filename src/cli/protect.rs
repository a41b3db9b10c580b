use crate::resource::Protection;
use crate::world::{Converted, NamedKey, ResourceAddress};

use super::{CliError, Context, Outcome};

/// Arguments of `atrest protect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest protect sql/finance                   under the customer's key
  atrest protect sql/finance --key payroll-key under another one
  atrest protect sql/finance --key payroll/wages  under one in the further vault `payroll`

From one key to another only wrapped keys are rewritten. A resource that was not protected at all
is written anew, encrypted from its first byte on; its old files are deleted, which does not scrub
the medium.")]
pub struct Args {
    /// The resource: [ENVIRONMENT/]sql/NAME or [ENVIRONMENT/]storage/NAME
    address: ResourceAddress,

    /// The customer's key; by default the one made by `atrest init`
    #[arg(long, value_name = "[VAULT/]NAME")]
    key: Option<NamedKey>,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = context.workspace()?;
    let key = workspace.customer_key(args.key.as_ref())?;
    let progress = context.output().progress("Encrypting");
    let to = Protection::CustomerManaged { key };
    let done = workspace.set_protection(&args.address, &to, &mut |n, of| progress.set(n, of))?;
    drop(progress);
    report(&done, context)
}

/// Tells what a change of protection did.
pub(super) fn report(done: &Converted, context: &Context) -> Result<Outcome, CliError> {
    context.output().answer(done, |text| {
        use std::fmt::Write;
        let key = match done.to.key() {
            Some(key) => format!("under the key {}", key.name),
            None => "not protected".into(),
        };
        let how = match &done.to {
            Protection::Plain => "",
            Protection::ServiceManaged { .. } => ", service-managed",
            Protection::CustomerManaged { .. } => ", customer-managed",
        };
        writeln!(text, "{}: now {key}{how}", done.address)?;
        writeln!(
            text,
            "  {} bytes written, {} bytes of data left alone",
            done.bytes_rewritten, done.bytes_untouched
        )
    })?;
    if done.plaintext_was_deleted {
        context.output().note(
            "Its unencrypted files were deleted, not scrubbed: their bytes may remain on the \
             medium, in snapshots and in backups.",
        );
    }
    Ok(Outcome::Holds)
}
