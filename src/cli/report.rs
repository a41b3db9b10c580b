use std::path::PathBuf;

use clap::Subcommand;

use crate::lab::{Check, Checked, LabError, Verification};
use crate::vault::VaultError;
use crate::world::WhichVault;

use super::vault::caller;
use super::{CliError, Context, Outcome, table};

/// Arguments of `atrest report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a report: its signature, the files beside it, the stolen files, what the detectors see in them
    #[command(after_help = "\
Examples:
  atrest report verify evidence/report.json
  atrest report verify evidence/report.json --signer 3f0c...   the key that the vault's owner named
  atrest report verify evidence/report.json --stolen evidence/stolen
  atrest --dir work report verify evidence/report.json --vault

It needs no vault and no key but with --vault, and writes nothing. The thumbprint of the vault's key is in
`atrest key show atrest-report`. The exit code is 0 when nothing is wrong, 1 when something is: what
was not checked is told, and is no fault.")]
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The report.json
    report: PathBuf,

    /// The signature; by default report.jws beside the report
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// Thumbprint of the key that must have signed: SHA-256 of the public key, 64 hexadecimal digits
    #[arg(long, value_name = "THUMBPRINT")]
    signer: Option<String>,

    /// Ask the customer's vault of the working directory whether it is its own signature
    #[arg(long)]
    vault: bool,

    /// The stolen files: hash each, and let the detectors look at them again
    #[arg(long, value_name = "DIR")]
    stolen: Option<PathBuf>,

    /// The texts that were looked for; by default canaries.json beside the report
    #[arg(long, value_name = "FILE", requires = "stolen")]
    canaries: Option<PathBuf>,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let Command::Verify(args) = &args.command;
    let verification = Verification {
        report: args.report.clone(),
        signature: args.signature.clone(),
        signer: args.signer.clone(),
        stolen: args.stolen.clone(),
        canaries: args.canaries.clone(),
    };
    let progress = context.output().progress("Hashing");
    let mut checks = verification.run(&mut |done, total| progress.set(done, total))?;
    drop(progress);
    if args.vault && checks.len() > 1 {
        checks.insert(1, asked(&verification, context)?);
    }
    let wrong = checks.iter().any(|c| c.result == Checked::Wrong);
    let vouched = args.vault || args.signer.is_some();
    context.output().answer(&checks, |text| {
        let row = |check: &Check| {
            let word = match check.result {
                Checked::Right => "right",
                Checked::Wrong => "WRONG",
                Checked::NotChecked => "not checked",
            };
            vec![word.to_owned(), check.what.clone(), check.seen.clone()]
        };
        let rows: Vec<Vec<String>> = checks.iter().map(row).collect();
        text.push_str(&table(&["", "what", "what was seen"], &[], &rows));
        if !wrong && !vouched {
            text.push_str(
                "\nNobody vouches for the signer: the files belong together, and that is all.\n",
            );
        }
        Ok(())
    })?;
    Ok(match wrong {
        false => Outcome::Holds,
        true => Outcome::ClaimFails,
    })
}

/// Whether the customer's vault made the signature.
fn asked(verification: &Verification, context: &Context) -> Result<Check, CliError> {
    let vault = context
        .workspace()?
        .keys(&WhichVault::Customer, &caller())?;
    let (report, signature) = verification.read()?;
    let signature = signature.map_err(LabError::Report)?;
    let (result, seen) = match signature.is_of(&*vault, &report) {
        Ok(true) => (
            Checked::Right,
            "the customer's vault has the key, and says that it signed",
        ),
        Ok(false) | Err(VaultError::KeyNotFound(_)) => {
            (Checked::Wrong, "the customer's vault did not sign this")
        }
        Err(e) => return Err(e.into()),
    };
    Ok(Check::new("vault", result, seen))
}
