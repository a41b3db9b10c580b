//! What must not be answered.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::client::*;

const KEY: &str = "/keys/customer-key?api-version=7.4";

#[test]
fn the_proxy_leads_nowhere_else() {
    let served = Served::new(&[]);
    let connect = |target: &str| {
        let close = "Connection: close";
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{close}\r\n\r\n");
        served.http(&request)
    };
    for target in [
        "example.com:443",
        "customer.vault.azure.net:80",
        "customer.vault.azure.net.example.com:443",
        "localhost:443",
        "127.0.0.1:22",
        "169.254.169.254:443",
    ] {
        let answer = connect(target);
        assert_eq!(answer.status, 403, "{target}: {answer:?}");
        assert!(served.log().contains(target), "{target} is not in the log");
    }
    let plain =
        "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
    assert_eq!(served.http(plain).status, 421);
    let other_port = "GET http://127.0.0.1:1/msi/token HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n\r\n";
    assert_eq!(served.http(other_port).status, 403);
    for host in [
        "customer.vault.azure.net",
        "login.microsoftonline.com",
        "a.blob.core.windows.net",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_ne!(served.proxied(host, &request).status, 403, "{host}");
    }
}

#[test]
fn who_has_no_token_learns_only_where_to_get_one() {
    let served = Served::new(&[]);
    let tenant = served.told["tenant"].as_str().unwrap();
    let challenge = format!(
        "Bearer authorization=\"https://login.microsoftonline.com/{tenant}\", resource=\"https://vault.azure.net\""
    );
    for path in [
        KEY,
        "/keys/nothing?api-version=7.4",
        "/keys/customer-key",
        "/nowhere",
        "/keys/a%20b",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {VAULT}\r\nConnection: close\r\n\r\n");
        let answer = served.proxied(VAULT, &request);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "Unauthorized"),
            "{path}"
        );
        assert!(
            answer
                .head
                .contains(&format!("www-authenticate: {challenge}\r\n")),
            "{}",
            answer.head
        );
    }
    assert_eq!(served.ask(&served.token(), "GET", KEY, "").status, 200);
}

#[test]
fn a_token_that_was_not_issued_here_opens_nothing() {
    let (served, other) = (Served::new(&[]), Served::new(&[]));
    let token = served.token();
    let claims = token.split('.').nth(1).unwrap();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let tampered = format!("{}AAAA", &token[..token.len() - 4]);
    for forged in [
        format!("{none}.{claims}."),
        tampered,
        other.token(),
        String::new(),
    ] {
        assert_eq!(served.ask(&forged, "GET", KEY, "").status, 401, "{forged}");
    }
    assert_eq!(served.ask(&token, "GET", KEY, "").status, 200);
}

#[test]
fn any_token_is_taken_only_when_that_was_asked_for_and_it_is_said() {
    let served = Served::new(&["--insecure-any-token"]);
    assert_eq!(served.ask("made-up", "GET", KEY, "").status, 200);
    assert!(served.log().contains("INSECURE"), "{}", served.log());
}

#[test]
fn the_managed_identity_endpoint_gives_nothing_to_strangers() {
    let served = Served::new(&[]);
    let ask = |path: &str, host: &str, headers: &str| {
        served.http(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n"
        ))
    };
    let msi = "/msi/token?api-version=2019-08-01&resource=https://vault.azure.net";
    let right = format!("X-IDENTITY-HEADER: {}\r\n", served.identity_header());
    assert_eq!(ask(msi, "127.0.0.1", &right).status, 200);
    assert_eq!(ask(msi, "127.0.0.1", "").status, 401);
    assert_eq!(
        ask(msi, "127.0.0.1", "X-IDENTITY-HEADER: guessed\r\n").status,
        401
    );
    // A web page whose name was pointed at this machine.
    assert_eq!(ask(msi, "evil.example", &right).status, 421);
    let others = "/msi/token?api-version=2019-08-01&resource=https://graph.microsoft.com";
    assert_eq!(ask(others, "127.0.0.1", &right).status, 400);
    let imds =
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net";
    assert_eq!(ask(imds, "127.0.0.1", "Metadata: true\r\n").status, 404);

    let served = Served::new(&["--imds"]);
    let ask = |headers: &str| {
        served.http(&format!(
            "GET {imds} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Connection: close\r\n\r\n"
        ))
    };
    assert_eq!(ask("Metadata: true\r\n").status, 200);
    assert_eq!(ask("").status, 400);
}

#[test]
fn an_identity_does_no_more_than_its_role_and_nothing_once_it_is_removed() {
    let dir = workspace();
    let identity = |args: &[&str]| {
        let done = atrest(dir.path(), &[&["identity"], args].concat())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    identity(&[
        "add",
        "wrapper",
        "--role",
        "Key Vault Crypto Service Encryption User",
    ]);
    let dir_path = dir.path().to_owned();
    let served = Served::at(dir, &["--identity", "wrapper"]);
    let token = served.token();
    assert_eq!(served.ask(&token, "GET", KEY, "").status, 200);
    let wrap = r#"{"alg":"RSA-OAEP-256","value":"AAAA"}"#;
    let path = "/keys/customer-key//wrapkey?api-version=7.4";
    assert_eq!(served.ask(&token, "POST", path, wrap).status, 200);
    for (method, path) in [
        ("POST", "/keys/new/create?api-version=7.4"),
        ("POST", "/keys/customer-key//sign?api-version=7.4"),
        ("DELETE", "/keys/customer-key?api-version=7.4"),
        ("POST", "/keys/customer-key/backup?api-version=7.4"),
        ("PUT", "/keys/customer-key/rotationpolicy?api-version=7.4"),
    ] {
        let answer = served.ask(&token, method, path, "{}");
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
        assert_eq!(
            answer.json()["error"]["innererror"]["code"],
            "ForbiddenByRbac"
        );
    }
    let removed = atrest(&dir_path, &["identity", "remove", "wrapper"])
        .output()
        .unwrap();
    assert!(removed.status.success());
    assert_eq!(served.ask(&token, "GET", KEY, "").status, 401);
}

#[test]
fn a_request_for_another_vault_or_service_is_not_answered_by_this_one() {
    let served = Served::new(&["--vault", "contoso"]);
    let token = served.token();
    let ask = |host: &str, named: &str| {
        let request = request(&token, "GET", KEY, "").replace(VAULT, named);
        served.https(host, &request)
    };
    assert_eq!(
        ask("contoso.vault.azure.net", "contoso.vault.azure.net").status,
        200
    );
    assert_eq!(ask("localhost", "localhost:8443").status, 200);
    let kid = ask("localhost", "localhost:8443").json()["key"]["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        kid.starts_with("https://localhost:8443/keys/customer-key/"),
        "{kid}"
    );
    assert_eq!(
        ask("customer.vault.azure.net", "customer.vault.azure.net").code(),
        "VaultNotFound"
    );
    assert_eq!(
        ask("a.managedhsm.azure.net", "a.managedhsm.azure.net").code(),
        "VaultNotFound"
    );
    // TLS was asked for one host, the request for another.
    assert_eq!(
        ask("a.blob.core.windows.net", "contoso.vault.azure.net").status,
        421
    );
    assert_eq!(ask("localhost", "example.com").status, 421);
}

#[test]
fn nonsense_is_refused_as_the_callers_fault() {
    let served = Served::new(&[]);
    let token = served.token();
    let create = |body: &str| served.ask(&token, "POST", "/keys/n/create?api-version=7.4", body);
    for body in [
        "",
        "{",
        "[]",
        r#"{"kty":"RSA","key_size":"2048"}"#,
        r#"{"kty":"DSA"}"#,
        r#"{"kty":"RSA","key_size":1}"#,
        r#"{"kty":"RSA","public_exponent":3}"#,
        r#"{"kty":"EC","crv":"P-1"}"#,
        r#"{"kty":"oct","key_ops":["fly"]}"#,
        r#"{"kty":"EC","attributes":{"exp":9223372036854775807}}"#,
        r#"{"kty":"EC","release_policy":{"data":"AAAA"}}"#,
    ] {
        let answer = create(body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "BadParameter"),
            "{body}"
        );
    }
    assert_eq!(create(r#"{"kty":"EC","unknown":[1]}"#).status, 200);
    let too_long = format!(r#"{{"kty":"{}"}}"#, "x".repeat(300 << 10));
    assert_eq!(create(&too_long).status, 413);
    for query in [
        "",
        "?api-version=",
        "?api-version=latest",
        "?api-version=7.4&api-version=7.4",
    ] {
        let answer = served.ask(&token, "GET", &format!("/keys/n{query}"), "");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "BadParameter"),
            "{query}"
        );
    }
    assert_eq!(
        served
            .ask(&token, "GET", "/keys/n?api%2Dversion=7.4", "")
            .status,
        200
    );
    for query in [
        "maxresults=0",
        "maxresults=26",
        "maxresults=x",
        "$skiptoken=a%20b",
    ] {
        let answer = served.ask(&token, "GET", &format!("/keys?api-version=7.4&{query}"), "");
        assert_eq!(answer.status, 400, "{query}");
    }
    let other = served.ask(&token, "POST", "/deletedkeys/n?api-version=7.4", "");
    assert_eq!(other.status, 405);
    let allowed = "allow: GET, DELETE\r\n";
    assert!(other.head.contains(allowed), "{}", other.head);
    let head = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "x".repeat(100 << 10)
    );
    assert!([414, 431].contains(&served.http(&head).status));
}

#[test]
fn a_request_that_names_two_hosts_is_for_neither() {
    let served = Served::new(&[]);
    let token = served.token();
    let ask = |target: &str, hosts: &str| {
        let close = "Connection: close";
        let bearer = format!("Authorization: Bearer {token}");
        let head = format!("GET {target} HTTP/1.1\r\n{hosts}{bearer}\r\n{close}\r\n\r\n");
        served.proxied(VAULT, &head).status
    };
    let right = format!("Host: {VAULT}\r\n");
    let absolute = |host: &str| format!("https://{host}{KEY}");
    assert_eq!(ask(KEY, &right), 200);
    assert_eq!(ask(&absolute(VAULT), &right), 200);
    assert_eq!(ask(&absolute("other.vault.azure.net"), &right), 421);
    assert_eq!(
        ask(KEY, &format!("{right}Host: other.vault.azure.net\r\n")),
        421
    );
    assert_eq!(ask(KEY, ""), 421);
    let http = |target: &str, hosts: &str| {
        served.http(&format!(
            "GET {target} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"
        ))
    };
    let own = format!("Host: {}\r\n", served.address);
    let page = format!("http://{}/healthz", served.address);
    assert_eq!(http(&page, &own).status, 200);
    assert_eq!(http(&page, "Host: evil.example\r\n").status, 421);
    assert_eq!(
        http("/healthz", &format!("{own}Host: evil.example\r\n")).status,
        421
    );
}

#[test]
fn a_refusal_says_what_azure_says_and_advises_no_command_that_does_not_exist() {
    let served = Served::new(&[]);
    let token = served.token();
    let ask = |method: &str, path: &str, body: &str| {
        served.ask(&token, method, &format!("{path}?api-version=7.4"), body)
    };
    let refused = |answer: Answer, status: u16, code: &str, message: &str| {
        let error = answer.json()["error"].clone();
        let is = (
            answer.status,
            error["code"].as_str(),
            error["message"].as_str(),
        );
        assert_eq!(is, (status, Some(code), Some(message)));
    };
    let secret = r#"{"value":"v"}"#;
    assert_eq!(ask("PUT", "/secrets/s", secret).status, 200);
    for (kind, code, live) in [
        ("Key", "KeyNotFound", "customer-key"),
        ("Secret", "SecretNotFound", "s"),
    ] {
        let deleted = format!("/deleted{}s", kind.to_lowercase());
        for name in [live, "none"] {
            let message = format!("Deleted {kind} not found: {name}");
            refused(
                ask("GET", &format!("{deleted}/{name}"), ""),
                404,
                code,
                &message,
            );
            refused(
                ask("DELETE", &format!("{deleted}/{name}"), ""),
                404,
                code,
                &message,
            );
            refused(
                ask("POST", &format!("{deleted}/{name}/recover"), ""),
                404,
                code,
                &message,
            );
        }
    }
    assert_eq!(ask("DELETE", "/secrets/s", "").status, 200);
    let message = "Secret s is currently in a deleted but recoverable state, and its name cannot be \
                   reused; in this state, the secret can only be recovered or purged.";
    refused(ask("PUT", "/secrets/s", secret), 409, "Conflict", message);
    assert_eq!(ask("POST", "/deletedsecrets/s/recover", "").status, 200);
    let off = r#"{"attributes":{"enabled":false}}"#;
    assert_eq!(ask("PATCH", "/secrets/s/", off).status, 200);
    let message = "Operation get is not allowed on a disabled secret.";
    refused(ask("GET", "/secrets/s/", ""), 403, "Forbidden", message);
    assert_eq!(ask("PATCH", "/keys/customer-key/", off).status, 200);
    let wrapped = r#"{"alg":"RSA-OAEP-256","value":"AAAA"}"#;
    let message = "Operation unwrapKey is not allowed on a disabled key.";
    let unwrap = ask("POST", "/keys/customer-key//unwrapkey", wrapped);
    refused(unwrap, 403, "Forbidden", message);
}
