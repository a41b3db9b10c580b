//! Calls to a server by who has no token, or one that is not good.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::lab::registry::SERVER;
use crate::lab::{Attack, Control, Evidence, Lab, LabError, Outcome};

use super::bout::{Bout, Reading, control};
use super::served::{
    BLOB_HOST, KEY, STORAGE_AUDIENCE, Served, VAULT_AUDIENCE, VAULT_HOST, no_program, request,
    workspace,
};

/// Attack 33.
pub(in crate::lab) fn calls(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(33);
    let dir = lab.scratch()?;
    let [own, open] = ["own", "open"].map(|name| dir.path().join(name));
    workspace(&own)?;
    let Some(served) = Served::start(lab, &own, &[])? else {
        return Ok(vec![attack.outcome(None, SERVER, no_program())]);
    };
    workspace(&open)?;
    let twin = Served::start(lab, &open, &["--insecure-any-token"])?;
    let mut tokens = forged_tokens(&served)?;
    if let Some(twin) = twin {
        tokens.control = Some(control(forged_tokens(&twin)?));
    }
    Ok(vec![
        attack.outcome(
            Some("without a token, and with forged, foreign, expired and altered ones"),
            SERVER,
            tokens,
        ),
        attack.outcome(
            Some("over old TLS, and over none"),
            SERVER,
            old_tls(&served)?,
        ),
    ])
}

/// A token, and what is wrong with it.
type Forged = (&'static str, Option<String>);

fn forged_tokens(served: &Served) -> Result<Evidence, LabError> {
    let mut bout = Bout::new(&served.dir.join("server"), "");
    let (vault, storage) = (
        served.token(VAULT_AUDIENCE)?,
        served.token(STORAGE_AUDIENCE)?,
    );
    let key = format!("/keys/{KEY}?api-version=7.4");
    let places = [
        (VAULT_HOST, key.as_str(), &vault, &storage),
        (BLOB_HOST, "/?comp=list", &storage, &vault),
    ];
    for (host, path, right, other) in places {
        for (what, token) in forgeries(served, right, other)? {
            let answer = served.https(
                host,
                request(host, token.as_deref(), "GET", path, "").as_bytes(),
            )?;
            let reading = match answer.status {
                401 | 403 => Reading::Refused(format!("{} at {host}", answer.status)),
                status => Reading::Data(status.to_string()),
            };
            bout.record(reading, None, || {
                format!("{what}: answered with {} at {host}", answer.status)
            });
        }
        let answer = served.ask(host, right, "GET", path, "")?;
        if answer.status != 200 {
            let why = format!("a good token is refused at {host}: {}", answer.status);
            return Err(LabError::Report(why));
        }
    }
    Ok(bout.finish("calls without a good token; with a good one each is answered"))
}

/// Tokens that are not good, of what is in good ones for this service and for another.
fn forgeries(served: &Served, right: &str, other: &str) -> Result<Vec<Forged>, LabError> {
    let parts: Vec<&str> = right.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        return Err(LabError::Report("the token has not three parts".to_owned()));
    };
    let bad = || LabError::Report("the token cannot be read".to_owned());
    let decode = |part: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let (said, about) = (
        decode(claims).ok_or_else(bad)?,
        decode(header).ok_or_else(bad)?,
    );
    let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = encoded(json!({ "alg": "none", "typ": "JWT" }));
    // The server's own key: what is wrong with these is what they say, not who signed it.
    let path = served.dir.join("server/token.key");
    let pem = std::fs::read_to_string(&path).map_err(|e| LabError::io(&path, e))?;
    let pem = Zeroizing::new(pem);
    let der: Zeroizing<String> =
        Zeroizing::new(pem.lines().filter(|l| !l.starts_with('-')).collect());
    let der = Zeroizing::new(STANDARD.decode(&*der).map_err(|_| bad())?);
    let signing = EncodingKey::from_ec_der(&der);
    let signed = |change: &dyn Fn(&mut Value)| -> Result<Option<String>, LabError> {
        let mut claims = said.clone();
        change(&mut claims);
        let mut header = Header::new(Algorithm::ES256);
        header.kid = about["kid"].as_str().map(str::to_owned);
        encode(&header, &claims, &signing)
            .map(Some)
            .map_err(|e| LabError::Report(e.to_string()))
    };
    let secret = EncodingKey::from_secret(&der);
    let mac = encode(&Header::new(Algorithm::HS256), &said, &secret).ok();
    let mut altered = claims.to_owned().into_bytes();
    altered[20] = if altered[20] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8_lossy(&altered);
    let now = said["iat"].as_i64().unwrap_or_default();
    Ok(vec![
        ("no token", None),
        ("an empty token", Some(String::new())),
        ("a made-up word", Some("secret".to_owned())),
        ("alg=none", Some(format!("{none}.{claims}."))),
        (
            "alg=none with a signature",
            Some(format!("{none}.{claims}.{signature}")),
        ),
        ("no signature", Some(format!("{header}.{claims}."))),
        (
            "altered claims",
            Some(format!("{header}.{altered}.{signature}")),
        ),
        ("a MAC in place of a signature", mac),
        ("a good token for another service", Some(other.to_owned())),
        (
            "an expired token",
            signed(&|c| {
                c["nbf"] = json!(now - 7200);
                c["exp"] = json!(now - 3600);
            })?,
        ),
        (
            "a token that is not valid yet",
            signed(&|c| {
                c["nbf"] = json!(now + 3600);
                c["exp"] = json!(now + 7200);
            })?,
        ),
        (
            "a token for a host that begins alike",
            signed(&|c| {
                c["aud"] = json!(format!("{}.example", c["aud"].as_str().unwrap_or_default()));
            })?,
        ),
        (
            "a token of another issuer",
            signed(&|c| {
                c["iss"] = json!("https://sts.windows.net/00000000-0000-0000-0000-000000000000/");
            })?,
        ),
        (
            "a token of nobody who is registered",
            signed(&|c| {
                c["oid"] = json!("00000000-0000-0000-0000-000000000000");
            })?,
        ),
    ])
}

/// A ClientHello that offers `version` (RFC 5246 section 7.4.1.2, RFC 6101) and suites of its time, and
/// two of TLS 1.2: so that only the version is to be refused.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let suites = [
        0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x13, 0xc0, 0x14, 0xc0, 0x09, 0xc0, 0x0a, 0, 0x2f, 0, 0x35,
        0, 0x0a,
    ];
    let name = VAULT_HOST.as_bytes();
    let short = |n: usize| u16::try_from(n).expect("a short hello").to_be_bytes();
    let mut server_name = vec![0, 0];
    server_name.extend(short(name.len() + 5));
    server_name.extend(short(name.len() + 3));
    server_name.push(0);
    server_name.extend(short(name.len()));
    server_name.extend(name);
    // Groups secp256r1, point format uncompressed.
    server_name.extend([0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
    // Signatures ecdsa_secp256r1_sha256, rsa_pss_rsae_sha256, rsa_pkcs1_sha256.
    server_name.extend([0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1]);
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(short(suites.len()));
    body.extend(suites);
    body.extend([1, 0]);
    body.extend(short(server_name.len()));
    body.extend(server_name);
    let mut hello = vec![22, 3, version[1].min(1)];
    hello.extend(short(body.len() + 4));
    hello.extend([1, 0]);
    hello.extend(short(body.len()));
    hello.extend(body);
    hello
}

fn old_tls(served: &Served) -> Result<Evidence, LabError> {
    const HANDSHAKE: u8 = 22;
    const SERVER_HELLO: u8 = 2;
    const ALERT: u8 = 21;
    const PROTOCOL_VERSION: u8 = 70;
    let mut bout = Bout::new(&served.dir.join("server"), "");
    for (name, version) in [
        ("SSL 3.0", [3, 0]),
        ("TLS 1.0", [3, 1]),
        ("TLS 1.1", [3, 2]),
    ] {
        let mut stream = served.connect()?;
        let _ = stream.write_all(&client_hello(version));
        // A record's header, and the first bytes in it: of an alert, its level and description.
        let mut answer = [0; 7];
        let reading = match stream.read_exact(&mut answer) {
            Ok(()) if answer[0] == ALERT && answer[6] == PROTOCOL_VERSION => {
                Reading::Refused(format!("{name}: alert protocol_version"))
            }
            Ok(()) if answer[0] == ALERT => {
                Reading::Refused(format!("{name}: alert {}", answer[6]))
            }
            Ok(()) => Reading::Data("a handshake".to_owned()),
            Err(_) => Reading::Refused(format!("{name}: the connection is closed")),
        };
        bout.record(reading, None, || format!("{name} is spoken"));
    }
    let key = format!("/keys/{KEY}?api-version=7.4");
    let token = served.token(VAULT_AUDIENCE)?;
    let plain = served.http(&request(VAULT_HOST, Some(&token), "GET", &key, ""))?;
    let reading = match plain.status {
        200..=299 => Reading::Data(plain.status.to_string()),
        status => Reading::Refused(format!("{status} over plain HTTP")),
    };
    bout.record(reading, None, || {
        "the vault answers over plain HTTP".to_owned()
    });
    let mut evidence = bout.finish("old versions offered, and plain HTTP");
    let mut spoken = Vec::new();
    for (name, version) in [
        ("1.2", &rustls::version::TLS12),
        ("1.3", &rustls::version::TLS13),
    ] {
        let mut stream = served.tls(VAULT_HOST, &[version])?;
        if stream.conn.complete_io(&mut stream.sock).is_ok() {
            spoken.push(name);
        }
    }
    // The hello itself is well formed: with the number of TLS 1.2 it is answered.
    let mut stream = served.connect()?;
    let _ = stream.write_all(&client_hello([3, 3]));
    let mut answer = [0; 6];
    let read = stream.read_exact(&mut answer);
    let hello = read.is_ok() && answer[0] == HANDSHAKE && answer[5] == SERVER_HELLO;
    evidence.control = Some(Control {
        fired: spoken.len() == 2 && hello,
        summary: format!(
            "TLS {} are spoken{}.",
            spoken.join(" and "),
            match hello {
                true => "; the same hello with the number of TLS 1.2 is answered",
                false =>
                    "; the same hello with the number of TLS 1.2 is not answered, so that it proves nothing",
            }
        ),
        ..Control::default()
    });
    Ok(evidence)
}
