//! Azure's own client libraries, unmodified and with all of their checks on, against `atrest with`:
//! Python in a virtual environment, JavaScript under Node. Both are installed by `.ci/run`.

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

/// A directory with Node's packages, and the script `name` in it: modules are looked for beside it.
fn node_script(name: &str) -> PathBuf {
    installed(
        "target/clients/node/node_modules/@azure/keyvault-keys",
        "mkdir -p target/clients/node && cp tests/clients/node/package*.json target/clients/node && \
         npm ci --prefix target/clients/node",
    );
    let to = package("target/clients/node").join(name);
    fs::copy(package("tests/clients/node").join(name), &to).unwrap();
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

/// Runs `program script` under `atrest with`; each step that held is a line `NAME ok`.
fn holds(program: &Path, script: &Path, steps: usize) {
    let temp = workspace();
    let command = [program, script].map(|path| path.to_str().unwrap());
    let ran = atrest(temp.path(), &["with", "--", command[0], command[1]]);
    let printed = String::from_utf8_lossy(&ran.stdout);
    let held = printed.lines().filter(|line| line.ends_with(" ok")).count();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{printed}\n{errors}");
    assert_eq!(held, steps, "{printed}");
}

#[test]
fn python_code_written_for_azure_uses_keys_unchanged() {
    holds(&python(), &package("tests/clients/python/keys.py"), 12);
}

#[test]
fn python_code_written_for_azure_uses_secrets_unchanged() {
    holds(
        &python(),
        &package("tests/clients/python/secret_values.py"),
        4,
    );
}

#[test]
fn the_example_in_the_docs_is_refused_once_its_key_is_disabled() {
    let temp = workspace();
    let (python, script) = (python(), package("docs/examples/wrap.py"));
    let run = || {
        let command = [&python, &script].map(|path| path.to_str().unwrap());
        let ran = atrest(temp.path(), &["with", "--", command[0], command[1]]);
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).unwrap()
    };
    assert!(run().ends_with("unwrapped the same key\n"));
    assert!(
        atrest(temp.path(), &["key", "disable", "customer-key"])
            .status
            .success()
    );
    assert!(run().ends_with("refused   403 Forbidden {'code': 'KeyDisabled'}\n"));
}

#[test]
fn javascript_code_written_for_azure_uses_keys_unchanged() {
    holds(Path::new("node"), &node_script("keys.mjs"), 7);
}
