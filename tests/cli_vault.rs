//! The commands `vault`, `key` and `audit`, as a user sees them.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use atrest::crypto::{KeyEncryptionKey, KeyKind};

#[test]
fn commands_answer_as_written() {
    trycmd::TestCases::new().case("tests/cmd/vault.trycmd");
}

/// Runs `atrest ARGS` in `dir`; gives its exit code and everything it printed.
fn atrest(dir: &Path, args: &[&str]) -> (i32, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_atrest"))
        .current_dir(dir)
        .args(args)
        .output();
    let ran = ran.unwrap();
    let printed = [ran.stdout, ran.stderr].concat();
    (
        ran.status.code().unwrap(),
        String::from_utf8(printed).unwrap(),
    )
}

#[test]
fn a_private_key_is_imported_from_each_form_and_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    assert_eq!(atrest(dir, &["init", "--service-managed"]).0, 0);
    let key = KeyEncryptionKey::generate(KeyKind::Rsa2048);
    let der = key.to_secret_bytes().expose().to_vec();
    let pem = |label: &str| {
        let digits = STANDARD.encode(&der);
        let lines: Vec<_> = digits
            .as_bytes()
            .chunks(64)
            .map(|l| std::str::from_utf8(l).unwrap())
            .collect();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        )
        .into_bytes()
    };
    let good = pem("PRIVATE KEY");
    let thumbprint = hex::encode(key.thumbprint());
    for (name, bytes, says) in [
        ("der", der.clone(), thumbprint.as_str()),
        ("pem", good.clone(), &thumbprint),
        ("raw", vec![0x61; 32], "oct-256"),
    ] {
        fs::write(dir.join("key"), bytes).unwrap();
        let (code, printed) = atrest(dir, &["key", "import", name, "key"]);
        assert!(code == 0 && printed.contains(says), "{name}: {printed}");
    }
    let before = atrest(dir, &["key", "list"]).1;
    for (name, bytes, says) in [
        ("empty", vec![], "no key that can be used"),
        ("short", vec![0x61; 31], "no key that can be used"),
        ("long", vec![0x61; 33], "no key that can be used"),
        ("huge", vec![0x61; 1 << 20], "no key that can be used"),
        (
            "cut",
            der[..der.len() - 1].to_vec(),
            "no key that can be used",
        ),
        ("pkcs1", pem("RSA PRIVATE KEY"), "openssl pkcs8 -topk8"),
        ("encrypted", pem("ENCRYPTED PRIVATE KEY"), "decrypt it"),
        ("public", pem("PUBLIC KEY"), "not one PEM block"),
        (
            "two",
            [good.clone(), good.clone()].concat(),
            "base64 is damaged",
        ),
        (
            "damaged",
            good.iter()
                .map(|&b| if b == b'Q' { b'!' } else { b })
                .collect(),
            "damaged",
        ),
    ] {
        fs::write(dir.join("key"), bytes).unwrap();
        let (code, printed) = atrest(dir, &["key", "import", name, "key"]);
        assert!(code == 2 && printed.contains(says), "{name}: {printed}");
    }
    assert_eq!(
        atrest(dir, &["key", "import", "missing", "no-such-file"]).0,
        2
    );
    assert_eq!(atrest(dir, &["key", "list"]).1, before);
}

#[test]
fn an_old_vault_file_put_back_fails_the_audit_until_the_loss_is_accepted() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    assert_eq!(atrest(dir, &["init", "--key-kind", "oct-256"]).0, 0);
    let file = dir.join("customer/vault.db");
    let old = fs::read(&file).unwrap();
    assert_eq!(atrest(dir, &["key", "delete", "customer-key"]).0, 0);
    assert_eq!(atrest(dir, &["audit", "verify"]).0, 0);
    fs::write(&file, old).unwrap();
    let (code, printed) = atrest(dir, &["audit", "verify"]);
    assert!(
        code == 1 && printed.contains("an old vault.db was put back"),
        "{printed}"
    );
    let (code, printed) = atrest(dir, &["audit", "verify", "--json"]);
    assert!(
        code == 1 && printed.contains(r#""holds": false"#),
        "{printed}"
    );
    assert_eq!(atrest(dir, &["key", "list"]).0, 2);
    assert_eq!(atrest(dir, &["audit", "reanchor"]).0, 0);
    assert_eq!(atrest(dir, &["audit", "verify"]).0, 0);
    let (_, printed) = atrest(dir, &["audit", "list"]);
    assert!(printed.contains("AuditReanchor"), "{printed}");
}

#[test]
fn a_second_process_sees_a_disabled_key_and_what_it_stops() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    assert_eq!(atrest(dir, &["init", "--key-kind", "oct-256"]).0, 0);
    assert_eq!(atrest(dir, &["key", "disable", "customer-key"]).0, 0);
    let (_, printed) = atrest(dir, &["key", "list"]);
    assert!(printed.contains("disabled"), "{printed}");
    let (code, printed) = atrest(dir, &["key", "rotate", "never-made"]);
    assert!(code == 2 && printed.contains("KeyNotFound"), "{printed}");
}

#[test]
fn a_key_that_wraps_no_data_keys_is_made_but_protects_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    for args in [
        &["init", "--key-kind", "ec-p256"][..],
        &["demo", "--key-kind", "oct-128"],
    ] {
        let (code, printed) = atrest(dir, args);
        assert!(
            code == 2 && printed.contains("wraps a resource's key"),
            "{printed}"
        );
    }
    assert_eq!(atrest(dir, &["init", "--key-kind", "oct-256"]).0, 0);
    for kind in [
        "ec-p256", "ec-p384", "ec-p521", "ec-p256k", "oct-128", "oct-192",
    ] {
        let (code, printed) = atrest(dir, &["key", "create", kind, "--kind", kind]);
        assert!(code == 0 && printed.contains(kind), "{printed}");
    }
    let (_, printed) = atrest(dir, &["key", "show", "ec-p256"]);
    assert!(printed.contains("sign,verify"), "{printed}");
    let update = ["key", "update", "ec-p256", "--operations", "wrapKey"];
    let (code, printed) = atrest(dir, &update);
    assert!(code == 2 && printed.contains("cannot wrapKey"), "{printed}");
    let (code, printed) = atrest(dir, &["--json", "key", "show", "ec-p384"]);
    assert!(code == 0 && printed.contains("\"public_key\""), "{printed}");
}
