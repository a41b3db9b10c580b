//! Golden vectors of the vault's formats (docs/format.md, "Vault"): root-key record, key file,
//! sealed columns, audit record, audit anchor, key and secret backups. The header `format` names which; `expect` is `success`,
//! `malformed`, `newer`, `older`, `other-vault` or `unauthentic`.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::PathBuf;

use atrest::base::{KeyVersion, VaultId, write_private_new};
use atrest::crypto::{
    AeadKey, KeyEncryptionKey, KeyKind, Label, Secret, SecretBytes, derive, sha256,
};
use atrest::vault::{
    AuditAnchor, AuditRecord, BackupError, Field, FieldKey, KeyBackup, RootKeySource, RootRecord,
    RootRecordError, SecretBackup, read_key_file,
};
use common::{Vector, vectors};

#[test]
fn every_vector_is_answered_as_it_says() {
    let all = vectors("vault");
    for format in [
        "root-record",
        "key-file",
        "sealed-column",
        "audit-record",
        "audit-anchor",
        "key-backup",
        "secret-backup",
    ] {
        let of_format = all.iter().filter(|v| v.get("format") == format);
        let (good, bad): (Vec<_>, Vec<_>) = of_format.partition(|v| v.get("expect") == "success");
        assert!(!good.is_empty() && !bad.is_empty(), "{format}");
    }
    for vector in &all {
        let answer = match vector.get("format") {
            "root-record" => root_record(vector),
            "key-file" => key_file(vector),
            "sealed-column" => sealed_column(vector),
            "audit-record" => audit_record(vector),
            "audit-anchor" => audit_anchor(vector),
            "key-backup" => key_backup(vector),
            "secret-backup" => secret_backup(vector),
            other => panic!("{}: no format {other}", vector.name),
        };
        assert_eq!(answer, vector.get("expect"), "{}", vector.name);
    }
}

fn secret(vector: &Vector, header: &str) -> Secret<32> {
    Secret::copy_from(&vector.hex(header)).unwrap()
}

fn vault(vector: &Vector) -> VaultId {
    vector.get("vault").parse().unwrap()
}

fn root_record(vector: &Vector) -> &'static str {
    let Ok(bytes) = vector.body.as_slice().try_into() else {
        return "malformed";
    };
    let record = match RootRecord::parse(bytes) {
        Ok(record) => record,
        Err(RootRecordError::Version(_)) => return "newer",
        Err(RootRecordError::Magic | RootRecordError::Field(_)) => return "malformed",
    };
    assert_eq!(
        record.to_bytes(),
        *bytes,
        "{}: more than one encoding",
        vector.name
    );
    let root = match vector.get("source") {
        "key-file" => secret(vector, "root"),
        _ => {
            let words = vector.get("passphrase").as_bytes().to_vec();
            record
                .root_key(&RootKeySource::Passphrase(SecretBytes::from_vec(words)))
                .unwrap()
        }
    };
    let Some(master) = record.open(&root) else {
        return "unauthentic";
    };
    assert!(master.ct_eq(&secret(vector, "master")), "{}", vector.name);
    assert_eq!(record.vault, vault(vector), "{}", vector.name);
    assert_eq!(
        record.sealed.to_string(),
        vector.get("sealed"),
        "{}",
        vector.name
    );
    "success"
}

fn key_file(vector: &Vector) -> &'static str {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.key");
    write_private_new(&path, &vector.body).unwrap();
    match read_key_file(&path) {
        Ok(key) => {
            assert!(key.ct_eq(&secret(vector, "key")), "{}", vector.name);
            "success"
        }
        Err(_) => "malformed",
    }
}

fn sealed_column(vector: &Vector) -> &'static str {
    let key = FieldKey::new(&secret(vector, "master"), vault(vector));
    let field = match vector.get("column") {
        "material" => Field::Material,
        _ => Field::Value,
    };
    let version = KeyVersion::from_bytes(vector.hex("version").try_into().unwrap());
    match key.open(field, version, &vector.body) {
        Ok(plain) => {
            assert_eq!(plain.expose(), vector.hex("plain"), "{}", vector.name);
            let again = key.seal(field, version, &plain);
            assert_eq!(again.len(), vector.body.len(), "{}", vector.name);
            assert_ne!(again, vector.body, "the nonce is random");
            assert!(key.open(field, version, &again).is_ok());
            "success"
        }
        Err(_) => "unauthentic",
    }
}

fn audit_record(vector: &Vector) -> &'static str {
    let text = |header: &str| Some(vector.get(header).to_owned()).filter(|text| text != "none");
    let or_empty = |header: &str| text(header).unwrap_or_default();
    let record = AuditRecord {
        number: or_empty("number").parse().unwrap(),
        time: or_empty("time").parse().unwrap(),
        operation_name: or_empty("operation-name"),
        operation_version: or_empty("operation-version"),
        kid: text("kid"),
        algorithm: or_empty("algorithm"),
        result_type: or_empty("result-type"),
        result_signature: or_empty("result-signature"),
        result_description: or_empty("result-description"),
        duration_microseconds: or_empty("duration").parse().unwrap(),
        identity: or_empty("identity"),
        object_id: or_empty("object-id"),
        client_id: or_empty("client-id"),
        caller_ip_address: or_empty("caller-ip-address"),
        correlation_id: or_empty("correlation-id"),
        client_info: or_empty("client-info"),
        request_uri: or_empty("request-uri"),
        http_status: text("http-status").map(|status| status.parse().unwrap()),
    };
    let previous = vector.hex("previous").try_into().unwrap();
    let mac = record.mac(&secret(vector, "audit-key"), &previous);
    if mac[..] == vector.body {
        "success"
    } else {
        "unauthentic"
    }
}

fn audit_anchor(vector: &Vector) -> &'static str {
    let key = secret(vector, "audit-key");
    let file = vector.body.as_slice().try_into().ok();
    match file.and_then(|file| AuditAnchor::parse(file, &key, vault(vector))) {
        None => "unauthentic",
        Some(anchor) => {
            assert_eq!(
                anchor.records.to_string(),
                vector.get("records"),
                "{}",
                vector.name
            );
            assert_eq!(anchor.head[..], vector.hex("head"), "{}", vector.name);
            "success"
        }
    }
}

fn key_backup(vector: &Vector) -> &'static str {
    match KeyBackup::open(&vector.body, &secret(vector, "master"), vault(vector)) {
        Ok(backup) => {
            assert_eq!(backup.name.as_str(), vector.get("name"), "{}", vector.name);
            let newest = backup.versions.last().unwrap();
            assert_eq!(
                newest.key.thumbprint()[..],
                vector.hex("thumbprint"),
                "{}",
                vector.name
            );
            assert_eq!(backup.versions.len().to_string(), vector.get("versions"));
            "success"
        }
        Err(error) => refusal(error),
    }
}

fn secret_backup(vector: &Vector) -> &'static str {
    match SecretBackup::open(&vector.body, &secret(vector, "master"), vault(vector)) {
        Ok(backup) => {
            assert_eq!(backup.name.as_str(), vector.get("name"), "{}", vector.name);
            let newest = backup.versions.last().unwrap();
            let value = sha256(&[newest.value.expose()]);
            assert_eq!(value[..], vector.hex("value-sha256"), "{}", vector.name);
            assert_eq!(backup.versions.len().to_string(), vector.get("versions"));
            "success"
        }
        Err(error) => refusal(error),
    }
}

fn refusal(error: BackupError) -> &'static str {
    match error {
        BackupError::Format(_) => "malformed",
        BackupError::Version(_) => "newer",
        BackupError::Old(_) => "older",
        BackupError::OtherVault(_) => "other-vault",
        BackupError::Unauthentic => "unauthentic",
    }
}

// ------------------------------------------------------------------------------------------------
// The generator: run once, `cargo test --test vectors_vault -- --ignored`; what it wrote is kept.

type Headers = Vec<(&'static str, String)>;

fn write(name: &str, format: &str, expect: &str, headers: &Headers, body: &[u8]) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/vault");
    fs::create_dir_all(&dir).unwrap();
    let mut text = format!("format: {format}\nexpect: {expect}\n");
    for (key, value) in headers {
        text += &format!("{key}: {value}\n");
    }
    text.push('\n');
    for line in body.chunks(48) {
        text += &(hex::encode(line) + "\n");
    }
    fs::write(
        dir.join(format!("{format}-{name}.txt").replace('-', "_")),
        text,
    )
    .unwrap();
}

fn bytes_at(body: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body[at..at + new.len()].copy_from_slice(new);
    body
}

fn flipped(body: &[u8], at: usize) -> Vec<u8> {
    bytes_at(body, at, &[body[at] ^ 1])
}

#[test]
#[ignore = "writes the vectors anew"]
fn generate() {
    generate_root_records();
    generate_key_files();
    generate_audit();
}

fn generate_root_records() {
    use atrest::base::SystemClock;
    use atrest::vault::{LocalVault, VaultSettings};
    let temp = tempfile::tempdir().unwrap();
    let make = |dir: &str, root: &RootKeySource| {
        let dir = temp.path().join(dir);
        let clock = std::sync::Arc::new(SystemClock);
        LocalVault::create(&dir, root, &VaultSettings::default(), clock).unwrap();
        LocalVault::root_record(&dir).unwrap()
    };
    let f = "root-record";
    let key_path = temp.path().join("root.key");
    let by_key_file = make("a", &RootKeySource::KeyFile(key_path.clone()));
    let root = read_key_file(&key_path).unwrap();
    let common = |record: &RootRecord, root: &Secret<32>| -> Headers {
        vec![
            ("master", hex::encode(record.open(root).unwrap().expose())),
            ("vault", record.vault.to_string()),
            ("sealed", record.sealed.to_string()),
        ]
    };
    let mut headers: Headers = vec![
        ("source", "key-file".into()),
        ("root", hex::encode(root.expose())),
    ];
    headers.extend(common(&by_key_file, &root));
    let good = by_key_file.to_bytes();
    write("key-file", f, "success", &headers, &good);
    write(
        "magic-altered",
        f,
        "malformed",
        &headers,
        &flipped(&good, 0),
    );
    write(
        "version-zero",
        f,
        "malformed",
        &headers,
        &bytes_at(&good, 8, &[0, 0]),
    );
    write(
        "version-newer",
        f,
        "newer",
        &headers,
        &bytes_at(&good, 8, &[2, 0]),
    );
    write(
        "source-unknown",
        f,
        "malformed",
        &headers,
        &bytes_at(&good, 10, &[3]),
    );
    write(
        "source-zero",
        f,
        "malformed",
        &headers,
        &bytes_at(&good, 10, &[0]),
    );
    write(
        "state-unknown",
        f,
        "malformed",
        &headers,
        &bytes_at(&good, 11, &[2]),
    );
    write(
        "state-altered",
        f,
        "unauthentic",
        &headers,
        &bytes_at(&good, 11, &[1]),
    );
    write(
        "key-file-with-argon2id-parameters",
        f,
        "malformed",
        &headers,
        &bytes_at(&good, 16, &[3]),
    );
    write(
        "key-file-with-salt",
        f,
        "malformed",
        &headers,
        &bytes_at(&good, 40, &[1]),
    );
    write(
        "vault-altered",
        f,
        "unauthentic",
        &headers,
        &flipped(&good, 24),
    );
    write(
        "wrapped-key-altered",
        f,
        "unauthentic",
        &headers,
        &flipped(&good, 56),
    );
    write(
        "mac-altered",
        f,
        "unauthentic",
        &headers,
        &flipped(&good, 127),
    );
    write(
        "first-reserved-byte-set",
        f,
        "malformed",
        &headers,
        &bytes_at(&good, 128, &[1]),
    );
    write(
        "last-reserved-byte-set",
        f,
        "malformed",
        &headers,
        &bytes_at(&good, 767, &[1]),
    );
    write("cut", f, "malformed", &headers, &good[..767]);
    let mut wrong = headers.clone();
    wrong[1].1 = hex::encode([0x11; 32]);
    write("root-key-wrong", f, "unauthentic", &wrong, &good);

    let words = "correct horse battery";
    let source = || RootKeySource::Passphrase(SecretBytes::from_vec(words.as_bytes().to_vec()));
    let by_passphrase = make("b", &source());
    let root = by_passphrase.root_key(&source()).unwrap();
    let mut headers: Headers = vec![
        ("source", "passphrase".into()),
        ("passphrase", words.into()),
    ];
    headers.extend(common(&by_passphrase, &root));
    let good = by_passphrase.to_bytes();
    write("passphrase", f, "success", &headers, &good);
    let number = |at, n: u32| bytes_at(&good, at, &n.to_le_bytes());
    write(
        "argon2id-memory-too-small",
        f,
        "malformed",
        &headers,
        &number(12, 19 * 1024 - 1),
    );
    write(
        "argon2id-memory-too-large",
        f,
        "malformed",
        &headers,
        &number(12, 1024 * 1024 + 1),
    );
    write(
        "argon2id-passes-too-few",
        f,
        "malformed",
        &headers,
        &number(16, 1),
    );
    write(
        "argon2id-passes-too-many",
        f,
        "malformed",
        &headers,
        &number(16, 17),
    );
    write(
        "argon2id-lanes-none",
        f,
        "malformed",
        &headers,
        &number(20, 0),
    );
    write(
        "argon2id-lanes-too-many",
        f,
        "malformed",
        &headers,
        &number(20, 17),
    );
    write(
        "argon2id-cost-lowered",
        f,
        "unauthentic",
        &headers,
        &number(16, 2),
    );
    write(
        "salt-altered",
        f,
        "unauthentic",
        &headers,
        &flipped(&good, 40),
    );
    let mut wrong = headers.clone();
    wrong[1].1 = "correct horse batterY".into();
    write("passphrase-wrong", f, "unauthentic", &wrong, &good);

    let dir = temp.path().join("b");
    let clock = std::sync::Arc::new(SystemClock);
    let vault = LocalVault::open(&dir, &source(), clock).unwrap();
    vault
        .seal(SecretBytes::from_vec(words.as_bytes().to_vec()))
        .unwrap();
    let sealed = LocalVault::root_record(&dir).unwrap();
    let root = sealed.root_key(&source()).unwrap();
    let mut headers: Headers = vec![
        ("source", "passphrase".into()),
        ("passphrase", words.into()),
    ];
    headers.extend(common(&sealed, &root));
    write("sealed", f, "success", &headers, &sealed.to_bytes());
    let cleared = bytes_at(&sealed.to_bytes(), 11, &[0]);
    write("sealed-state-cleared", f, "unauthentic", &headers, &cleared);
}

fn generate_key_files() {
    let f = "key-file";
    let digits = hex::encode([0xc7; 32]);
    let headers: Headers = vec![("key", digits.clone())];
    let refuse = |name: &str, text: String| {
        write(name, f, "malformed", &headers, text.as_bytes());
    };
    refuse("empty", String::new());
    refuse("upper-case", digits.to_uppercase() + "\n");
    refuse("no-newline", digits.clone());
    refuse("carriage-return", digits.clone() + "\r\n");
    refuse("two-newlines", digits.clone() + "\n\n");
    refuse("space-for-newline", digits.clone() + " ");
    refuse("one-digit-short", digits[1..].to_owned() + "\n");
    refuse("one-digit-long", format!("0{digits}\n"));
    refuse("no-hexadecimal-digit", format!("g{}\n", &digits[1..]));
    refuse("not-ascii", format!("é{}\n", &digits[2..]));
    write("raw-bytes", f, "malformed", &headers, &[0xc7; 32]);
    write("good", f, "success", &headers, (digits + "\n").as_bytes());
}

fn generate_audit() {
    let key = Secret::random();
    let key_header = ("audit-key", hex::encode(key.expose()));
    let record = AuditRecord {
        number: 7,
        time: "2026-01-02T03:04:05.000006Z".parse().unwrap(),
        operation_name: "KeyUnwrap".into(),
        operation_version: "7.4".into(),
        kid: Some("vault/keys/name/version".into()),
        algorithm: "RSA-OAEP-256".into(),
        result_type: "Failed".into(),
        result_signature: "KeyDisabled".into(),
        result_description: "KeyDisabled: a description".into(),
        duration_microseconds: 4321,
        identity: "alice".into(),
        object_id: "11111111-1111-4111-8111-111111111111".into(),
        client_id: "22222222-2222-4222-8222-222222222222".into(),
        caller_ip_address: "192.0.2.1".into(),
        correlation_id: "33333333-3333-4333-8333-333333333333".into(),
        client_info: "a client/1.0".into(),
        request_uri: "https://customer.vault.azure.net/keys/name/version/unwrapkey".into(),
        http_status: Some(403),
    };
    let headers = |r: &AuditRecord, previous: [u8; 32]| -> Headers {
        let known = |text: &String| match text.is_empty() {
            true => "none".to_owned(),
            false => text.clone(),
        };
        vec![
            key_header.clone(),
            ("previous", hex::encode(previous)),
            ("number", r.number.to_string()),
            ("time", r.time.to_string()),
            ("operation-name", r.operation_name.clone()),
            ("operation-version", known(&r.operation_version)),
            ("kid", r.kid.clone().unwrap_or("none".into())),
            ("algorithm", known(&r.algorithm)),
            ("result-type", r.result_type.clone()),
            ("result-signature", r.result_signature.clone()),
            ("result-description", known(&r.result_description)),
            ("duration", r.duration_microseconds.to_string()),
            ("identity", known(&r.identity)),
            ("object-id", known(&r.object_id)),
            ("client-id", known(&r.client_id)),
            ("caller-ip-address", known(&r.caller_ip_address)),
            ("correlation-id", r.correlation_id.clone()),
            ("client-info", known(&r.client_info)),
            ("request-uri", known(&r.request_uri)),
            (
                "http-status",
                r.http_status.map_or("none".into(), |s| s.to_string()),
            ),
        ]
    };
    let f = "audit-record";
    let previous = [0x33; 32];
    let mac = record.mac(&key, &previous);
    write("refusal", f, "success", &headers(&record, previous), &mac);
    let first = AuditRecord {
        number: 1,
        time: record.time,
        operation_name: "VaultCreate".into(),
        result_type: "Success".into(),
        result_signature: "OK".into(),
        identity: "local".into(),
        correlation_id: "00112233445566778899aabbccddeeff".into(),
        ..AuditRecord::default()
    };
    write(
        "first-without-key",
        f,
        "success",
        &headers(&first, [0; 32]),
        &first.mac(&key, &[0; 32]),
    );
    write(
        "other-predecessor",
        f,
        "unauthentic",
        &headers(&record, [0x34; 32]),
        &mac,
    );
    type Alter = fn(&mut AuditRecord);
    let altered: [(&str, Alter); 20] = [
        ("number-altered", |r| r.number = 8),
        ("time-altered", |r| {
            r.time = "2026-01-02T03:04:05.000007Z".parse().unwrap();
        }),
        ("operation-altered", |r| r.operation_name = "KeyWrap".into()),
        ("version-altered", |r| r.operation_version = "7.5".into()),
        ("kid-removed", |r| r.kid = None),
        ("algorithm-altered", |r| r.algorithm = "RSA1_5".into()),
        ("result-altered", |r| r.result_type = "Success".into()),
        ("signature-altered", |r| r.result_signature = "OK".into()),
        ("description-removed", |r| r.result_description.clear()),
        ("duration-altered", |r| r.duration_microseconds = 4322),
        ("identity-altered", |r| r.identity = "mallory".into()),
        ("object-id-removed", |r| r.object_id.clear()),
        ("client-id-removed", |r| r.client_id.clear()),
        ("address-altered", |r| {
            r.caller_ip_address = "192.0.2.2".into()
        }),
        ("correlation-altered", |r| r.correlation_id = "other".into()),
        ("client-altered", |r| r.client_info = "a client/1.1".into()),
        ("uri-removed", |r| r.request_uri.clear()),
        ("status-altered", |r| r.http_status = Some(200)),
        ("status-removed", |r| r.http_status = None),
        ("field-boundary-moved", |r| {
            r.result_type = "FailedK".into();
            r.result_signature = "eyDisabled".into();
        }),
    ];
    for (name, alter) in altered {
        let mut record = record.clone();
        alter(&mut record);
        write(name, f, "unauthentic", &headers(&record, previous), &mac);
    }

    let f = "audit-anchor";
    let vault = VaultId::from_bytes([0x42; 16]);
    let anchor = |records, fill| AuditAnchor {
        records,
        head: [fill; 32],
    };
    let file = |a: &AuditAnchor| a.to_file(&key, vault).to_vec();
    let headers = |a: &AuditAnchor| -> Headers {
        vec![
            key_header.clone(),
            ("vault", vault.to_string()),
            ("records", a.records.to_string()),
            ("head", hex::encode(a.head)),
        ]
    };
    let (even, odd) = (anchor(6, 6), anchor(7, 7));
    write("even", f, "success", &headers(&even), &file(&even));
    write("odd", f, "success", &headers(&odd), &file(&odd));
    let empty = anchor(0, 0);
    write("no-records", f, "success", &headers(&empty), &file(&empty));
    let both = bytes_at(&file(&even), 512, &file(&odd)[512..]);
    write("newest-of-two", f, "success", &headers(&odd), &both);
    write(
        "newest-torn",
        f,
        "success",
        &headers(&even),
        &flipped(&both, 512 + 60),
    );
    let refuse = |name: &str, body: &[u8]| write(name, f, "unauthentic", &headers(&even), body);
    let good = file(&even);
    refuse("zeros", &[0; 1024]);
    refuse("magic-altered", &flipped(&good, 0));
    refuse("version-newer", &remade(&good, 8, &[2], &key));
    refuse("reserved-byte-set", &remade(&good, 10, &[1], &key));
    refuse("other-vault", &remade(&good, 16, &[0x43], &key));
    refuse("records-altered", &flipped(&good, 32));
    refuse("head-altered", &flipped(&good, 40));
    refuse("mac-altered", &flipped(&good, 72));
    refuse("last-byte-of-slot-set", &bytes_at(&good, 511, &[1]));
    refuse("in-the-wrong-slot", &[&good[512..], &good[..512]].concat());
    refuse("cut", &good[..1023]);
    refuse("extended", &[&good[..], &[0]].concat());
}

/// An anchor file whose first slot is altered and has a fitting MAC again.
fn remade(file: &[u8], at: usize, new: &[u8], key: &Secret<32>) -> Vec<u8> {
    let altered = bytes_at(file, at, new);
    let mac = atrest::crypto::hmac_sha256(key, &[&altered[..72]]);
    bytes_at(&altered, 72, &mac)
}

/// A frame around a body: its magic, and the key that seals it.
struct Frame {
    key: Secret<32>,
    header: Vec<u8>,
}

const BACKUP_VAULT: VaultId = VaultId::from_bytes([0x42; 16]);

impl Frame {
    fn new(magic: &[u8; 8], label: Label, master: &Secret<32>) -> Self {
        Self {
            key: derive(master, label, &[BACKUP_VAULT.as_bytes()]),
            header: [
                magic,
                &[2, 0, 0, 0][..],
                BACKUP_VAULT.as_bytes(),
                &[0x77; 12],
            ]
            .concat(),
        }
    }

    fn seal(&self, body: &[u8]) -> Vec<u8> {
        let mut sealed = body.to_vec();
        let nonce = self.header[28..40].try_into().unwrap();
        let tag = AeadKey::new(&self.key).seal_in_place(&nonce, &self.header, &mut sealed);
        [&self.header, &sealed[..], &tag].concat()
    }

    /// A body that is refused although the frame is good.
    fn refused_inside(&self, format: &str, headers: &Headers, name: &str, body: &[u8]) {
        let name = format!("sealed-{name}");
        write(&name, format, "unauthentic", headers, &self.seal(body));
    }

    /// What both kinds of backup refuse of the frame.
    fn refused(&self, format: &str, headers: &Headers, good: &[u8]) {
        let outside =
            |name: &str, expect: &str, body: &[u8]| write(name, format, expect, headers, body);
        outside("magic-altered", "malformed", &flipped(good, 0));
        outside("version-zero", "malformed", &bytes_at(good, 8, &[0]));
        outside("version-older", "older", &bytes_at(good, 8, &[1]));
        outside("version-newer", "newer", &bytes_at(good, 8, &[3]));
        outside("reserved-byte-set", "malformed", &bytes_at(good, 10, &[1]));
        outside("other-vault", "other-vault", &flipped(good, 12));
        outside("nonce-altered", "unauthentic", &flipped(good, 28));
        outside("body-altered", "unauthentic", &flipped(good, 40));
        outside("tag-altered", "unauthentic", &flipped(good, good.len() - 1));
        outside("cut", "unauthentic", &good[..good.len() - 1]);
        outside("extended", "unauthentic", &[good, &[0]].concat());
        outside("header-alone", "malformed", &good[..55]);
        outside("empty", "malformed", &[]);
    }
}

fn start(count: u16, versions: &[Vec<u8>]) -> Vec<u8> {
    [b"\x04name", &count.to_le_bytes()[..], &versions.concat()].concat()
}

/// The four times of a version without dates.
fn times() -> Vec<u8> {
    let times = [0i64, 0, 1_767_225_600_000_000, 1_767_225_600_000_000];
    times.iter().flat_map(|t| t.to_le_bytes()).collect()
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap().to_le_bytes();
    [&len[..], bytes].concat()
}

fn tags(tags: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(tags.len()).unwrap()];
    for (name, value) in tags {
        bytes.extend([counted(name), counted(value)].concat());
    }
    bytes
}

/// Tags that a reader refuses.
fn bad_tags() -> Vec<(&'static str, Vec<u8>)> {
    let names: Vec<String> = (0..16).map(|n| format!("{n:02}")).collect();
    let sixteen: Vec<(&[u8], &[u8])> = names.iter().map(|n| (n.as_bytes(), &b"v"[..])).collect();
    let long = [b'x'; 257];
    vec![
        ("too-many", tags(&sixteen)),
        ("without-name", tags(&[(b"", b"v")])),
        ("out-of-order", tags(&[(b"b", b"v"), (b"a", b"v")])),
        ("twice", tags(&[(b"a", b"v"), (b"a", b"v")])),
        ("name-too-long", tags(&[(&long, b"v")])),
        ("value-too-long", tags(&[(b"a", &long)])),
        ("not-utf-8", tags(&[(b"\xff", b"v")])),
    ]
}

fn backup_headers(
    master: &Secret<32>,
    versions: usize,
    what: &'static str,
    newest: [u8; 32],
) -> Headers {
    vec![
        ("master", hex::encode(master.expose())),
        ("vault", BACKUP_VAULT.to_string()),
        ("name", "name".into()),
        ("versions", versions.to_string()),
        (what, hex::encode(newest)),
    ]
}

#[test]
#[ignore = "writes the vectors of sealed columns anew"]
fn generate_sealed_columns() {
    let (f, master, version) = ("sealed-column", Secret::random(), [0x55; 16]);
    let vault = VaultId::from_bytes([0x42; 16]);
    let key = AeadKey::new(&derive(&master, Label::VaultField, &[vault.as_bytes()]));
    let sealed = |column: u8, plain: &[u8]| {
        let (nonce, mut body) = ([0x77; 12], plain.to_vec());
        let aad = [&[column][..], &version].concat();
        let tag = key.seal_in_place(&nonce, &aad, &mut body);
        [&nonce[..], &body, &tag].concat()
    };
    let headers = |column: &str, plain: &[u8]| -> Headers {
        vec![
            ("master", hex::encode(master.expose())),
            ("vault", vault.to_string()),
            ("column", column.into()),
            ("version", hex::encode(version)),
            ("plain", hex::encode(plain)),
        ]
    };
    let material = [0x99; 32];
    let good = sealed(1, &material);
    let usual = headers("material", &material);
    write("material", f, "success", &usual, &good);
    let value = headers("value", b"value");
    write("value", f, "success", &value, &sealed(2, b"value"));
    let empty = headers("value", b"");
    write("value-empty", f, "success", &empty, &sealed(2, b""));
    let refuse = |name: &str, body: &[u8]| write(name, f, "unauthentic", &usual, body);
    refuse("of-another-column", &sealed(2, &material));
    refuse("nonce-altered", &flipped(&good, 0));
    refuse("body-altered", &flipped(&good, 12));
    refuse("tag-altered", &flipped(&good, good.len() - 1));
    refuse("cut", &good[..good.len() - 1]);
    refuse("shorter-than-a-tag", &good[..27]);
    refuse("plain", &material);
    let elsewhere = |header: &str, with: String| {
        let other = usual.iter().map(|(name, value)| match *name == header {
            true => (*name, with.clone()),
            false => (*name, value.clone()),
        });
        other.collect::<Headers>()
    };
    let row = elsewhere("version", hex::encode([0x56; 16]));
    write("of-another-row", f, "unauthentic", &row, &good);
    let other = elsewhere("vault", VaultId::from_bytes([0x43; 16]).to_string());
    write("of-another-vault", f, "unauthentic", &other, &good);
}

#[test]
#[ignore = "writes the vectors of backups anew"]
fn generate_key_backups() {
    let (f, master) = ("key-backup", Secret::random());
    let frame = Frame::new(b"atrestKB", Label::VaultBackup, &master);
    let material = [0x99; 32];
    let with_tags = |n: u8, kind: u8, operations: u8, tags: &[u8], material: &[u8]| {
        let fixed = [&[n; 16][..], &[kind, operations, 1]].concat();
        [fixed, times(), tags.to_vec(), counted(material)].concat()
    };
    let version = |n: u8, material: &[u8]| with_tags(n, 4, 3, &[0], material);
    let good_body = start(1, &[version(1, &material)]);
    let good = frame.seal(&good_body);
    let thumbprint = KeyEncryptionKey::from_oct(&material).unwrap().thumbprint();
    let headers = |versions, newest| backup_headers(&master, versions, "thumbprint", newest);
    let usual = headers(1, thumbprint);
    write("one-version", f, "success", &usual, &good);
    let dated = bytes_at(&bytes_at(&good_body, 7 + 18, &[7]), 7 + 19, &[1; 4]);
    let dated = bytes_at(&dated, 7 + 27, &[2; 4]);
    write("dated", f, "success", &usual, &frame.seal(&dated));
    let hsm = bytes_at(&good_body, 7 + 18, &[1 + 8 + 16]);
    write("hsm-exportable", f, "success", &usual, &frame.seal(&hsm));
    let tagged = tags(&[(b"a", b""), ("\u{e9}".repeat(256).as_bytes(), b"value")]);
    let tagged = start(1, &[with_tags(1, 4, 12, &tagged, &material)]);
    write("tagged", f, "success", &usual, &frame.seal(&tagged));
    // One version of each kind, in the order of their codes.
    let kinds = [
        KeyKind::Rsa2048,
        KeyKind::Rsa3072,
        KeyKind::Rsa4096,
        KeyKind::Oct256,
        KeyKind::Oct128,
        KeyKind::Oct192,
        KeyKind::EcP256,
        KeyKind::EcP384,
        KeyKind::EcP521,
        KeyKind::EcP256K,
    ];
    let keys = kinds.map(KeyEncryptionKey::generate);
    let versions: Vec<_> = (1..)
        .zip(&keys)
        .map(|(code, key)| {
            let operations = if code < 7 { 3 } else { 48 };
            let material = key.to_secret_bytes();
            with_tags(code, code, operations, &[0], material.expose())
        })
        .collect();
    let all = frame.seal(&start(10, &versions));
    let newest = headers(10, keys[9].thumbprint());
    write("every-kind", f, "success", &newest, &all);
    frame.refused(f, &usual, &good);

    let inside = |name: &str, body: &[u8]| frame.refused_inside(f, &usual, name, body);
    let at = |offset: usize, new: &[u8]| bytes_at(&good_body, 7 + offset, new);
    inside("name-empty", &[&[0], &good_body[5..]].concat());
    inside("name-invalid", &bytes_at(&good_body, 1, b"/"));
    inside("no-versions", &start(0, &[]));
    inside(
        "too-many-versions",
        &start(501, &vec![version(1, &material); 501]),
    );
    inside("kind-zero", &at(16, &[0]));
    inside("kind-unknown", &at(16, &[11]));
    inside("kind-of-another-key", &at(16, &[1]));
    inside("kind-of-another-length", &at(16, &[5]));
    inside(
        "kind-of-another-curve",
        &start(1, &[bytes_at(&versions[6], 16, &[10])]),
    );
    inside("operations-none", &at(17, &[0]));
    inside("operations-of-another-kind", &at(17, &[16]));
    inside("flags-unknown", &at(18, &[32]));
    inside("date-without-flag", &at(19, &[1]));
    inside("time-out-of-range", &at(35, &i64::MAX.to_le_bytes()));
    for (name, tags) in bad_tags() {
        let body = start(1, &[with_tags(1, 4, 3, &tags, &material)]);
        inside(&format!("tags-{name}"), &body);
    }
    inside("key-too-short", &start(1, &[version(1, &material[1..])]));
    inside("key-too-long", &start(1, &[version(1, &[0x99; 4097])]));
    inside("key-cut", &good_body[..good_body.len() - 1]);
    inside("trailing-byte", &[&good_body[..], &[0]].concat());
    inside("empty", &[]);
}

#[test]
#[ignore = "writes the vectors of backups anew"]
fn generate_secret_backups() {
    let (f, master) = ("secret-backup", Secret::random());
    let frame = Frame::new(b"atrestSB", Label::VaultSecretBackup, &master);
    let version = |n: u8, flags: u8, tags: &[u8], content_type: &[u8], value: &[u8]| {
        let fixed = [&[n; 16][..], &[flags]].concat();
        let rest = [counted(content_type), counted(value)].concat();
        [fixed, times(), tags.to_vec(), rest].concat()
    };
    let plain = |value: &[u8]| version(1, 1, &[0], b"", value);
    let good_body = start(1, &[plain(b"value")]);
    let good = frame.seal(&good_body);
    let headers = |versions, value: &[u8]| {
        backup_headers(&master, versions, "value-sha256", sha256(&[value]))
    };
    let usual = headers(1, b"value");
    write("one-version", f, "success", &usual, &good);
    let full = version(
        2,
        1 + 8,
        &tags(&[(b"a", b"b")]),
        b"text/plain",
        &[0x55; 25_600],
    );
    let two = frame.seal(&start(2, &[plain(b"value"), full]));
    write(
        "two-versions",
        f,
        "success",
        &headers(2, &[0x55; 25_600]),
        &two,
    );
    let empty = frame.seal(&start(1, &[plain(b"")]));
    write("empty-value", f, "success", &headers(1, b""), &empty);
    frame.refused(f, &usual, &good);
    let key = frame.seal(&good_body);
    write(
        "magic-of-a-key",
        f,
        "malformed",
        &usual,
        &bytes_at(&key, 0, b"atrestKB"),
    );

    let inside = |name: &str, body: &[u8]| frame.refused_inside(f, &usual, name, body);
    let at = |offset: usize, new: &[u8]| bytes_at(&good_body, 7 + offset, new);
    inside("name-empty", &[&[0], &good_body[5..]].concat());
    inside("name-invalid", &bytes_at(&good_body, 1, b"/"));
    inside("no-versions", &start(0, &[]));
    inside(
        "too-many-versions",
        &start(501, &vec![plain(b"value"); 501]),
    );
    inside("flags-unknown", &at(16, &[16]));
    inside("date-without-flag", &at(17, &[1]));
    inside("time-out-of-range", &at(33, &i64::MAX.to_le_bytes()));
    for (name, tags) in bad_tags() {
        let body = start(1, &[version(1, 1, &tags, b"", b"value")]);
        inside(&format!("tags-{name}"), &body);
    }
    inside(
        "content-type-without-flag",
        &start(1, &[version(1, 1, &[0], b"x", b"value")]),
    );
    inside(
        "content-type-too-long",
        &start(1, &[version(1, 9, &[0], &[b'x'; 256], b"value")]),
    );
    inside(
        "content-type-not-utf-8",
        &start(1, &[version(1, 9, &[0], b"\xff", b"value")]),
    );
    inside("value-too-long", &start(1, &[plain(&[0x55; 25_601])]));
    inside("value-cut", &good_body[..good_body.len() - 1]);
    inside("trailing-byte", &[&good_body[..], &[0]].concat());
    inside("empty", &[]);
}
