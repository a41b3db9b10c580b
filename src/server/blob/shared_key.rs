//! The signature of a request by an account's key
//! (learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key).

use std::collections::BTreeMap;

use hyper::header::HeaderMap;
use jiff::{SignedDuration, Timestamp};

use super::head::Head;

/// How far a request's date may lie from now.
const SKEW: SignedDuration = SignedDuration::from_mins(15);

/// What a client of the account `account` signs. `None` when it would also be what is signed of another request, by
/// one parameter that is read as two: nothing that a parameter says here has a line feed, no name a colon.
pub(super) fn string_to_sign(account: &str, head: &Head) -> Option<String> {
    let is_one =
        |(name, value): &(String, String)| !name.contains([':', '\n']) && !value.contains('\n');
    if !head.query.iter().all(is_one) {
        return None;
    }
    let get = |name: &str| joined(&head.headers, name);
    let length = match get("content-length") {
        length if length == "0" => String::new(),
        length => length,
    };
    // A date of its own takes the place of the one that a proxy may change.
    let date = match head.headers.contains_key("x-ms-date") {
        true => String::new(),
        false => get("date"),
    };
    let mut lines = vec![
        head.method.as_str().to_owned(),
        get("content-encoding"),
        get("content-language"),
        length,
        get("content-md5"),
        get("content-type"),
        date,
        get("if-modified-since"),
        get("if-match"),
        get("if-none-match"),
        get("if-unmodified-since"),
        get("range"),
    ];
    let mut names: Vec<&str> = head.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let ours = names.into_iter().filter(|name| name.starts_with("x-ms-"));
    lines.extend(ours.map(|name| format!("{name}:{}", get(name))));
    lines.push(format!("/{account}{}", head.path));
    let mut query: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &head.query {
        query.entry(name).or_default().push(value);
    }
    for (name, mut values) in query {
        values.sort_unstable();
        lines.push(format!("{name}:{}", values.join(",")));
    }
    Some(lines.join("\n"))
}

/// Whether the request was made about now: one that somebody recorded is not taken later.
pub(super) fn is_fresh(head: &Head, now: Timestamp) -> bool {
    let date = [
        joined(&head.headers, "x-ms-date"),
        joined(&head.headers, "date"),
    ];
    let date = date.iter().find(|date| !date.is_empty());
    let time = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let time = time.and_then(|time| Timestamp::try_from(time).ok());
    time.is_some_and(|time| time.duration_since(now).abs() <= SKEW)
}

fn joined(headers: &HeaderMap, name: &str) -> String {
    let values = headers.get_all(name).iter();
    let values: Vec<_> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        .collect();
    values.join(",")
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;
    use crate::server::blob::{Address, Origin};

    /// The example of the documentation, with a newer version and an encoded path.
    #[test]
    fn string_to_sign_is_the_one_that_clients_sign() {
        let request = Request::get("/c/a%20b?timeout=20&restype=container&comp=metadata&Comp=list")
            .header("x-ms-version", "2026-10-06")
            .header("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")
            .header("x-ms-meta-m1", " v1 ")
            .header("content-length", "0")
            .header("date", "Fri, 26 Jun 2015 23:39:13 GMT")
            .header("range", "bytes=0-1")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let address = Address::Host("myaccount".into());
        let origin = Origin::tls(std::net::Ipv4Addr::LOCALHOST.into());
        let head = Head::new(parts, origin, &address).unwrap();
        assert_eq!(
            string_to_sign("myaccount", &head).unwrap(),
            "GET\n\n\n\n\n\n\n\n\n\n\nbytes=0-1\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\n\
             x-ms-meta-m1:v1\nx-ms-version:2026-10-06\n/myaccount/c/a%20b\ncomp:list,metadata\n\
             restype:container\ntimeout:20"
        );
        let at = |text: &str| text.parse().unwrap();
        assert!(is_fresh(&head, at("2015-06-26T23:50:00Z")));
        for stale in ["2015-06-26T23:55:00Z", "2015-06-26T23:20:00Z"] {
            assert!(!is_fresh(&head, at(stale)), "{stale}");
        }
    }
}
