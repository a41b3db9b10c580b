//! The landscape's file (docs/format.md, "Landscape"): what a reader rejects.

use atrest::world::WorldError;
use atrest::world::landscape::{LANDSCAPE, Landscape, Policy, PowerEnvironment, Profile, Tenant};
use rusqlite::Connection;

use crate::stage::*;

/// Changes the file with `sql`, and says whether all of it is still read.
fn after(sql: &str) -> Result<(), WorldError> {
    let stage = Stage::with(Profile::Seed2022);
    let conn = Connection::open(stage.path().join(LANDSCAPE)).unwrap();
    assert!(sql.is_empty() || conn.execute_batch(sql).is_ok(), "{sql}");
    drop(conn);
    read_all(stage.path())
}

fn read_all(dir: &std::path::Path) -> Result<(), WorldError> {
    let workspace = {
        let ask: atrest::world::AskPassphrase = std::sync::Arc::new(|_| Err("nobody".into()));
        let clock = std::sync::Arc::new(atrest::base::SystemClock);
        atrest::world::Workspace::open(dir, ask, clock)?
    };
    let landscape = Landscape::open(&workspace)?;
    landscape.profile()?;
    landscape.now()?;
    landscape.all::<Tenant>()?;
    landscape.all::<Policy>()?;
    landscape.all::<PowerEnvironment>()?;
    landscape.catch_up()?;
    landscape.events(&Default::default()).map(drop)
}

#[test]
fn a_landscape_that_this_program_did_not_write_is_refused() {
    after("").unwrap();
    after("UPDATE setting SET value = '9000-01-01T00:00:00Z' WHERE name = 'clock'").unwrap();
    after("INSERT INTO setting VALUES ('sql-pick-up-minutes', '9223372036854775807')").unwrap();
    let newer = after("PRAGMA user_version = 2").unwrap_err();
    assert!(
        matches!(newer, WorldError::Newer { version: 2, .. }),
        "{newer}"
    );
    let body = |kind: &str, from: &str, to: &str| {
        format!("UPDATE entity SET body = replace(body, '{from}', '{to}') WHERE kind = '{kind}'")
    };
    for sql in [
        "PRAGMA application_id = 1".to_owned(),
        "PRAGMA user_version = 0".to_owned(),
        "UPDATE setting SET value = 'docs-2031-01' WHERE name = 'profile'".to_owned(),
        "DELETE FROM setting WHERE name = 'profile'".to_owned(),
        "UPDATE setting SET value = 'soon' WHERE name = 'clock'".to_owned(),
        "DELETE FROM setting WHERE name = 'clock'".to_owned(),
        "UPDATE setting SET value = '9000-01-01T00:00:01Z' WHERE name = 'clock'".to_owned(),
        body("tenant", "{", "{\"more\":1,"),
        body("tenant", "\"rcs\":false,", ""),
        body("power", "\"state\":\"mmk\"", "\"state\":\"none\""),
        body("power", "westeurope", "atlantis"),
        body("power", "org-prod", "../org-prod"),
        body("policy", "\"unwrapKey\"", "\"unwrap\""),
        body(
            "policy",
            "\"vault\":\"customer\"",
            "\"vault\":\"../customer\"",
        ),
        body("policy", "{", ""),
        "UPDATE event SET body = '{}'".to_owned(),
    ] {
        let refused = after(&sql).unwrap_err();
        assert!(
            matches!(refused, WorldError::Malformed { .. }),
            "{sql}: {refused}"
        );
    }
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let stage = Stage::bare(atrest::crypto::KeyKind::Oct256, true);
    std::fs::write(stage.path().join(LANDSCAPE), vec![7; 8192]).unwrap();
    assert!(read_all(stage.path()).is_err());
}
