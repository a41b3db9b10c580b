use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// How a known text may lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Its bytes: ASCII, UTF-8, or whatever they are.
    Raw,
    /// UTF-16, little-endian.
    Utf16Le,
    /// UTF-16, big-endian.
    Utf16Be,
    /// Hexadecimal digits, lower case.
    HexLower,
    /// Hexadecimal digits, upper case.
    HexUpper,
    /// Base64 (RFC 4648 section 4 or 5), at whichever of the three offsets within a group.
    Base64,
    /// Percent-encoded (RFC 3986), either case, spaces as `%20` or `+`.
    Url,
    /// Escaped as in JSON (RFC 8259), characters beyond ASCII kept or as `\u`.
    Json,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "plain bytes",
            Self::Utf16Le => "UTF-16LE",
            Self::Utf16Be => "UTF-16BE",
            Self::HexLower | Self::HexUpper => "hexadecimal",
            Self::Base64 => "base64",
            Self::Url => "URL-escaped",
            Self::Json => "JSON-escaped",
        })
    }
}

/// Every sequence of bytes that `bytes` may have become, without duplicates. The encodings of text
/// apply when it is UTF-8.
pub(super) fn variants(bytes: &[u8]) -> Vec<(Encoding, Vec<u8>)> {
    let mut all = vec![(Encoding::Raw, bytes.to_vec())];
    let mut add = |encoding, variant: Vec<u8>| {
        if !all.iter().any(|(_, known)| *known == variant) {
            all.push((encoding, variant));
        }
    };
    if let Ok(text) = std::str::from_utf8(bytes) {
        let units: Vec<u16> = text.encode_utf16().collect();
        add(
            Encoding::Utf16Le,
            units.iter().flat_map(|u| u.to_le_bytes()).collect(),
        );
        add(
            Encoding::Utf16Be,
            units.iter().flat_map(|u| u.to_be_bytes()).collect(),
        );
        for upper in [true, false] {
            for space in ["%20", "+"] {
                add(Encoding::Url, percent_encoded(bytes, upper, space));
            }
        }
        add(Encoding::Json, json_escaped(text, false));
        add(Encoding::Json, json_escaped(text, true));
    }
    add(Encoding::HexLower, hex::encode(bytes).into_bytes());
    add(Encoding::HexUpper, hex::encode_upper(bytes).into_bytes());
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        for offset in 0..3 {
            add(Encoding::Base64, base64_at(&engine, bytes, offset));
        }
    }
    all
}

/// The base64 digits that depend on nothing but `bytes`, when `offset` other bytes of the same
/// group of three come before them.
fn base64_at(engine: &impl Engine, bytes: &[u8], offset: usize) -> Vec<u8> {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(bytes);
    let digits = engine.encode(&padded).into_bytes();
    let first = (offset * 8).div_ceil(6);
    let end = padded.len() * 8 / 6;
    digits[first..end].to_vec()
}

fn percent_encoded(bytes: &[u8], upper: bool, space: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for &b in bytes {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(b),
            b' ' => out.extend_from_slice(space.as_bytes()),
            _ if upper => out.extend_from_slice(format!("%{b:02X}").as_bytes()),
            _ => out.extend_from_slice(format!("%{b:02x}").as_bytes()),
        }
    }
    out
}

fn json_escaped(text: &str, ascii_only: bool) -> Vec<u8> {
    let quoted = serde_json::to_string(text).expect("a string is JSON");
    let inner = &quoted[1..quoted.len() - 1];
    let mut out = String::new();
    for c in inner.chars() {
        if ascii_only && !c.is_ascii() {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8], encoding: Encoding) -> Vec<String> {
        variants(bytes)
            .into_iter()
            .filter(|(e, _)| *e == encoding)
            .map(|(_, v)| String::from_utf8(v).unwrap())
            .collect()
    }

    #[test]
    fn base64_is_found_wherever_the_text_starts() {
        let secret = b"IBAN NL91ABNA0417164300";
        let found = of(secret, Encoding::Base64);
        for before in ["", "a", "ab", "abc", "abcd"] {
            let mut whole = before.as_bytes().to_vec();
            whole.extend_from_slice(secret);
            whole.extend_from_slice(b" and more");
            let digits = STANDARD_NO_PAD.encode(&whole);
            assert!(
                found.iter().any(|f| digits.contains(f.as_str())),
                "{before:?}"
            );
        }
    }

    #[test]
    fn escapes_are_those_that_programs_write() {
        let text = "Zoë \"Ltd\" & co".as_bytes();
        let urls = of(text, Encoding::Url);
        assert!(urls.contains(&"Zo%C3%AB%20%22Ltd%22%20%26%20co".to_owned()));
        assert!(urls.contains(&"Zo%c3%ab+%22Ltd%22+%26+co".to_owned()));
        let json = of(text, Encoding::Json);
        assert!(json.contains(&"Zoë \\\"Ltd\\\" & co".to_owned()));
        assert!(json.contains(&"Zo\\u00eb \\\"Ltd\\\" & co".to_owned()));
    }

    #[test]
    fn bytes_that_are_no_text_have_no_text_encodings() {
        let found = variants(&[0xff, 0xfe, 1, 2, 3, 4, 5, 6]);
        assert!(
            found
                .iter()
                .all(|(e, _)| !matches!(e, Encoding::Utf16Le | Encoding::Json))
        );
        assert!(found.iter().any(|(e, _)| *e == Encoding::Base64));
    }
}
