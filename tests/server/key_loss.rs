//! What becomes of blobs when their key is lost: which operations stop, with which code, and which go on.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::blob_keys::ask;
use crate::blobs::{HOST, error, served, signed};
use crate::client::*;

const GONE: (u16, &str) = (403, "KeyVaultEncryptionKeyNotFound");

pub fn run(served: &Served, args: &[&str]) {
    let ran = atrest(served.dir.path(), args).output().unwrap();
    assert!(ran.status.success(), "{args:?} {ran:?}");
}

/// Within the lease's interval, which nobody here measures.
pub fn await_code(code: (u16, &str), ask: impl Fn() -> Answer) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = ask();
        if error(&answer) == code {
            return;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(Instant::now() < end, "still answered");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn await_success(ask: impl Fn() -> Answer) {
    let end = Instant::now() + Duration::from_secs(60);
    while ask().status != 200 {
        assert!(Instant::now() < end, "still refused");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the service's page of operations that a revocation stops has, and what it lets go on; Put Block List is
/// refused here (docs/design.md).
#[test]
fn lost_key_stops_what_it_stops_in_azure_and_nothing_else_and_heals() {
    let (served, key) = served();
    let copy = format!("x-ms-copy-source:https://{HOST}/default/a");
    let ask = |method: &str, path: &str, headers: &[&str], body: &str| {
        let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
        ask(&served, &key, method, path, &headers, body)
    };
    let words = served.dir.path().join("words");
    std::fs::write(&words, "a passphrase of some length\n").unwrap();
    let words = words.to_str().unwrap();
    let (block, append) = (
        "/default/b?blockid=QUFB&comp=block",
        "/default/log?comp=appendblock",
    );
    let list = "<BlockList><Latest>QUFB</Latest></BlockList>";
    let stored = ask("PUT", "/default/a", &["x-ms-meta-a:b"], "data");
    assert_eq!(stored.status, 201);
    assert_eq!(ask("PUT", block, &[], "data").status, 201);
    assert_eq!(
        ask("PUT", "/default/b?comp=blocklist", &[], list).status,
        201
    );
    let made = signed(
        &key,
        "PUT",
        "/default/log",
        &["x-ms-blob-type:AppendBlob"],
        "",
        |r| r,
    );
    assert_eq!(served.proxied(HOST, &made).status, 201);
    let tags = "<Tags><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tags>";
    let all = "wrapKey,unwrapKey,encrypt,decrypt,sign,verify";
    let vault = (403, "KeyVaultVaultNotFound");
    let access = (403, "KeyVaultAccessTokenCannotBeAcquired");
    let ways = [
        (
            vec!["key", "disable", "customer-key"],
            vec!["key", "enable", "customer-key"],
            GONE,
        ),
        (
            vec!["key", "delete", "customer-key"],
            vec!["key", "recover", "customer-key"],
            GONE,
        ),
        (
            vec!["key", "update", "customer-key", "--operations", "wrapKey"],
            vec!["key", "update", "customer-key", "--operations", all],
            access,
        ),
        (
            vec!["vault", "seal", "--new-passphrase-file", words],
            vec!["--passphrase-file", words, "vault", "unseal"],
            vault,
        ),
    ];
    for (lose, heal, code) in ways {
        run(&served, &lose);
        await_code(code, || ask("GET", "/default/a", &[], ""));
        for (method, path, headers, body) in [
            ("GET", "/default/a", &[][..], ""),
            ("HEAD", "/default/a", &[], ""),
            ("GET", "/default/a?comp=metadata", &[], ""),
            ("PUT", "/default/a?comp=metadata", &["x-ms-meta-a:c"], ""),
            (
                "GET",
                "/default?comp=list&include=metadata&restype=container",
                &[],
                "",
            ),
            ("PUT", "/default/a?comp=snapshot", &["x-ms-meta-a:c"], ""),
            ("PUT", "/default/copied", &[copy.as_str()], ""),
            (
                "PUT",
                "/default/a?comp=tier",
                &["x-ms-access-tier:Cool"],
                "",
            ),
            ("PUT", "/default/new", &[], "data"),
            ("PUT", block, &[], "data"),
            ("PUT", append, &[], "data"),
            ("PUT", "/default/b?comp=blocklist", &[], list),
        ] {
            let refused = ask(method, path, headers, body);
            // A copy says so of its source.
            match headers.first() == Some(&copy.as_str()) {
                true => assert_eq!(refused.status, 403, "{lose:?}: {method} {path}"),
                false => assert_eq!(error(&refused), code, "{lose:?}: {method} {path}"),
            }
        }
        for (method, path, headers, body, status) in [
            (
                "GET",
                "/default?comp=list&restype=container",
                &[][..],
                "",
                200,
            ),
            ("GET", "/?comp=list", &[], "", 200),
            ("GET", "/default/b?comp=blocklist", &[], "", 200),
            ("GET", "/default/a?comp=tags", &[], "", 200),
            ("PUT", "/default/a?comp=tags", &[], tags, 204),
            (
                "PUT",
                "/default/a?comp=properties",
                &["x-ms-blob-content-type:text/plain"],
                "",
                200,
            ),
            ("GET", "/default?restype=container", &[], "", 200),
            ("PUT", "/other?restype=container", &[], "", 201),
            ("DELETE", "/other?restype=container", &[], "", 202),
            ("DELETE", "/default/spare", &[], "", 404),
        ] {
            let answer = ask(method, path, headers, body);
            assert_eq!(
                answer.status, status,
                "{lose:?}: {method} {path} {answer:?}"
            );
        }
        run(&served, &heal);
        await_success(|| ask("GET", "/default/a", &[], ""));
        assert_eq!(ask("GET", "/default/b", &[], "").body, "data");
    }
    // An expired key wraps nothing new, and still unwraps, as in the service's vault.
    let expire = ["key", "update", "customer-key", "--expires", "2020-01-01"];
    run(&served, &expire);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(ask("GET", "/default/a", &[], "").body, "data");
    assert_eq!(ask("PUT", "/default/new", &[], "data").status, 201);
    // What needs a wrap is refused, and says why.
    for wraps in [
        &["rewrap", "storage/documents"][..],
        &[
            "blob",
            "scope",
            "create",
            "documents",
            "late",
            "--key",
            "customer-key",
        ],
    ] {
        let refused = atrest(served.dir.path(), wraps).output().unwrap();
        assert!(!refused.status.success(), "{wraps:?}");
        let told = [refused.stdout, refused.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains("has expired"), "{told}");
    }
    assert_eq!(ask("GET", "/default/a", &[], "").body, "data");
    // Purged: for good. Deletion goes on, too.
    run(&served, &["key", "delete", "customer-key"]);
    run(&served, &["key", "purge", "customer-key"]);
    await_code(GONE, || ask("GET", "/default/a", &[], ""));
    assert_eq!(ask("DELETE", "/default/a", &[], "").status, 202);
}

/// The server holds the key as it was wrapped before: the old way to it must not outlive the change.
#[test]
fn account_that_changes_hands_while_it_is_served_obeys_the_new_key_and_no_data_is_touched() {
    let (served, key) = served();
    let ask = |method: &str, path: &str, body: &str| ask(&served, &key, method, path, &[], body);
    let extents = || {
        let mut found = Vec::new();
        let mut dirs = vec![served.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => dirs.push(path),
                    false if path.parent().unwrap().ends_with("extents") => {
                        found.push((path.clone(), std::fs::read(&path).unwrap()));
                    }
                    false => {}
                }
            }
        }
        found.sort();
        found
    };
    assert_eq!(ask("PUT", "/default/a", "data").status, 201);
    let before = extents();
    assert_eq!(before.len(), 1);
    run(&served, &["unprotect", "storage/documents"]);
    run(&served, &["key", "disable", "customer-key"]);
    await_success(|| ask("GET", "/default/a", ""));
    run(&served, &["key", "enable", "customer-key"]);
    run(
        &served,
        &["protect", "storage/documents", "--key", "customer-key"],
    );
    assert_eq!(ask("GET", "/default/a", "").body, "data");
    run(&served, &["key", "disable", "customer-key"]);
    await_code(GONE, || ask("GET", "/default/a", ""));
    // And stays so: the envelope of the provider's is not taken up again.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    await_code(GONE, || ask("GET", "/default/a", ""));
    run(&served, &["key", "enable", "customer-key"]);
    await_success(|| ask("GET", "/default/a", ""));
    assert_eq!(extents(), before);
}

#[test]
fn download_that_is_under_way_when_the_key_is_lost_is_cut_off() {
    let (served, key) = served();
    const LEN: usize = 64 << 20;
    let file = served.dir.path().join("big");
    std::fs::write(&file, vec![7; LEN]).unwrap();
    let file = file.to_str().unwrap();
    run(&served, &["blob", "put", "documents", file, "big"]);
    run(&served, &["blob", "put", "documents", file, "other"]);
    let get = |method: &str, path: &str| signed(&key, method, path, &[], "", |request| request);
    for lost in [false, true] {
        let mut stream = served.tunnel(HOST);
        stream
            .write_all(get("GET", "/default/big").as_bytes())
            .unwrap();
        let mut first = vec![0; 4096];
        stream.read_exact(&mut first).unwrap();
        if lost {
            run(&served, &["key", "disable", "customer-key"]);
            await_code(GONE, || {
                served.proxied(HOST, &get("HEAD", "/default/other"))
            });
        }
        let (mut got, mut buffer) = (first.len(), vec![0; 1 << 20]);
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            got += n;
        }
        assert_eq!(got < LEN, lost, "{got}");
    }
}

/// The server has the vault's files open: that must not keep a vault alive that is gone.
#[test]
fn a_vaults_directory_that_is_taken_away_under_a_server_takes_the_blobs_with_it() {
    let (served, key) = served();
    let ask = |method: &str, path: &str, body: &str| ask(&served, &key, method, path, &[], body);
    assert_eq!(ask("PUT", "/default/a", "data").status, 201);
    assert_eq!(ask("GET", "/default/a", "").body, "data");
    let (vault, away) = (
        served.dir.path().join("customer"),
        served.dir.path().join("away"),
    );
    let gone = (403, "KeyVaultVaultNotFound");
    for _ in 0..2 {
        std::fs::rename(&vault, &away).unwrap();
        await_code(gone, || ask("GET", "/default/a", ""));
        for (method, path, body) in [
            ("GET", "/default/a", ""),
            ("HEAD", "/default/a", ""),
            ("GET", "/default/a?comp=metadata", ""),
            ("PUT", "/default/new", "data"),
        ] {
            assert_eq!(error(&ask(method, path, body)), gone, "{method} {path}");
        }
        // What needs the provider's key only goes on.
        let list = ask("GET", "/default?comp=list&restype=container", "");
        assert_eq!(list.status, 200, "{list:?}");
        assert!(!vault.exists(), "something was made in its place");
        std::fs::rename(&away, &vault).unwrap();
        await_success(|| ask("GET", "/default/a", ""));
        assert_eq!(ask("GET", "/default/a", "").body, "data");
        assert_eq!(ask("PUT", "/default/a", "data").status, 201);
    }
    std::fs::remove_dir_all(&vault).unwrap();
    await_code(gone, || ask("GET", "/default/a", ""));
    assert_eq!(ask("DELETE", "/default/a", "").status, 202);
}
