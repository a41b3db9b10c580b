use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{EVENT_HEADER, caught_up, event_row, lines, time, workspace};
use crate::cli::{CliError, Context, Outcome, table};

/// Arguments of `atrest clock`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest clock show
  atrest clock advance 24h     a day passes at once, and what is due takes effect
  atrest clock advance 30d
  atrest clock run             from now on it runs with the machine's
  atrest clock stop            and stands still again

The vaults go by it, too: keys expire, deleted ones are purged.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what time it is
    Show,
    /// Let time pass
    Advance {
        /// How much: 30m, 24h, 7d, 2w
        #[arg(value_parser = span)]
        by: SignedDuration,
    },
    /// Let it run with the machine's clock
    Run,
    /// Let it stand still
    Stop,
    /// Set how long SQL databases take to pick up a new key version: pages disagree on it
    SqlPickUp {
        /// In minutes
        minutes: u32,
    },
}

#[derive(Serialize)]
struct Shown {
    now: Timestamp,
    real_time: bool,
}

/// A number with m, h, d or w.
fn span(text: &str) -> Result<SignedDuration, String> {
    let bad = || format!("{text:?} is no span of time: expected 30m, 24h, 7d or 2w");
    let (number, minutes) = match text.char_indices().last() {
        Some((at, 'm')) => (&text[..at], 1),
        Some((at, 'h')) => (&text[..at], 60),
        Some((at, 'd')) => (&text[..at], 24 * 60),
        Some((at, 'w')) => (&text[..at], 7 * 24 * 60),
        _ => return Err(bad()),
    };
    let number: u32 = number.parse().map_err(|_| bad())?;
    Ok(SignedDuration::from_mins(i64::from(number) * minutes))
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = workspace(context)?;
    let landscape = caught_up(&workspace)?;
    match &args.command {
        Command::Show => {}
        Command::Advance { by } => {
            let advanced = landscape.advance(*by)?;
            context.output().answer(&advanced, |text| {
                lines(
                    text,
                    &[("from", time(advanced.from)), ("to", time(advanced.to))],
                )?;
                let rows: Vec<_> = advanced.happened.iter().map(event_row).collect();
                if !rows.is_empty() {
                    text.push_str(&table(&EVENT_HEADER, &[], &rows));
                }
                Ok(())
            })?;
            return Ok(Outcome::Holds);
        }
        Command::Run => landscape.set_real_time(true)?,
        Command::Stop => landscape.set_real_time(false)?,
        Command::SqlPickUp { minutes } => landscape.set_sql_pick_up(*minutes)?,
    }
    let shown = Shown {
        now: landscape.now()?,
        real_time: landscape.is_real_time()?,
    };
    context.output().answer(&shown, |text| {
        let how = if shown.real_time {
            "runs with the machine's"
        } else {
            "stands still"
        };
        lines(text, &[("now", time(shown.now)), ("clock", how.to_owned())])
    })?;
    Ok(Outcome::Holds)
}
