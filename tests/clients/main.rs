//! Azure's own client libraries, unmodified and with all of their checks on, against `atrest with`:
//! Python in a virtual environment, JavaScript under Node, Rust in a package of its own. All are installed or built
//! by `.ci/run`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ATREST: &str = env!("CARGO_BIN_EXE_atrest");

fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What `.ci/run` installs; the test fails without it, and says how to get it.
fn installed(path: &str, how: &str) -> PathBuf {
    let found = package(path);
    assert!(found.exists(), "{path} is missing; make it with:\n  {how}");
    found
}

fn python() -> PathBuf {
    installed(
        "target/clients/python/bin/python",
        "python3 -m venv target/clients/python && target/clients/python/bin/pip install \
         -r tests/clients/python/requirements.txt",
    )
}

/// A script, copied beside Node's packages: they are looked for there.
fn node_script(path: &str) -> PathBuf {
    installed(
        "target/clients/node/node_modules/@azure/storage-blob",
        "mkdir -p target/clients/node && cp tests/clients/node/package*.json target/clients/node && \
         npm ci --prefix target/clients/node",
    );
    let from = package(path);
    let to = package("target/clients/node").join(from.file_name().unwrap());
    fs::copy(from, &to).unwrap();
    to
}

fn atrest(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(ATREST);
    command.arg("--dir").arg(dir).args(args);
    // Settings that would lead clients to Azure itself.
    for name in ["https_proxy", "http_proxy", "HTTP_PROXY"] {
        command.env(name, "http://127.0.0.1:9");
    }
    for name in ["NO_PROXY", "no_proxy"] {
        command.env(name, "azure.net,.azure.net,login.microsoftonline.com");
    }
    command.env_remove("AZURE_CLIENT_ID");
    command.output().unwrap()
}

fn workspace() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let made = atrest(temp.path(), &["init", "--key-kind", "rsa-2048"]);
    assert!(made.status.success(), "{made:?}");
    temp
}

/// The same with storage accounts `documents` and `archive`, of the first of which the client is told the connection string.
fn holds_on_blobs(program: &Path, script: &Path, steps: usize) {
    let temp = workspace();
    for account in ["documents", "archive"] {
        let made = atrest(temp.path(), &["blob", "create", account]);
        assert!(made.status.success(), "{made:?}");
    }
    let scope = [
        "blob",
        "scope",
        "create",
        "documents",
        "payroll",
        "--service-managed",
    ];
    assert!(atrest(temp.path(), &scope).status.success());
    let keys = atrest(temp.path(), &["--json", "blob", "keys", "documents"]).stdout;
    let keys: serde_json::Value = serde_json::from_slice(&keys).unwrap();
    let connection = keys["connection_string"].as_str().unwrap();
    let told = temp.path().join("run");
    let (program, script) = (program.to_str().unwrap(), script.to_str().unwrap());
    let text = format!(
        "#!/bin/sh\nAZURE_STORAGE_CONNECTION_STRING='{connection}' exec '{program}' '{script}'\n"
    );
    fs::write(&told, text).unwrap();
    let printed = run_with(temp.path(), &[], &[Path::new("sh"), &told]);
    let held = printed.lines().filter(|line| line.ends_with(" ok")).count();
    assert_eq!(held, steps, "{printed}");
}

/// Runs a client under `atrest with OPTIONS`; each step that held is a line `NAME ok`.
fn holds(options: &[&str], client: &[&Path], steps: usize) {
    let printed = run_with(workspace().path(), options, client);
    let held = printed.lines().filter(|line| line.ends_with(" ok")).count();
    assert_eq!(held, steps, "{printed}");
}

/// What a client prints, which must succeed.
fn run_with(dir: &Path, options: &[&str], client: &[&Path]) -> String {
    let client = client.iter().map(|path| path.to_str().unwrap());
    let args: Vec<_> = ["with"]
        .into_iter()
        .chain(options.iter().copied())
        .chain(["--"])
        .chain(client)
        .collect();
    let ran = atrest(dir, &args);
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{printed}\n{errors}");
    printed
}

/// A program of the package of Rust's clients.
fn rust(name: &str) -> PathBuf {
    installed(
        &format!("target/clients/rust/release/{name}"),
        "cargo build --release --locked --manifest-path tests/clients/rust/Cargo.toml --target-dir target/clients/rust",
    )
}

#[test]
fn python_code_written_for_azure_uses_keys_unchanged() {
    let script = package("tests/clients/python/keys.py");
    holds(&[], &[&python(), &script], 13);
}

#[test]
fn python_code_written_for_azure_uses_secrets_unchanged() {
    let script = package("tests/clients/python/secret_values.py");
    holds(&[], &[&python(), &script], 4);
}

#[test]
fn python_code_waits_when_it_is_throttled_and_repeats_what_failed() {
    let script = package("tests/clients/python/retries.py");
    let throttle = [&python(), &script, Path::new("throttle")];
    holds(&["--throttle=0.0001"], &throttle, 2);
    let options = ["--inject=KeyList=503:#2", "--inject=KeyGet=after-reset:#2"];
    holds(&options, &[&python(), &script, Path::new("inject")], 1);
}

#[test]
fn nothing_that_the_published_description_allows_or_forbids_makes_the_server_fail() {
    let script = package("tests/clients/python/contract.py");
    let document = package("docs/openapi.json");
    run_with(workspace().path(), &[], &[&python(), &script, &document]);
}

#[test]
fn python_code_written_for_azure_uses_blobs_unchanged() {
    holds_on_blobs(&python(), &package("tests/clients/python/blobs.py"), 13);
}

#[test]
fn python_code_written_for_azure_copies_blobs_unchanged() {
    let script = package("tests/clients/python/blob_operations.py");
    holds_on_blobs(&python(), &script, 14);
}

#[test]
fn a_file_system_over_blobs_works_unchanged() {
    holds_on_blobs(&python(), &package("tests/clients/python/lake.py"), 2);
}

#[test]
fn tables_in_parquet_files_work_unchanged() {
    holds_on_blobs(&python(), &package("tests/clients/python/parquet.py"), 3);
}

#[test]
fn rust_code_written_for_azure_uses_blobs_unchanged() {
    holds_on_blobs(&rust("blobs"), Path::new("-"), 9);
}

#[test]
fn rust_code_written_for_any_object_store_uses_blobs_unchanged() {
    holds_on_blobs(&rust("store"), Path::new("-"), 8);
}

#[test]
fn javascript_code_written_for_azure_uses_blobs_unchanged() {
    holds_on_blobs(
        Path::new("node"),
        &node_script("tests/clients/node/blobs.mjs"),
        6,
    );
}

#[test]
fn javascript_code_written_for_azure_copies_blobs_unchanged() {
    holds_on_blobs(
        Path::new("node"),
        &node_script("tests/clients/node/blob_operations.mjs"),
        6,
    );
}

#[test]
fn javascript_code_written_for_azure_uses_keys_unchanged() {
    let script = node_script("tests/clients/node/keys.mjs");
    holds(&[], &[Path::new("node"), &script], 10);
}

#[test]
fn rust_code_written_for_azure_uses_keys_unchanged() {
    holds(&[], &[&rust("keys")], 10);
}

#[test]
fn the_examples_in_the_docs_are_refused_once_their_key_is_disabled() {
    let temp = workspace();
    let (python, node, rust) = (python(), PathBuf::from("node"), rust("wrap"));
    let (script, module) = (
        package("docs/examples/wrap.py"),
        node_script("docs/examples/wrap.mjs"),
    );
    let examples: [&[&Path]; 3] = [&[&python, &script], &[&node, &module], &[&rust]];
    for client in examples {
        let printed = run_with(temp.path(), &[], client);
        assert!(
            printed.ends_with("unwrapped the same key\n"),
            "{client:?}: {printed}"
        );
    }
    let disabled = atrest(temp.path(), &["key", "disable", "customer-key"]);
    assert!(disabled.status.success());
    for client in examples {
        let printed = run_with(temp.path(), &[], client);
        let last = printed.lines().last().unwrap();
        assert!(
            last.starts_with("refused   403 Forbidden"),
            "{client:?}: {printed}"
        );
    }
}
