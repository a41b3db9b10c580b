//! Evidence that an auditor can check: reports keep to their published schema, and `atrest report
//! verify` finds out what was changed after they were made.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use atrest::base::SystemClock;
use atrest::lab::sign_report;
use atrest::vault::{LocalVault, RootKeySource, VaultSettings};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_atrest");

/// Runs the program in `dir`, on the working directory `dir/w`.
fn atrest(dir: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM)
        .current_dir(dir)
        .env("ATREST_DIR", "w")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs it; it must end with `code`. Returns what it printed.
fn expect(dir: &Path, args: &[&str], code: i32) -> String {
    let ran = atrest(dir, args);
    let printed = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
    assert_eq!(ran.status.code(), Some(code), "{args:?}: {printed}");
    printed
}

/// A working directory, and the evidence of one run over it, with everything kept: `e`.
struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let case = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let letter = "Dear Ms Berg, the second instalment of 4711.20 is due on Thursday.\n";
        fs::write(case.at("letter.txt"), letter.repeat(2000)).unwrap();
        case.run(&["init", "--key-kind", "rsa-2048"]);
        case.run(&["sql", "create", "ledger"]);
        let rows = "CREATE TABLE entry (id INTEGER PRIMARY KEY, who TEXT);
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
            INSERT INTO entry(who) SELECT 'Payee ' || i || ', reference ' || (i * 7919) FROM n;";
        case.run(&["sql", "exec", "ledger", rows]);
        case.run(&["blob", "create", "documents"]);
        case.run(&["blob", "put", "documents", "letter.txt"]);
        case.prove("e", &["--keep"]);
        case
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn run(&self, args: &[&str]) -> String {
        expect(self.dir.path(), args, 0)
    }

    fn prove(&self, out: &str, more: &[&str]) -> String {
        self.run(&[&["prove", "--only", "1,2,17", "--out", out], more].concat())
    }

    /// Verifies the report in `e` with the stolen files: it must end with `code`, and say `expected`.
    fn verify(&self, more: &[&str], code: i32, expected: &str) {
        let args = [
            &["report", "verify", "e/report.json", "--stolen", "e/stolen"],
            more,
        ]
        .concat();
        let printed = expect(self.dir.path(), &args, code);
        // The table breaks lines.
        let words: Vec<&str> = printed.split_whitespace().collect();
        assert!(words.join(" ").contains(expected), "{args:?}: {printed}");
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.at("e/report.json")).unwrap()).unwrap()
    }

    /// Changes a file, lets `then` look, and takes the change back.
    fn with(&self, path: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>, then: impl FnOnce()) {
        let path = self.at(path);
        let before = fs::read(&path).unwrap();
        fs::write(&path, change(before.clone())).unwrap();
        then();
        fs::write(&path, before).unwrap();
    }
}

fn replaced(from: &str, to: &str) -> impl FnOnce(Vec<u8>) -> Vec<u8> {
    move |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1).into_bytes()
    }
}

#[test]
fn what_was_changed_after_the_run_is_found_whatever_it_is() {
    let case = Case::new();
    // The positive control: unchanged, everything is right.
    let whole = || case.verify(&["--vault"], 0, "every number is the same again");
    whole();
    let printed = case.run(&[
        "report",
        "verify",
        "e/report.json",
        "--stolen",
        "e/stolen",
        "--json",
    ]);
    let checks: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let right = checks.iter().filter(|c| c["result"] == "right").count();
    // Signature, schema, two documents, the stolen files, both resources.
    assert_eq!(right, 7, "{printed}");

    // The report.
    let verdict = r#""verdict": "not-protected""#;
    case.with(
        "e/report.json",
        replaced(verdict, r#""verdict": "holds""#),
        || {
            case.verify(&[], 1, "does not fit the report");
        },
    );
    case.with(
        "e/report.json",
        |b| [&b[..], b" "].concat(),
        || {
            case.verify(&[], 1, "does not fit the report");
        },
    );
    // The documents beside it.
    case.with(
        "e/report.html",
        replaced("What a stolen", "What no stolen"),
        || {
            case.verify(&[], 1, "was changed after the report was signed");
        },
    );
    // A stolen file: one bit.
    let database = "e/stolen/environments/production/sql/ledger.db";
    let flip = |mut bytes: Vec<u8>| {
        bytes[9000] ^= 1;
        bytes
    };
    case.with(database, flip, || {
        case.verify(&[], 1, "sql/ledger.db was altered");
    });
    // One that is gone, one that was put there.
    fs::rename(case.at(database), case.at("elsewhere")).unwrap();
    case.verify(&[], 1, "sql/ledger.db is missing");
    fs::rename(case.at("elsewhere"), case.at(database)).unwrap();
    fs::write(case.at("e/stolen/more"), "x").unwrap();
    case.verify(&[], 1, "more is not in the report");
    fs::remove_file(case.at("e/stolen/more")).unwrap();
    // The texts that were looked for.
    case.with(
        "e/canaries.json",
        |_| b"[]".to_vec(),
        || {
            case.verify(&[], 1, "are not those that the report was made with");
        },
    );
    whole();
}

#[test]
fn a_signature_of_another_report_by_another_key_or_by_nobody_is_no_signature() {
    let case = Case::new();
    let jws = fs::read_to_string(case.at("e/report.jws")).unwrap();
    // Another report's, of the same vault.
    case.prove("other", &[]);
    case.run(&["report", "verify", "other/report.json"]);
    fs::copy(case.at("other/report.jws"), case.at("e/report.jws")).unwrap();
    case.verify(&[], 1, "does not fit the report");
    // No algorithm, no key, no signature.
    let parts: Vec<&str> = jws.trim().split('.').collect();
    let header = |edit: &dyn Fn(&mut Value)| {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
        let mut header: Value = serde_json::from_slice(&B64.decode(parts[0]).unwrap()).unwrap();
        edit(&mut header);
        B64.encode(serde_json::to_vec(&header).unwrap())
    };
    let cases = [
        (
            format!("{}..{}", header(&|h| h["alg"] = json!("none")), parts[2]),
            "its algorithm is",
        ),
        (
            format!(
                "{}..{}",
                header(&|h| h["jwk"]["x"] = json!("AAAA")),
                parts[2]
            ),
            "no public key",
        ),
        (
            format!("{}..{}", header(&|h| h["kid"] = json!("k")), parts[2]),
            "does not fit",
        ),
        (format!("{}..AAAA", parts[0]), "does not fit"),
        (format!("{}..", parts[0]), "does not fit"),
        (
            format!("{}.AAAA.{}", parts[0], parts[2]),
            "no JSON Web Signature",
        ),
        (String::new(), "no JSON Web Signature"),
    ];
    for (text, expected) in cases {
        fs::write(case.at("e/report.jws"), text).unwrap();
        case.verify(&[], 1, expected);
    }
    fs::remove_file(case.at("e/report.jws")).unwrap();
    case.verify(&[], 1, "without a signature nobody stands for the report");

    // Somebody else's key: whole in itself, and told by its thumbprint and by the vault.
    fs::write(case.at("e/report.jws"), &jws).unwrap();
    let shown: Value =
        serde_json::from_str(&case.run(&["key", "show", "atrest-report", "--json"])).unwrap();
    let thumbprint = find(&shown, "thumbprint").unwrap();
    case.verify(
        &["--signer", &thumbprint, "--vault"],
        0,
        "the key that was expected",
    );
    let vault = foreign_vault(&case.at("foreign"));
    let signed = sign_report(&case.at("e/report.json"), &vault).unwrap();
    assert_ne!(signed.thumbprint, thumbprint);
    case.verify(&[], 0, "anybody can sign with a key of his own");
    let nobody = "Nobody vouches for the signer: the files belong together, and that is all.";
    case.verify(&[], 0, nobody);
    case.verify(&[], 0, "it calls itself");
    let vouched = ["--signer", &signed.thumbprint];
    let args = [&["report", "verify", "e/report.json"][..], &vouched].concat();
    assert!(!case.run(&args).contains("Nobody vouches"));
    case.verify(&["--signer", &thumbprint], 1, "was expected");
    case.verify(&["--vault"], 1, "the customer's vault did not sign this");
}

/// Whoever holds the signing key can sign anything: then the stolen files speak against it.
#[test]
fn numbers_that_the_stolen_files_do_not_give_are_refuted_whoever_signed_them() {
    let case = Case::new();
    let vault = foreign_vault(&case.at("foreign"));
    let forge = |edit: &dyn Fn(&mut Value), expected: &str| {
        let mut report = case.report();
        edit(&mut report);
        let bytes = serde_json::to_vec_pretty(&report).unwrap();
        case.with(
            "e/report.json",
            |_| bytes,
            || {
                sign_report(&case.at("e/report.json"), &vault).unwrap();
                let code = i32::from(expected != "every number is the same again");
                case.verify(&[], code, expected);
            },
        );
    };
    forge(&|_| (), "every number is the same again");
    forge(
        &|r| r["figures"][0]["protected"]["figures"]["pages_flagged"] = json!(3),
        "pages_flagged is 0 and not 3",
    );
    forge(
        &|r| r["figures"][0]["protected"]["profile"]["kinds"] = json!("n"),
        "kinds differs",
    );
    forge(
        &|r| r["thefts"][0]["manifest"]["files"][0]["path"] = json!("../w/atrest.json"),
        "is no plain path",
    );
    forge(
        &|r| r["schema"] = json!("atrest-report/2"),
        "this version reads atrest-report/1",
    );
}

#[test]
fn a_new_report_does_not_stand_beside_the_signature_of_an_old_one() {
    let case = Case::new();
    let printed = case.prove("e", &["--unsigned"]);
    assert!(printed.contains("Signature     none"), "{printed}");
    assert!(!case.at("e/report.jws").exists());
    // What was kept is not overwritten.
    let args = ["prove", "--only", "1", "--out", "e", "--keep"];
    let printed = expect(case.dir.path(), &args, 2);
    assert!(printed.contains("stolen: is there already"), "{printed}");
}

#[test]
fn reports_keep_to_the_published_schema_and_broken_ones_do_not() {
    let schema: Value = serde_json::from_str(include_str!("../docs/report.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let case = Case::new();
    case.run(&[
        "demo",
        "--dir",
        "demo",
        "--rows",
        "600",
        "--key-kind",
        "oct-256",
    ]);
    let demo = serde_json::from_slice(&fs::read(case.at("demo/report.json")).unwrap()).unwrap();
    for report in [case.report(), demo] {
        let faults: Vec<String> = schema.iter_errors(&report).map(|e| e.to_string()).collect();
        assert_eq!(faults, Vec::<String>::new());
    }
    let breaks: [fn(&mut Value); 7] = [
        |r| r["schema"] = json!("atrest-report/2"),
        |r| r["claims"][0]["verdict"] = json!("proved"),
        |r| r["thefts"][0]["manifest"]["files"][0]["sha256"] = json!("AB"),
        |r| r["figures"][0]["plain"]["figures"]["histogram"] = json!([1, 2, 3]),
        |r| r["meta"]["seed"] = json!(-1),
        |r| r["surprise"] = json!(true),
        |r| drop(r.as_object_mut().unwrap().remove("notice")),
    ];
    for (number, change) in breaks.into_iter().enumerate() {
        let mut report = case.report();
        change(&mut report);
        assert!(!schema.is_valid(&report), "break {number}");
    }
}

fn foreign_vault(dir: &Path) -> LocalVault {
    let root = RootKeySource::KeyFile(dir.join("root.key"));
    let settings = VaultSettings::default();
    LocalVault::create(&dir.join("vault"), &root, &settings, Arc::new(SystemClock)).unwrap()
}

/// The text of the first member of this name, at any depth.
fn find(value: &Value, name: &str) -> Option<String> {
    let own = value.get(name).and_then(Value::as_str).map(str::to_owned);
    let below: Vec<&Value> = match value {
        Value::Array(all) => all.iter().collect(),
        Value::Object(all) => all.values().collect(),
        _ => Vec::new(),
    };
    own.or_else(|| below.into_iter().find_map(|v| find(v, name)))
}
