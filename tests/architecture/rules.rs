//! The rules: each a function from source text to complaints.

use std::collections::BTreeSet;

use crate::scan::Source;

/// From bottom to top: a module may name itself and those before it.
const LAYERS: [&str; 13] = [
    "base",
    "crypto",
    "sqlite",
    "vault",
    "envelope",
    "resource",
    "world",
    "lab",
    "scenario",
    "bench",
    "server",
    "cli",
    "extension",
];

/// The files that may hold `unsafe`: the shim between SQLite's C interface and ours, and the names
/// by which SQLite finds the loadable extension (docs/design.md, "How does the stock shell...").
pub const UNSAFE_FILES: [&str; 2] = ["src/sqlite/vfs.rs", "examples/extension.rs"];

/// Crates that are, or that exist to serve, a TLS stack or an async runtime. A second one that comes
/// in unseen, through a feature of something else, is found here.
const TLS_AND_ASYNC: [&str; 24] = [
    "actix-rt",
    "async-executor",
    "async-global-executor",
    "async-io",
    "async-std",
    "boring",
    "futures-executor",
    "glommio",
    "hyper",
    "mio",
    "monoio",
    "native-tls",
    "openssl",
    "openssl-sys",
    "polling",
    "reqwest",
    "rustls",
    "rustls-webpki",
    "s2n-tls",
    "schannel",
    "security-framework",
    "smol",
    "tokio",
    "webpki",
];

/// Of those, the crates that Cargo.lock may hold: what `src/server` is built on.
const TLS_AND_ASYNC_ALLOWED: [&str; 5] = ["hyper", "mio", "rustls", "rustls-webpki", "tokio"];

const MANY_LINES: usize = 400;
const MANY_LINES_REASON: &str = "Over 400 lines because";
pub const EXPOSE_TABLE: &str = "## Who sees key bytes";

pub fn imports_point_down(source: &Source) -> Vec<String> {
    let level = |name: &str| LAYERS.iter().position(|l| *l == name);
    let module = source.module();
    let Some(own) = module.first() else {
        return vec![]; // lib.rs, main.rs and examples stand above all layers.
    };
    let Some(own_level) = level(own) else {
        return vec![format!("{}: {own} is no layer", source.path)];
    };
    let mut complaints = vec![];
    for path in source.scan().paths {
        match path.first().map(|first| (first, level(first))) {
            None => {}
            Some((_, Some(there))) if there <= own_level => {}
            Some((_, Some(_))) => {
                complaints.push(format!(
                    "{}: {} is above {own}",
                    source.path,
                    path.join("::")
                ));
            }
            Some((first, None)) => {
                complaints.push(format!("{}: crate::{first} names no layer", source.path));
            }
        }
    }
    complaints
}

pub fn sql_and_blob_are_strangers(source: &Source) -> Vec<String> {
    let module = source.module();
    let stranger = match module.get(1).map(String::as_str) {
        Some("sql") if module[0] == "resource" => "blob",
        Some("blob") if module[0] == "resource" => "sql",
        _ => return vec![],
    };
    let named = source
        .scan()
        .paths
        .into_iter()
        .filter(|p| p.starts_with(&["resource".to_owned(), stranger.to_owned()]));
    named
        .map(|p| format!("{}: {}", source.path, p.join("::")))
        .collect()
}

pub fn unsafe_is_at_the_border(source: &Source) -> Vec<String> {
    let allowed = UNSAFE_FILES.contains(&source.path.as_str());
    let found = !allowed && source.tokens().iter().any(|t| t == "unsafe");
    complain(found, source, "unsafe")
}

pub fn the_core_is_synchronous(source: &Source) -> Vec<String> {
    let server = source.module().first().is_some_and(|m| m == "server");
    let found = source.tokens().iter().any(|t| t == "async" || t == "await");
    complain(found && !server, source, "async outside src/server")
}

pub fn nothing_unwraps(source: &Source) -> Vec<String> {
    let found = source.scan().unwraps.into_iter();
    found
        .map(|f| format!("{}: unwrap() in {f}", source.path))
        .collect()
}

pub fn a_long_file_says_why(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let header: Vec<_> = source
        .text
        .lines()
        .take_while(|l| l.starts_with("//"))
        .collect();
    let said = header.join(" ").contains(MANY_LINES_REASON);
    complain(
        lines > MANY_LINES && !said,
        source,
        &format!("{lines} lines, no reason in its header"),
    )
}

/// Each function that calls `expose()` must have a row `| file | function | reason |` in the table
/// of docs/design.md, and each row such a function.
pub fn expose_is_listed(sources: &[Source], design: &str) -> Vec<String> {
    let table = design.split_once(EXPOSE_TABLE).map_or("", |(_, rest)| rest);
    let rows = table
        .lines()
        .skip_while(|l| !l.starts_with('|'))
        .take_while(|l| l.starts_with('|'));
    let mut listed = BTreeSet::new();
    let mut complaints = vec![];
    for row in rows.skip(2) {
        let cells: Vec<_> = row.split('|').map(|c| c.trim().replace('`', "")).collect();
        match &cells[..] {
            [_, file, function, reason, _] if !reason.is_empty() => {
                listed.insert((file.clone(), function.clone()));
            }
            _ => complaints.push(format!(
                "docs/design.md: no file, function and reason: {row}"
            )),
        }
    }
    let mut found = BTreeSet::new();
    for source in sources {
        let functions = source.scan().exposes.into_iter();
        found.extend(functions.map(|f| (source.path.clone(), f)));
    }
    let unlisted = found.difference(&listed);
    complaints.extend(unlisted.map(|(file, function)| {
        format!(
            "docs/design.md lacks the row: | `{file}` | `{function}` | (why it needs the bytes) |"
        )
    }));
    let stale = listed.difference(&found);
    complaints.extend(stale.map(|(file, function)| {
        format!("docs/design.md: {function} in {file} does not call expose(): remove its row")
    }));
    complaints
}

pub fn one_tls_stack_and_one_async_runtime(lock: &str) -> Vec<String> {
    let names = lock
        .lines()
        .filter_map(|l| l.strip_prefix("name = \"")?.strip_suffix('"'));
    let unwanted =
        names.filter(|n| TLS_AND_ASYNC.contains(n) && !TLS_AND_ASYNC_ALLOWED.contains(n));
    unwanted.map(|n| format!("Cargo.lock: {n}")).collect()
}

/// Where a build may differ by the feature that breaks the engine on purpose: what is broken, and what says so.
const SABOTAGE: [&str; 2] = ["src/base/sabotage.rs", "src/cli/mod.rs"];

/// No code but that of these files asks for a feature: whatever else were compiled for tests only would hide
/// from who reads the engine.
pub fn features_are_asked_for_in_two_files(source: &Source) -> Vec<String> {
    let asks = source
        .tokens()
        .windows(2)
        .any(|pair| pair[0] == "feature" && pair[1] == "=");
    let allowed = SABOTAGE.contains(&source.path.as_str());
    complain(asks && !allowed, source, "asks for a feature of the build")
}

/// The feature is nobody's default and no other feature's part, and it brings no crate in.
pub fn sabotage_is_chosen_by_name_only(manifest: &str) -> Vec<String> {
    let uses = manifest.matches("sabotage").count();
    let alone = manifest.contains("\n[features]\n") && manifest.contains("\nsabotage = []\n");
    // Beside that line: the remark above it, the test's name, and what the test requires.
    let expected =
        manifest.contains("\n[[test]]\nname = \"sabotage\"\nrequired-features = [\"sabotage\"]\n");
    let mut complaints = Vec::new();
    if !alone || !expected || uses != 4 || manifest.contains("\ndefault = ") {
        complaints.push("Cargo.toml: the feature sabotage is not by itself".to_owned());
    }
    complaints
}

fn complain(found: bool, source: &Source, what: &str) -> Vec<String> {
    found
        .then(|| format!("{}: {what}", source.path))
        .into_iter()
        .collect()
}
