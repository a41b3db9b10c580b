//! Blobs on the wire: what is refused, and what a client is not given.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::io::Write;

use crate::client::*;

pub const HOST: &str = "documents.blob.core.windows.net";
const VERSION: &str = "x-ms-version:2026-10-06";

pub(crate) fn served() -> (Served, String) {
    served_with(&[])
}

/// A server with a storage account `documents`, and its first access key.
pub fn served_with(args: &[&str]) -> (Served, String) {
    let dir = workspace();
    let run = |args: &[&str]| {
        let ran = atrest(dir.path(), args).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        ran.stdout
    };
    run(&["blob", "create", "documents"]);
    let keys: serde_json::Value =
        serde_json::from_slice(&run(&["--json", "blob", "keys", "documents"])).unwrap();
    let key = keys["key1"].as_str().unwrap().to_owned();
    (Served::at(dir, args), key)
}

/// A request signed with `key`, as docs of the Blob service say; `headers` are lines `name:value` of `x-ms-`
/// headers. `change` alters what is sent after it was signed.
pub fn signed(
    key: &str,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
    change: impl Fn(String) -> String,
) -> String {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    signed_at(&date, key, method, path, headers, body, change)
}

fn signed_at(
    date: &str,
    key: &str,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
    change: impl Fn(String) -> String,
) -> String {
    let mut ours: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
    ours.push(format!("x-ms-date:{date}"));
    ours.push(VERSION.to_owned());
    ours.sort_by(|a, b| a.split(':').next().cmp(&b.split(':').next()));
    let length = match body.len() {
        0 => String::new(),
        n => n.to_string(),
    };
    let (bare, query) = path.split_once('?').unwrap_or((path, ""));
    let mut query: Vec<String> = query
        .split('&')
        .filter(|q| !q.is_empty())
        .map(|q| q.replacen('=', ":", 1))
        .collect();
    query.sort();
    let mut to_sign = format!(
        "{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n{}\n/documents{bare}",
        ours.join("\n")
    );
    for line in query {
        to_sign += &format!("\n{line}");
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(key).unwrap()).unwrap();
    mac.update(to_sign.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    change(format!(
        "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: SharedKey documents:{signature}\r\n\
         {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        ours.join("\r\n"),
        body.len()
    ))
}

pub fn error(answer: &Answer) -> (u16, &str) {
    let code = answer
        .head
        .lines()
        .find_map(|l| l.strip_prefix("x-ms-error-code: "));
    (answer.status, code.unwrap_or(""))
}

/// A request by a signature of the account, for all of its resources, with these permissions and protocols.
pub fn by_signature(
    key: &str,
    [method, path]: [&str; 2],
    [permissions, protocol]: [&str; 2],
    headers: &[&str],
) -> String {
    let (expiry, version) = ("2099-01-01T00:00:00Z", "2026-10-06");
    let to_sign =
        format!("documents\n{permissions}\nb\nsco\n\n{expiry}\n\n{protocol}\n{version}\n\n");
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(key).unwrap()).unwrap();
    mac.update(to_sign.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let signature: String = form_urlencoded::byte_serialize(signature.as_bytes()).collect();
    let join = if path.contains('?') { '&' } else { '?' };
    let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    format!(
        "{method} {path}{join}sv={version}&ss=b&srt=sco&sp={permissions}&se={expiry}&spr={protocol}\
         &sig={signature} HTTP/1.1\r\nHost: {HOST}\r\nx-ms-version: {version}\r\n{headers}\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

pub const PUT: &[&str] = &["x-ms-blob-type:BlockBlob"];

#[test]
fn request_that_was_altered_after_it_was_signed_is_refused() {
    let (served, key) = served();
    let ask = |request: String| served.proxied(HOST, &request);
    let same = |request: String| request;
    let put = |change: &dyn Fn(String) -> String| {
        ask(signed(
            &key,
            "PUT",
            "/default/a?timeout=9",
            PUT,
            "data",
            change,
        ))
    };
    let answer = put(&same);
    assert_eq!(answer.status, 201, "{answer:?}");
    for name in [
        "etag: \"0x",
        "x-ms-request-server-encrypted: true",
        "x-ms-request-id: ",
        "x-ms-version: 2026-10-06",
    ] {
        assert!(answer.head.contains(name), "{name}: {}", answer.head);
    }
    let changes: [(&str, &str); 7] = [
        ("/default/a?", "/default/b?"),
        ("timeout=9", "timeout=8"),
        ("PUT ", "DELETE "),
        ("x-ms-version:2026-10-06", "x-ms-version:2026-10-05"),
        (
            "x-ms-blob-type:BlockBlob",
            "x-ms-blob-type:BlockBlob\r\nx-ms-meta-a:b",
        ),
        ("SharedKey documents:", "SharedKey others:"),
        ("SharedKey documents:", "SharedKey documents:A"),
    ];
    for (from, to) in changes {
        let answer = put(&|request| {
            assert!(request.contains(from));
            request.replacen(from, to, 1)
        });
        assert_eq!(
            error(&answer),
            (403, "AuthenticationFailed"),
            "{from} -> {to}"
        );
    }
    let other = STANDARD.encode([7; 64]);
    let forged = ask(signed(&other, "GET", "/default/a", &[], "", same));
    assert_eq!(error(&forged), (403, "AuthenticationFailed"));
    // What somebody recorded is not taken later.
    let old = httpdate::fmt_http_date(
        std::time::SystemTime::now() - std::time::Duration::from_secs(3600),
    );
    let replayed = ask(signed_at(&old, &key, "GET", "/default/a", &[], "", same));
    assert_eq!(error(&replayed), (403, "AuthenticationFailed"));
    let got = ask(signed(&key, "GET", "/default/a", &[], "", same));
    assert_eq!((got.status, got.body.as_str()), (200, "data"));
    assert!(got.head.contains("x-ms-server-encrypted: true"));

    // A key that was renewed signs no more.
    let keys = |args: &[&str]| {
        let all = [&["--json", "blob", "keys", "documents"], args].concat();
        let ran = atrest(served.dir.path(), &all).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&ran.stdout).unwrap()
    };
    let renewed = keys(&["--renew", "1"])["key1"].as_str().unwrap().to_owned();
    let get = |key: &str| ask(signed(key, "GET", "/default/a", &[], "", same));
    assert_eq!(error(&get(&key)), (403, "AuthenticationFailed"));
    assert_eq!(get(&renewed).status, 200);
    // No key is in the log.
    let log = served.log();
    assert!(log.contains("PutBlob") && !log.contains(&key) && !log.contains(&renewed));
}

#[test]
fn body_that_breaks_off_leaves_the_blob_as_it_was() {
    let (served, key) = served();
    let same = |request: String| request;
    let put = |body: &str| signed(&key, "PUT", "/default/a", PUT, body, same);
    assert_eq!(served.proxied(HOST, &put("old")).status, 201);
    let whole = put(&"x".repeat(200_000));
    let mut stream = served.tunnel(HOST);
    stream
        .write_all(&whole.as_bytes()[..whole.len() - 1])
        .unwrap();
    stream.sock.shutdown(std::net::Shutdown::Both).unwrap();
    drop(stream);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !served.log().contains("\"status\":400") {
        assert!(std::time::Instant::now() < end, "{}", served.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let got = served.proxied(HOST, &signed(&key, "GET", "/default/a", &[], "", same));
    assert_eq!(got.body, "old");
    assert_eq!(served.proxied(HOST, &whole).status, 201);
}

#[test]
fn what_would_change_the_meaning_of_a_request_is_not_passed_over() {
    let (served, key) = served();
    let same = |request: String| request;
    let ask = |method: &str, path: &str, headers: &[&str], body: &str| {
        served.proxied(HOST, &signed(&key, method, path, headers, body, same))
    };
    for header in ["x-ms-content-crc64:AAAA", "x-ms-source-content-crc64:AAAA"] {
        let answer = ask("PUT", "/default/a", &[header, PUT[0]], "data");
        assert_eq!(error(&answer), (501, "NotImplemented"), "{header}");
    }
    for (method, path) in [
        ("GET", "/default/a?versionid=2026-01-01T00:00:00.0000000Z"),
        ("PUT", "/default/a?comp=immutabilityPolicies"),
    ] {
        assert_eq!(ask(method, path, &[], "").status, 501, "{method} {path}");
    }
    assert_eq!(
        error(&ask("GET", "/default/a", &[], "")),
        (404, "BlobNotFound")
    );
    assert_eq!(ask("PUT", "/default/a", PUT, "data").status, 201);
    for (path, status, code) in [
        ("/default/..", 400, "InvalidResourceName"),
        ("/default/%ff", 400, "InvalidUri"),
        ("/Upper/a", 400, "InvalidResourceName"),
        ("/missing/a", 404, "ContainerNotFound"),
    ] {
        assert_eq!(error(&ask("GET", path, &[], "")), (status, code), "{path}");
    }
    let ranges = [
        ("bytes=1-2", 206, "at"),
        ("bytes=4-", 416, ""),
        ("bytes=3-99", 206, "a"),
    ];
    for (range, status, body) in ranges {
        let answer = ask("GET", "/default/a", &[&format!("x-ms-range:{range}")], "");
        assert_eq!(answer.status, status, "{range}");
        if status == 206 {
            assert_eq!(answer.body, body);
        }
    }
    let unknown = served.proxied(
        "other.blob.core.windows.net",
        &signed(&key, "GET", "/default/a", &[], "", |r| {
            r.replace(HOST, "other.blob.core.windows.net")
        }),
    );
    assert_eq!(error(&unknown), (404, "ResourceNotFound"));
}

#[test]
fn account_named_in_the_path_is_the_same_one_and_the_vault_is_not_hidden_by_it() {
    let (served, key) = served();
    let same = |request: String| request;
    let put = signed(&key, "PUT", "/default/a", PUT, "data", same);
    assert_eq!(served.proxied(HOST, &put).status, 201);
    // Signed with the account twice, as clients of another host do.
    let direct = |request: String| request.replace(HOST, "localhost");
    let get = |path: &str| served.https("localhost", &signed(&key, "GET", path, &[], "", direct));
    assert_eq!(get("/documents/default/a").body, "data");
    let listed = get("/documents/default?comp=list&restype=container");
    assert!(listed.body.contains("<Name>a</Name>"), "{listed:?}");
    for (path, status) in [("/others/default/a", 404), ("/", 501), ("/documents", 501)] {
        assert_eq!(get(path).status, status, "{path}");
    }
    let vault = "/keys/customer-key?api-version=7.4";
    let vault = request(&served.token(), "GET", vault, "").replace(VAULT, "localhost");
    assert_eq!(served.https("localhost", &vault).status, 200);
}

/// Registers an identity with a role, and gives its token for storage.
pub(crate) fn token_of(served: &Served, name: &str, role: &str) -> String {
    let args = ["--json", "identity", "add", name, "--role", role];
    let made = atrest(served.dir.path(), &args).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=https://storage.azure.com/.default",
        made["AZURE_CLIENT_ID"].as_str().unwrap(),
        made["AZURE_CLIENT_SECRET"].as_str().unwrap(),
    );
    let host = "login.microsoftonline.com";
    let token = served.proxied(
        host,
        &format!(
            "POST /{}/oauth2/v2.0/token HTTP/1.1\r\nHost: {host}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{form}",
            served.told["tenant"].as_str().unwrap(),
            form.len()
        ),
    );
    token.json()["access_token"].as_str().unwrap().to_owned()
}

#[test]
fn identity_without_a_storage_role_gets_no_blob() {
    let (served, _) = served();
    let identity = |name: &str, role: &str| token_of(&served, name, role);
    let ask = |token: &str, method: &str, body: &str| {
        served.proxied(
            HOST,
            &format!(
                "{method} /default/a HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\
                 x-ms-version: 2026-10-06\r\nx-ms-blob-type: BlockBlob\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            ),
        )
    };
    let writer = identity("writer", "Storage Blob Data Contributor");
    let reader = identity("reader", "Storage Blob Data Reader");
    let vault = identity("vault", "Key Vault Administrator");
    assert_eq!(ask(&writer, "PUT", "data").status, 201);
    assert_eq!(ask(&reader, "GET", "").body, "data");
    let refused = (403, "AuthorizationPermissionMismatch");
    assert_eq!(error(&ask(&reader, "PUT", "x")), refused);
    assert_eq!(error(&ask(&reader, "DELETE", "")), refused);
    assert_eq!(error(&ask(&vault, "GET", "")), refused);
    // A token for the vault is none for blobs.
    let other = ask(&served.token(), "GET", "");
    assert_eq!(error(&other), (401, "InvalidAuthenticationInfo"));
    let tenant = served.told["tenant"].as_str().unwrap();
    let told = format!(
        "www-authenticate: Bearer authorization_uri=https://login.microsoftonline.com/{tenant}/oauth2/authorize \
         resource_id=https://storage.azure.com"
    );
    assert!(other.head.contains(&told), "{}", other.head);
}

#[test]
fn who_may_write_blobs_but_no_tags_sets_and_reads_none_on_the_way() {
    let (served, _) = served();
    let ask = |token: &str, method: &str, path: &str, headers: &str| {
        served.proxied(
            HOST,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\
                 x-ms-version: 2026-10-06\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
            ),
        )
    };
    let put = "x-ms-blob-type: BlockBlob\r\n";
    let tagged = format!("{put}x-ms-tags: approved=yes\r\n");
    let list = "/default?restype=container&comp=list";
    let with_tags = format!("{list}&include=metadata,tags");
    let writer = token_of(&served, "writer", "Storage Blob Data Contributor");
    let refused = (403, "AuthorizationPermissionMismatch");
    assert_eq!(ask(&writer, "PUT", "/default/a", put).status, 201);
    assert_eq!(error(&ask(&writer, "PUT", "/default/a", &tagged)), refused);
    assert_eq!(ask(&writer, "GET", list, "").status, 200);
    assert_eq!(error(&ask(&writer, "GET", &with_tags, "")), refused);
    let owner = token_of(&served, "owner", "Storage Blob Data Owner");
    assert_eq!(ask(&owner, "PUT", "/default/a", &tagged).status, 201);
    // Nor by a copy, at either end of it.
    let copy = format!(
        "x-ms-copy-source: https://{HOST}/default/a\r\nx-ms-copy-source-tag-option: COPY\r\n"
    );
    assert_eq!(error(&ask(&writer, "PUT", "/default/b", &copy)), refused);
    let shown = format!("{copy}x-ms-copy-source-authorization: Bearer {writer}\r\n");
    let answer = ask(&owner, "PUT", "/default/b", &shown);
    assert_eq!(error(&answer), (403, "CannotVerifyCopySource"));
    assert_eq!(ask(&owner, "PUT", "/default/b", &copy).status, 202);
    assert!(ask(&owner, "GET", &with_tags, "").body.contains("approved"));
}

#[test]
fn a_signature_to_create_puts_no_block_in_the_place_of_anothers() {
    let (served, key) = served();
    let ask = |permissions: &str, path: &str| {
        let (expiry, version) = ("2099-01-01T00:00:00Z", "2026-10-06");
        let to_sign = format!(
            "{permissions}\n\n{expiry}\n/blob/documents/default\n\n\n\n{version}\nc\n\n\n\n\n\n\n"
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(&key).unwrap()).unwrap();
        mac.update(to_sign.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let signature: String = form_urlencoded::byte_serialize(signature.as_bytes()).collect();
        let join = if path.contains('?') { '&' } else { '?' };
        served.proxied(
            HOST,
            &format!(
                "PUT {path}{join}sv={version}&sr=c&sp={permissions}&se={expiry}&sig={signature} HTTP/1.1\r\n\
                 Host: {HOST}\r\nx-ms-version: {version}\r\nx-ms-blob-type: BlockBlob\r\n\
                 Content-Length: 4\r\nConnection: close\r\n\r\ndata"
            ),
        )
    };
    let block = "/default/report?comp=block&blockid=QQ%3D%3D";
    let refused = (403, "AuthorizationPermissionMismatch");
    assert_eq!(error(&ask("c", block)), refused);
    assert_eq!(ask("w", block).status, 201);
    assert_eq!(ask("c", "/default/new").status, 201);
}

#[test]
fn who_may_write_containers_does_not_widen_what_others_signatures_allow() {
    let (served, key) = served();
    let ask = |request: &str| served.proxied(HOST, request);
    let acl = "/default?restype=container&comp=acl";
    let metadata = "/default?restype=container&comp=metadata";
    let refused = (403, "AuthorizationPermissionMismatch");
    let all = ["rwdlacuptf", "https"];
    let writer = token_of(&served, "writer", "Storage Blob Data Contributor");
    let owner = token_of(&served, "owner", "Storage Blob Data Owner");
    let by_token = |token: &str, method: &str, path: &str| {
        ask(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\
             x-ms-version: 2026-10-06\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    };
    for method in ["GET", "PUT"] {
        let answer = ask(&by_signature(&key, [method, acl], all, &[]));
        assert_eq!(error(&answer), refused, "{method}");
        assert_eq!(error(&by_token(&writer, method, acl)), refused, "{method}");
        assert_eq!(by_token(&owner, method, acl).status, 200, "{method}");
        assert_eq!(ask(&signed(&key, method, acl, &[], "", |r| r)).status, 200);
        // The control.
        let answer = ask(&by_signature(&key, [method, metadata], all, &[]));
        assert_eq!(answer.status, 200, "{method}");
    }
    assert_eq!(by_token(&writer, "PUT", metadata).status, 200);
    // Of these signatures none covers a policy's name.
    let named = format!("{metadata}&si=policy");
    let answer = ask(&by_signature(&key, ["PUT", &named], all, &[]));
    assert_eq!(error(&answer), (403, "AuthenticationFailed"));
}

#[test]
fn who_may_only_delete_ends_a_lease_and_takes_none() {
    let (served, key) = served();
    let ask = |request: &str| served.proxied(HOST, request);
    let put = signed(&key, "PUT", "/default/a", PUT, "data", |r| r);
    assert_eq!(ask(&put).status, 201);
    let lease = |permissions: &str, action: &str| {
        let headers = [action, "x-ms-lease-duration: -1"];
        let path = "/default/a?comp=lease";
        ask(&by_signature(
            &key,
            ["PUT", path],
            [permissions, "https"],
            &headers,
        ))
    };
    let (acquire, breaks) = ("x-ms-lease-action: acquire", "x-ms-lease-action: Break");
    let refused = (403, "AuthorizationPermissionMismatch");
    assert_eq!(error(&lease("d", acquire)), refused);
    assert_eq!(lease("w", acquire).status, 201);
    assert_eq!(error(&lease("r", breaks)), refused);
    assert_eq!(lease("d", breaks).status, 202);
}
