//! The page: self-contained, with pictures in SVG.

use askama::Template;

use super::BenchError;
use super::plots::{self, Plot};
use super::results::{Run, StationRun};
use super::words::table_rows;

#[derive(Template)]
#[template(path = "bench.html")]
struct Page<'a> {
    run: &'a Run,
    facts: Vec<(&'static str, String)>,
    plots: Vec<Plot>,
    tables: Vec<Table<'a>>,
}

struct Table<'a> {
    station: &'a StationRun,
    rows: Vec<[String; 6]>,
}

/// The page of a run.
pub fn html(run: &Run) -> Result<String, BenchError> {
    let failed = |e: &dyn std::fmt::Display| BenchError::Report(e.to_string());
    let plots = plots::of(run).map_err(|e| failed(&e))?;
    let tables = run.stations.iter().map(|station| Table {
        station,
        rows: table_rows(station),
    });
    let (machine, build, conditions) = (&run.machine, &run.build, &run.conditions);
    let list = |numbers: [f64; 3]| numbers.map(|n| format!("{n:.2}")).join(", ");
    let page = Page {
        run,
        facts: vec![
            (
                "Machine",
                format!(
                    "{}, {} processors{}, {} MiB",
                    machine.processor,
                    machine.processors,
                    if machine.virtual_machine {
                        " (virtual)"
                    } else {
                        ""
                    },
                    machine.memory_mib
                ),
            ),
            ("Features", machine.features.join(" ")),
            ("System", machine.system.clone()),
            (
                "Files in",
                format!("{} ({})", machine.dir, machine.file_system),
            ),
            (
                "Program",
                format!(
                    "atrest {}, {}, {}",
                    build.version, build.profile, build.rustc
                ),
            ),
            (
                "AES-256-GCM of sealed files",
                format!(
                    "{}; OPENSSL_ia32cap {}",
                    build.backend,
                    build
                        .openssl_ia32cap
                        .as_deref()
                        .map_or("not set".to_owned(), |v| format!("= {v:?}"))
                ),
            ),
            ("SQLite", build.sqlite.clone()),
            ("Page cache", conditions.page_cache.clone()),
            (
                "Load averages",
                format!(
                    "{} before, {} after",
                    list(conditions.load_before),
                    list(conditions.load_after)
                ),
            ),
            (
                "Others",
                format!(
                    "{:.1} % of the processor time taken by other programs, {:.1} % by the hypervisor",
                    100.0 * conditions.others,
                    100.0 * conditions.steal
                ),
            ),
        ],
        plots,
        tables: tables.collect(),
    };
    page.render().map_err(|e| failed(&e))
}
