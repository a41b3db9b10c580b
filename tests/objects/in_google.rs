//! Accounts whose bytes are in Google Cloud Storage, as the stand-in has it.

use std::fs;

use crate::google::Google;
use crate::served::{Work, holds};

fn over(google: &Google, work: &mut Work) {
    work.environment = [
        ("GOOGLE_BASE_URL", google.url.as_str()),
        ("GOOGLE_BEARER_TOKEN", google.token),
        ("GOOGLE_ALLOW_HTTP", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
}

#[test]
fn blobs_are_kept_in_google_sealed_and_only_there() {
    let temp = tempfile::tempdir().unwrap();
    let google = Google::start();
    let mut work = Work::new(&temp, "work");
    over(&google, &mut work);
    let place = format!("gs://{}/some/place", Google::BUCKET);
    let made = work.ok(&["blob", "create", "letters", "--bytes", &place]);
    assert!(
        made.contains(&format!("its bytes are at {place}")),
        "{made}"
    );

    let long = work.keeps_a_long_blob(temp.path());
    // Three parts of 8 MiB; none of them stays behind.
    assert_eq!(
        (google.answered("POST begin"), google.answered("PUT part")),
        (1, 3)
    );
    assert_eq!(google.unfinished(), 0);
    let short = temp.path().join("short");
    for n in 0..9 {
        fs::write(&short, [n; 100]).unwrap();
        let file = short.to_str().unwrap();
        work.ok(&["blob", "put", "letters", file, &format!("short{n}")]);
    }
    work.ok(&["blob", "verify", "letters"]);
    assert!(google.answered("GET list") > 3, "lists have pages");
    for needle in [&long[..64], &[5; 64]] {
        assert!(!google.holds(needle) && !holds(&work.dir, needle));
    }
    // The control: what was searched for is found where it is.
    assert!(holds(temp.path(), &long[..64]));
    assert!(
        google
            .names()
            .iter()
            .all(|name| name.starts_with("some/place/"))
    );

    // The key matters as everywhere.
    work.ok(&["key", "disable", "customer-key"]);
    let refused = work.fails(&["blob", "get", "letters", "long"]);
    assert!(refused.contains("KeyDisabled"), "{refused}");
    work.ok(&["key", "enable", "customer-key"]);

    // Who moves it takes its objects over; the one that was left may not write them any more.
    work.ok(&["blob", "claim", "letters"]);
    for name in (0..9).map(|n| format!("short{n}")).chain(["long".into()]) {
        work.ok(&["blob", "delete", "letters", &name]);
    }
    work.ok(&["blob", "verify", "letters"]);
    assert_eq!(google.names().len(), 1, "who writes: {:?}", google.names());
}

#[test]
fn what_google_refuses_or_alters_is_an_error_and_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let google = Google::start();
    let mut work = Work::new(&temp, "work");
    over(&google, &mut work);
    let place = format!("gs://{}", Google::BUCKET);
    work.ok(&["blob", "create", "letters", "--bytes", &place]);
    let file = temp.path().join("file");
    fs::write(&file, [7; 100_000]).unwrap();
    let file = file.to_str().unwrap();
    // What is refused for the moment is asked again.
    google.be_busy(2);
    work.ok(&["blob", "put", "letters", file, "a"]);
    assert_eq!(
        work.run(&["blob", "get", "letters", "a"]).stdout,
        [7; 100_000]
    );
    // A token that is none.
    let good = work.environment.clone();
    work.environment[1].1 = "other".to_owned();
    let refused = work.fails(&["blob", "get", "letters", "a"]);
    assert!(refused.contains(&place), "{refused}");
    assert!(!refused.contains("other"), "{refused}");
    work.fails(&["blob", "put", "letters", file, "b"]);
    work.environment = good;
    assert_eq!(
        work.run(&["blob", "get", "letters", "a"]).stdout,
        [7; 100_000]
    );
    work.fails(&["blob", "get", "letters", "b"]);
    assert!(
        !holds(&work.dir, google.token.as_bytes()),
        "no credential is kept"
    );
    // An object that was altered is no data.
    google.alter();
    let altered = work.run(&["blob", "get", "letters", "a"]);
    assert!(!altered.status.success());
    assert!(altered.stdout.len() < 100_000);
    work.fails(&["blob", "verify", "letters"]);
    google.alter();
    work.ok(&["blob", "verify", "letters"]);
}
