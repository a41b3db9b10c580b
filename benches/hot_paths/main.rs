//! Guards the hot paths: counts their instructions under valgrind, each as a ratio to the same work without this program
//! in the same run, and fails when one has grown by more than 15 %, or is over its bar.
//!
//!     cargo bench --bench hot_paths                count, and compare with benches/hot_paths/ratios.json
//!     cargo bench --bench hot_paths -- --write     count, and write what was counted there: after a change that is meant
//!     cargo bench --bench hot_paths -- "blob put, a mebibyte"     only paths that begin so
//!
//! Instructions do not depend on what else the machine does, and hardly on which machine it is: valgrind shows
//! programs a processor with AES-NI and AVX2, and without AVX-512 and VAES, whatever there is. So the code of
//! aws-lc that is counted is not necessarily the one that runs fastest here. Waiting, system calls and
//! the disk cost no instructions: what they take, `atrest bench` measures.
//!
//! In each run two paths are slowed on purpose, by a fifth, and judged as the others are: a check that lets them pass
//! is broken, and fails.

#![allow(clippy::unwrap_used)]

mod paths;

#[path = "../../tests/common/key_wrapper.rs"]
mod key_wrapper;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use atrest::bench::Build;

use paths::{HotPath, PATHS, Pace};

/// What a path may grow by.
const GROWTH: f64 = 1.15;
/// Paths that are slowed on purpose.
const CONTROLS: [&str; 2] = ["page, sealed", "SQL transaction, sealed"];

/// Ratios by path, for each kind of processor that programs are shown.
type Kept = BTreeMap<String, BTreeMap<String, f64>>;

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let args: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["count", path, pace, count] => {
            count_here(path, pace, count);
            Ok(())
        }
        ["processor"] => {
            println!("{}", processor());
            Ok(())
        }
        ["--write"] => write(),
        [] => check(""),
        [only] => check(only),
        _ => Err("expected: [--write | PATH]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// In the process that is counted.
fn count_here(path: &str, pace: &str, count: &str) {
    let path = PATHS.iter().find(|p| p.name == path).unwrap();
    (path.go)(&Pace {
        count: count.parse().unwrap(),
        slowed: pace == "slowed",
    });
}

/// Of what the program is shown, that by which libraries choose their code.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("aes", is_x86_feature_detected!("aes")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("vaes", is_x86_feature_detected!("vaes")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let features: [(&str, bool); 0] = [];
    let there = features.iter().filter(|(_, there)| *there);
    let names = there.map(|(name, _)| *name);
    let names: Vec<&str> = [env::consts::ARCH].into_iter().chain(names).collect();
    names.join(" ")
}

/// What was asked to be counted, and its instructions for going the path once.
#[derive(Clone, Copy)]
struct Counted {
    path: &'static HotPath,
    slowed: bool,
    instructions: f64,
}

/// Counts all that begin so and what they are held against, two processes at a time.
fn count(only: &str) -> Result<Vec<Counted>, String> {
    let build = Build::this();
    if !build.profile.contains("opt-level 3") || build.profile.contains("assertions") {
        return Err(format!(
            "instructions of this build ({}) say nothing: use `cargo bench`, whose profile optimizes",
            build.profile
        ));
    }
    let wanted = |p: &HotPath| p.name.starts_with(only);
    let needed = |p: &HotPath| {
        let mut held = PATHS.iter().filter(|of| wanted(of)).filter_map(|of| of.to);
        wanted(p) || held.any(|to| to == p.name)
    };
    let jobs = PATHS.iter().filter(|p| needed(p)).map(|path| (path, false));
    let controls = PATHS
        .iter()
        .filter(|p| wanted(p) && CONTROLS.contains(&p.name));
    let jobs: Vec<_> = jobs.chain(controls.map(|path| (path, true))).collect();
    if jobs.is_empty() {
        return Err(format!("no path begins with {only:?}"));
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![]));
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                while let Some(&(path, slowed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let counted = once(path, slowed).map(|instructions| Counted {
                        path,
                        slowed,
                        instructions,
                    });
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(counted);
                }
            });
        }
    });
    done.into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_iter()
        .collect()
}

/// The instructions of going a path once.
fn once(path: &HotPath, slowed: bool) -> Result<f64, String> {
    let pace = if slowed { "slowed" } else { "as-it-is" };
    let [few, many] = path.counts;
    let all = |count: u64| {
        let told = valgrind(&["count", path.name, pace, &count.to_string()])?;
        let line = told
            .1
            .lines()
            .find_map(|line| line.split_once("Collected : "));
        let count = line.and_then(|(_, count)| count.trim().parse::<f64>().ok());
        count.ok_or_else(|| format!("valgrind did not say what it counted: {}", told.1))
    };
    Ok((all(many)? - all(few)?) / (many - few) as f64)
}

/// This program under valgrind; what it prints, and what valgrind does.
fn valgrind(arguments: &[&str]) -> Result<(String, String), String> {
    let this = env::current_exe().unwrap();
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    // Which code aws-lc chooses is the processor's matter here, not the user's.
    command.env_remove("OPENSSL_ia32cap");
    let ended = command
        .arg(this)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let ended =
        ended.map_err(|e| format!("valgrind: {e}; install it (Debian's package valgrind)"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match ended.status.success() {
        true => Ok((text(&ended.stdout), text(&ended.stderr))),
        false => Err(format!("{arguments:?} failed: {}", text(&ended.stderr))),
    }
}

fn baseline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/hot_paths/ratios.json")
}

fn kept() -> Result<Kept, String> {
    match std::fs::read(baseline()) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| format!("ratios.json: {e}")),
        Err(_) => Ok(Kept::new()),
    }
}

/// Instructions to those of what it is held against.
fn ratio(counted: &[Counted], of: &Counted) -> Option<f64> {
    let to = of.path.to?;
    let base = counted.iter().find(|c| c.path.name == to)?;
    Some(of.instructions / base.instructions)
}

fn write() -> Result<(), String> {
    let counted = count("")?;
    let (processor, _) = valgrind(&["processor"])?;
    let found = counted.iter().filter(|c| !c.slowed).filter_map(|c| {
        let ratio = (ratio(&counted, c)? * 1e4).round() / 1e4;
        Some((c.path.name.to_owned(), ratio))
    });
    let mut kept = kept()?;
    kept.insert(processor.trim().to_owned(), found.collect());
    let text = serde_json::to_string_pretty(&kept).unwrap();
    std::fs::write(baseline(), text + "\n").map_err(|e| e.to_string())
}

fn check(only: &str) -> Result<(), String> {
    let (processor, _) = valgrind(&["processor"])?;
    let (processor, kept) = (processor.trim(), kept()?);
    let Some(kept) = kept.get(processor) else {
        return Err(format!(
            "nothing to compare with on {processor}: on a commit that is known to be good, `cargo bench --bench hot_paths -- --write`"
        ));
    };
    let mut counted = count(only)?;
    let order = |c: &Counted| PATHS.iter().position(|p| p.name == c.path.name);
    counted.sort_by_key(|c| (c.slowed, order(c)));
    println!(
        "{} under valgrind: instructions, and ratios in this run\n",
        Build::this().rustc
    );
    println!(
        "{:34} {:>12} {:>9} {:>9} {:>7}",
        "", "once", "ratio", "before", "grown"
    );
    let (mut complaints, mut shrunk) = (vec![], false);
    for c in &counted {
        let name = match c.slowed {
            true => format!("{}, slowed", c.path.name),
            false => c.path.name.to_owned(),
        };
        print!("{name:34} {:>12.0}", c.instructions);
        let Some(now) = ratio(&counted, c) else {
            println!();
            continue;
        };
        // A control is held against its path as it is in this run: that may have become cheaper.
        let as_it_is = counted
            .iter()
            .find(|of| c.slowed && !of.slowed && of.path.name == c.path.name);
        let before = match as_it_is {
            Some(of) => ratio(&counted, of),
            None => kept.get(c.path.name).copied(),
        };
        let Some(before) = before else {
            println!("{now:>10.4}");
            complaints.push(format!("{name}: no ratio is kept: write it"));
            continue;
        };
        if let Some(bar) = c.path.bar.filter(|bar| !c.slowed && now > *bar) {
            complaints.push(format!("{name}: {now:.4}, and the bar is {bar}"));
        }
        let grown = now / before;
        println!("{now:>10.4} {before:>9.4} {grown:>7.3}");
        shrunk |= grown < 1.0 / GROWTH;
        match (c.slowed, grown > GROWTH) {
            (false, true) => complaints.push(format!("{name}: grown to {grown:.2} of what it was")),
            (true, false) => {
                complaints.push(format!("{name}: not noticed, so that this check is broken"));
            }
            _ => (),
        }
    }
    if shrunk {
        println!(
            "\nSomething has become much cheaper: write the ratios anew, so that it stays so."
        );
    }
    match complaints.is_empty() {
        true => {
            println!("\nNo hot path has grown by more than 15 %, and none is over its bar.");
            Ok(())
        }
        false => Err(format!("\n{}", complaints.join("\n"))),
    }
}
