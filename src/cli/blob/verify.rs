use crate::cli::{CliError, Context};
use crate::resource::blob::{LeftOut, Unread};
use crate::resource::{ProtectedResource, Protection};

use super::args::VerifyArgs;

pub(super) fn run(args: &VerifyArgs, context: &Context) -> Result<(), CliError> {
    let output = context.output();
    let account = context.workspace()?.open_storage(&args.account)?;
    let progress = output.progress("Verifying");
    let verified = account.verify(&mut |done, total| progress.set(done, total))?;
    drop(progress);
    output.answer(&verified, |text| {
        use std::fmt::Write;
        let (address, units, bytes) = (&args.account, verified.units, verified.bytes);
        match account.protection() {
            Protection::Plain => writeln!(
                text,
                "{address}: {bytes} bytes read; nothing in a plain account can be authenticated"
            ),
            _ => writeln!(
                text,
                "{address}: {units} pages, manifests and chunks, {bytes} bytes, all authentic"
            ),
        }?;
        for left in &verified.left_out {
            writeln!(text, "  not read: {}", left_out(left))?;
        }
        Ok(())
    })?;
    let unreadable = verified.left_out.iter().find(|left| left.why.is_failure());
    match unreadable {
        None => Ok(()),
        Some(left) => Err(CliError::new(
            format_args!("{}: {}", args.account, left_out(left)),
            "nothing is known of those; let the vault allow the key, and verify again",
        )),
    }
}

/// How many there are, and why they were not read.
fn left_out(left: &LeftOut) -> String {
    let counted = |count: u64, of: &str| match count {
        0 => None,
        1 => Some(format!("1 {of}")),
        _ => Some(format!("{count} {of}s")),
    };
    let counts = [
        counted(left.blobs, "blob"),
        counted(left.blocks, "uncommitted block"),
    ];
    let counts: Vec<_> = counts.into_iter().flatten().collect();
    let counts = counts.join(" and ");
    match &left.why {
        Unread::CustomerProvidedKey => {
            format!(
                "{counts} under keys that clients give with each request, and that are kept nowhere"
            )
        }
        Unread::ScopeDisabled { scope } => {
            format!("{counts} under the encryption scope {scope}, which is disabled")
        }
        Unread::KeyUnavailable { scope, reason } => {
            format!(
                "{counts} under the encryption scope {scope}, whose key is not available: {reason}"
            )
        }
    }
}
