mod compare;
mod explain;

use std::env;
use std::path::{Path, PathBuf};
use std::thread;

use crate::base::write_atomic;
use crate::bench::{self, BenchError, COLUMNS, Operation, Plan, Run, STATIONS, Scale, Station};

use super::{CliError, Context, Outcome, Output, table};

/// Arguments of `atrest bench`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  atrest bench --quick                       everything, in less than 20 seconds
  atrest bench sql --dir /var/tmp            SQL, on the disk of that directory
  atrest bench aead --threads 8 --size 16384
  atrest bench --full --html report.html --output before.json
  atrest bench compare before.json after.json
  atrest bench --explain sql                 where the time of one transaction goes

Each case and its baseline are sampled in turn, in one run, at least ten times. Ratios stand first: they mean
the same on another machine. What disturbed the run is said; docs/bench.md says how to read it."
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Only these stations; --list has their names
    #[arg(value_name = "STATION", value_parser = station)]
    stations: Vec<&'static Station>,

    /// List the stations
    #[arg(long)]
    list: bool,

    /// Less than 20 seconds: small objects, ten samples
    #[arg(long, conflicts_with = "full")]
    quick: bool,

    /// Less than ten minutes: large objects, forty samples, ten thousand resources
    #[arg(long)]
    full: bool,

    /// As many threads as AES-GCM is measured with; by default as many as there are processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Bytes of each unit, object or table, instead of several sizes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(64..=1 << 32))]
    size: Option<u64>,

    /// Put files out of the page cache before each read
    #[arg(long)]
    cold: bool,

    /// Where the time of one operation goes, in parts: sql, blob or vault
    #[arg(long, value_name = "OPERATION", value_parser = operation,
          conflicts_with_all = ["stations", "list", "output", "csv", "html", "cold"])]
    explain: Option<Operation>,

    /// Write the results to FILE, in JSON (docs/bench.schema.json)
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write them to FILE as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write a page with plots to FILE
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Compare two runs, as --output wrote them; exits with 1 when something is surely slower
    Compare(compare::Args),
    /// Print the JSON Schema of the results
    Schema,
}

fn station(name: &str) -> Result<&'static Station, String> {
    let found = STATIONS.iter().find(|station| station.name == name);
    found.ok_or_else(|| {
        let names: Vec<_> = STATIONS.iter().map(|station| station.name).collect();
        format!(
            "{name:?} is no station: expected one of {}",
            names.join(", ")
        )
    })
}

fn operation(name: &str) -> Result<Operation, String> {
    let found = Operation::ALL.into_iter().find(|o| o.name() == name);
    found.ok_or_else(|| format!("{name:?} is not explained: expected sql, blob or vault"))
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let output = context.output();
    match &args.command {
        Some(Command::Compare(args)) => return compare::run(args, output),
        Some(Command::Schema) => output.raw(bench::schema().as_bytes())?,
        None if args.list => list(output)?,
        None => match args.explain {
            Some(operation) => explain::run(operation, &args.plan(context)?, output)?,
            None => measure(args, context)?,
        },
    }
    Ok(Outcome::Holds)
}

fn list(output: Output) -> Result<(), CliError> {
    let names: Vec<_> = STATIONS.iter().map(|s| (s.name, s.title)).collect();
    output.answer(&names, |text| {
        let rows = names
            .iter()
            .map(|(n, t)| vec![(*n).to_owned(), (*t).to_owned()]);
        let rows: Vec<_> = rows.collect();
        text.push_str(&table(&["station", "what it measures"], &[], &rows));
        Ok(())
    })
}

fn measure(args: &Args, context: &Context) -> Result<(), CliError> {
    let output = context.output();
    let plan = args.plan(context)?;
    let stations: Vec<&Station> = match args.stations.is_empty() {
        true => STATIONS.iter().collect(),
        false => args.stations.clone(),
    };
    let bar = output.progress("measuring");
    let count = stations.len() as f64;
    let mut at = (0.0, String::new());
    let mut progress = |station: &str, done: f64| {
        if at.1 != station {
            at = (
                if at.1.is_empty() { 0.0 } else { at.0 + 1.0 },
                station.to_owned(),
            );
        }
        bar.set(((at.0 + done) * 1000.0) as u64, (count * 1000.0) as u64);
    };
    let run = bench::run(&stations, &plan, &mut progress)?;
    drop(bar);
    let failed = |e: &dyn std::fmt::Display| BenchError::Report(e.to_string());
    if let Some(path) = &args.output {
        let json = serde_json::to_string_pretty(&run).map_err(|e| failed(&e))?;
        write(path, format!("{json}\n").as_bytes())?;
    }
    if let Some(path) = &args.csv {
        write(path, &bench::to_csv(&run).map_err(|e| failed(&e))?)?;
    }
    if let Some(path) = &args.html {
        write(path, bench::html(&run)?.as_bytes())?;
    }
    output.answer(&run, |text| print(&run, text))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let advice = "name a file that can be written";
    write_atomic(path, bytes).map_err(|e| CliError::at(path, e, advice))
}

fn print(run: &Run, text: &mut String) -> std::fmt::Result {
    use std::fmt::Write;
    let (machine, build) = (&run.machine, &run.build);
    writeln!(
        text,
        "{}, {} processors, {}; {}",
        machine.processor,
        machine.processors,
        machine.system,
        machine.features.join(" ")
    )?;
    writeln!(
        text,
        "atrest {} ({}, {}), AES-256-GCM by {}, SQLite {}",
        build.version, build.profile, build.rustc, build.backend, build.sqlite
    )?;
    writeln!(text, "Files in {} ({})", machine.dir, machine.file_system)?;
    writeln!(text, "Page cache {}", run.conditions.page_cache)?;
    for station in &run.stations {
        writeln!(text, "\n{}: {}", station.station, station.title)?;
        for note in &station.notes {
            writeln!(text, "  {note}")?;
        }
        let rows: Vec<_> = (bench::table_rows(station).iter())
            .map(|row| row.to_vec())
            .collect();
        text.push_str(&table(&COLUMNS, &[2, 3, 4, 5], &rows));
    }
    let conditions = &run.conditions;
    writeln!(
        text,
        "\n{:.0} s. Load {:.2} before, {:.2} after; others took {:.1} % of the processor time, the hypervisor {:.1} %.",
        run.seconds,
        conditions.load_before[0],
        conditions.load_after[0],
        100.0 * conditions.others,
        100.0 * conditions.steal
    )?;
    for doubt in &conditions.doubts {
        writeln!(text, "To be said against these figures: {doubt}")?;
    }
    let wide = run.measurements().filter(|m| !m.doubts.is_empty()).count();
    if wide > 0 {
        writeln!(
            text,
            "{wide} figures, marked ~, have wide intervals: repeat them on a quieter machine."
        )?;
    }
    Ok(())
}

impl Args {
    fn plan(&self, context: &Context) -> Result<Plan, CliError> {
        let dir = context
            .dir_given()
            .map_or_else(env::temp_dir, Path::to_owned);
        if !dir.is_dir() {
            let advice = "name a directory that exists, on the disk to be measured";
            return Err(CliError::at(&dir, "no directory", advice));
        }
        let program = env::current_exe().map_err(|e| {
            CliError::new(format_args!("this program: {e}"), "start it by its path")
        })?;
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Ok(Plan {
            scale: match (self.quick, self.full) {
                (true, _) => Scale::Quick,
                (_, true) => Scale::Full,
                _ => Scale::Standard,
            },
            size: self.size,
            threads: self.threads.map_or(processors, usize::from),
            dir,
            cold: self.cold,
            program,
            command: command(),
        })
    }
}

/// As it was typed.
fn command() -> String {
    let words = env::args_os().skip(1);
    let words = words.map(|word| word.to_string_lossy().into_owned());
    let all: Vec<String> = std::iter::once("atrest".to_owned()).chain(words).collect();
    all.join(" ")
}
