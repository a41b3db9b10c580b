//! Shared access signatures.

use std::net::{IpAddr, Ipv4Addr};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::Origin;
use super::super::call::Call;
use super::super::head::Head;
use super::super::sas::Sas;
use super::config;
use super::raw::{ACCOUNT, Change, Edit, LAST, Raw, decoded, edits};

/// A field of the string to sign, the version from which it is there, and the one in which it ends.
type Field = (&'static str, &'static str);

/// create-service-sas, "Version 2018-11-09 and later" and "Version 2020-12-06 and later".
const SERVICE: [Field; 16] = [
    ("sp", ""),
    ("st", ""),
    ("se", ""),
    ("/", ""),
    ("si", ""),
    ("sip", ""),
    ("spr", ""),
    ("sv", ""),
    ("sr", ""),
    ("snapshot", ""),
    ("ses", "2020-12-06"),
    ("rscc", ""),
    ("rscd", ""),
    ("rsce", ""),
    ("rscl", ""),
    ("rsct", ""),
];

/// create-user-delegation-sas.
const DELEGATED: [Field; 28] = [
    ("sp", ""),
    ("st", ""),
    ("se", ""),
    ("/", ""),
    ("skoid", ""),
    ("sktid", ""),
    ("skt", ""),
    ("ske", ""),
    ("sks", ""),
    ("skv", ""),
    ("saoid", "2020-02-10"),
    ("suoid", "2020-02-10"),
    ("scid", "2020-02-10"),
    ("skdutid", "2025-07-05"),
    ("sduoid", "2025-07-05"),
    ("sip", ""),
    ("spr", ""),
    ("sv", ""),
    ("sr", ""),
    ("snapshot", ""),
    ("ses", "2020-12-06"),
    ("srh", "2026-04-06"),
    ("srq", "2026-04-06"),
    ("rscc", ""),
    ("rscd", ""),
    ("rsce", ""),
    ("rscl", ""),
    ("rsct", ""),
];

/// create-account-sas; each ends in a line feed.
const ACCOUNTS: [Field; 9] = [
    ("sp", ""),
    ("ss", ""),
    ("srt", ""),
    ("st", ""),
    ("se", ""),
    ("sip", ""),
    ("spr", ""),
    ("sv", ""),
    ("ses", "2020-12-06"),
];

const PAIRS: [&str; 22] = [
    "sp=racwdl",
    "se=2036-01-01",
    "st=2020-01-01",
    "sr=c",
    "sr=b",
    "sr=bs",
    "ses=",
    "ses=other",
    "sv=2018-11-09",
    "sv=2019-12-12",
    "sv=2026-10-06",
    "ss=b",
    "srt=sco",
    "si=policy",
    "snapshot=2026-07-01T12%3A00%3A00.0000000Z",
    "skoid=x",
    "saoid=x",
    "rsct=text%2Fhtml",
    "sip=",
    "spr=https,http",
    "comp=block&blockid=AAAA",
    "Sp=w",
];

fn corpus() -> Vec<Raw> {
    let rest =
        "st=2026-07-01T11%3A00%3A00Z&se=2026-07-01T13%3A00%3A00Z&sip=127.0.0.1&spr=https&sig=x";
    let delegated = "skoid=o&sktid=t&skt=2026-07-01T11%3A00%3A00Z&ske=2026-07-02&sks=b";
    let get = |path: &str, query: String| Raw::new("GET", &format!("{path}?{query}"), &[]);
    vec![
        get(
            "/con/a%20b/%C3%A9",
            format!("sv=2026-10-06&sr=b&sp=r&{rest}&rscd=file%3B%20filename%3Da&rsct=text%2Fplain"),
        ),
        get(
            "/con/b",
            format!("sv=2020-12-06&sr=c&sp=rl&ses=scope&{rest}"),
        ),
        get("/con/b", format!("sv=2020-10-02&sr=c&sp=rl&{rest}")),
        get("/con/b", "sv=2021-08-06&sr=b&si=policy&sig=x".to_owned()),
        get(
            "/con/b",
            format!("sv=2021-08-06&sr=bs&snapshot=2026-07-01T12%3A00%3A00.0000000Z&sp=r&{rest}"),
        ),
        get(
            "/con",
            format!("restype=container&comp=list&sv=2018-11-09&sr=c&sp=l&{rest}"),
        ),
        get(
            "/con/b",
            format!("sv=2026-10-06&ss=bf&srt=sco&sp=rwdlac&ses=s&{rest}"),
        ),
        get("/con/b", format!("sv=2019-12-12&ss=b&srt=o&sp=r&{rest}")),
        get(
            "/con/b",
            format!("sv=2019-12-12&sr=b&sp=r&{delegated}&skv=2019-12-12&{rest}"),
        ),
        get(
            "/con/b",
            format!(
                "sv=2020-12-06&sr=b&sp=r&{delegated}&skv=2020-12-06&saoid=a&scid=c&ses=s&{rest}"
            ),
        ),
        get(
            "/con/b",
            format!("sv=2026-10-06&sr=c&sp=r&{delegated}&skv=2026-10-06&{rest}"),
        ),
    ]
}

fn fields(raw: &Raw) -> Option<&'static [Field]> {
    let has = |name: &str| {
        raw.parameters()
            .is_some_and(|all| all.iter().any(|(n, _)| n == name))
    };
    Some(match has("ss") {
        true => &ACCOUNTS,
        false if raw.parameter("skoid")?.is_empty() => &SERVICE,
        false => &DELEGATED,
    })
}

/// What was signed, from the request as it goes over the wire; `None` of what is signed of nothing.
fn expected(raw: &Raw) -> Option<String> {
    let version = raw.parameter("sv")?;
    let is_date = version.len() == 10 && version.parse::<jiff::civil::Date>().is_ok();
    if !is_date || version.as_str() < "2018-11-09" {
        return None;
    }
    let fields = fields(raw)?;
    let mut values = Vec::new();
    for (name, from) in fields {
        if version.as_str() < *from {
            continue;
        }
        values.push(match *name {
            "/" => {
                let path = decoded(raw.path.strip_prefix('/')?)?;
                let container = path.split('/').next()?;
                match raw.parameter("sr")?.as_str() {
                    "c" => format!("/blob/{ACCOUNT}/{container}"),
                    "b" => format!("/blob/{ACCOUNT}/{path}"),
                    "bs" if !raw.parameter("snapshot")?.is_empty() => {
                        format!("/blob/{ACCOUNT}/{path}")
                    }
                    _ => return None,
                }
            }
            // A container's is for its snapshots.
            "snapshot" if raw.parameter("sr")? == "c" => String::new(),
            name => raw.parameter(name)?,
        });
    }
    Some(match fields.len() == ACCOUNTS.len() {
        true => format!("{ACCOUNT}\n{}\n", values.join("\n")),
        false => values.join("\n"),
    })
}

fn said(head: &Head) -> Option<String> {
    let call = Call::of(head).ok()?;
    let sas = Sas::of(head).ok()??;
    sas.string_to_sign(ACCOUNT, &call).ok()
}

/// All that a signature says, and of what.
fn meaning(raw: &Raw) -> Option<Vec<String>> {
    let version = raw.parameter("sv")?;
    let mut all = vec![format!("{:?}", fields(raw)?.len())];
    for (name, from) in fields(raw)? {
        if *name != "/" && *name != "snapshot" && version.as_str() >= *from {
            all.push(raw.parameter(name)?);
        }
    }
    let path = decoded(&raw.path)?;
    if fields(raw)?.len() != ACCOUNTS.len() {
        match raw.parameter("sr")?.as_str() {
            "c" => all.push(path.split('/').nth(1)?.to_owned()),
            _ => all.extend([path, raw.parameter("snapshot")?]),
        }
    }
    Some(all)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn shared_access_signature_that_was_altered_signs_nothing_else(good in select(corpus()), edits in edits(&PAIRS)) {
        let signed = expected(&good);
        prop_assert!(signed.is_some());
        let altered = good.altered(&edits);
        let Some(head) = altered.head() else {
            return Ok(());
        };
        let said = said(&head);
        if said.is_none() {
            return Ok(());
        }
        prop_assert_eq!(&said, &expected(&altered), "{:?}", altered);
        if said == signed {
            prop_assert_eq!(meaning(&altered), meaning(&good), "{:?}", altered);
        }
    }

    /// One that is authentic, at every border of what it says.
    #[test]
    fn shared_access_signature_allows_what_it_says_and_no_more(
        (start, end) in (prop::option::of(-3..=3_i64), prop::option::of(-3..=3_i64)),
        letters in subsequence(vec!['r', 'a', 'c', 'w', 'd', 'l', 't'], 0..=7),
        protocol in select(vec!["", "https", "https,http", "http", "https,http,ftp"]),
        addresses in select(vec!["", "10.0.0.7", "10.0.0.5-10.0.0.7", "10.0.0.8", "10.0.0.8-10.0.0.9", "10.0.0.9-10.0.0.1", "x"]),
        (over_tls, of_account) in (any::<bool>(), any::<bool>()),
        (services, types) in (select(vec!["b", "bf", "f", ""]), select(vec!["o", "sco", "c", "s", ""])),
        (method, comp, one_of) in select(vec![
            ("GET", "", "r"), ("DELETE", "", "d"), ("PUT", "&comp=block&blockid=AAAA", "w"), ("PUT", "&comp=snapshot", "cw"), ("PUT", "", "wc"),
            ("PUT", "&comp=appendblock", "aw"), ("GET", "&comp=tags", "t"),
        ]),
    ) {
        let now: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        let at = |minutes: Option<i64>| minutes.map_or(String::new(), |n| (now + SignedDuration::from_mins(n)).to_string());
        let of: String = match of_account {
            true => format!("ss={services}&srt={types}"),
            false => "sr=c".to_owned(),
        };
        let letters: String = letters.into_iter().collect();
        let target = format!(
            "/con/b?sv=2026-10-06&{of}&sp={letters}&st={}&se={}&spr={protocol}&sip={addresses}&sig=x{comp}",
            at(start), at(end)
        );
        let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
        let origin = if over_tls { Origin::tls(peer) } else { Origin::plain(peer) };
        let head = Raw::new(method, &target, &[("x-ms-blob-type", "BlockBlob")]).head_from(origin).unwrap();
        let need = Call::of(&head).unwrap().need();
        let allowed = Sas::of(&head).unwrap().unwrap().allows(&need, now, None);
        let expected = start.is_none_or(|start| start <= 0)
            && end.is_some_and(|end| end > 0)
            && (matches!(protocol, "" | "https,http") || protocol == "https" && over_tls)
            && matches!(addresses, "" | "10.0.0.7" | "10.0.0.5-10.0.0.7")
            && (!of_account || services.contains('b') && types.contains('o'))
            && one_of.chars().any(|letter| letters.contains(letter));
        prop_assert_eq!(allowed.is_ok(), expected, "{} {:?}", target, allowed);
        // Who may only create may not take the place of what is there.
        let only_new = expected && method == "PUT" && comp.is_empty() && !letters.contains('w');
        prop_assert!(allowed.is_err() || allowed.unwrap() == only_new || comp == "&comp=snapshot");
    }
}

/// The controls: what may be altered on the way, and that all else may not.
#[test]
fn whatever_a_shared_access_signature_says_cannot_be_altered() {
    let of = |raw: &Raw| said(&raw.head()?);
    for good in corpus() {
        let signed = of(&good);
        assert_eq!(signed, expected(&good), "{good:?}");
        assert!(signed.is_some(), "{good:?}");
        for same in [
            Edit::SwapPairs(0, LAST),
            Edit::Method("DELETE"),
            Edit::AddHeader("x-ms-meta-a", "b"),
        ] {
            let altered = good.altered(std::slice::from_ref(&same));
            if altered.head().is_some_and(|head| Call::of(&head).is_ok()) {
                assert_eq!(of(&altered), signed, "{same:?}");
            }
        }
        for (at, pair) in good.query.iter().enumerate() {
            if pair.starts_with("sig=") || pair.starts_with("comp=") || pair.starts_with("restype=")
            {
                continue;
            }
            for edit in [
                Edit::Pair(at, Change::Put(LAST, "x")),
                Edit::Pair(at, Change::Put(LAST, "%2578")),
                Edit::Pair(at, Change::Drop(LAST)),
                Edit::DropPair(at),
                Edit::TwicePair(at),
            ] {
                let altered = good.altered(std::slice::from_ref(&edit));
                assert_ne!(of(&altered), signed, "{edit:?} {altered:?}");
            }
        }
    }
    let of_blob = &corpus()[0];
    for change in [
        Change::Put(LAST, "x"),
        Change::Case,
        Change::Drop(LAST),
        Change::Put(LAST, "%2525"),
    ] {
        assert_ne!(of(&of_blob.altered(&[Edit::Path(change)])), of(of_blob));
    }
}
