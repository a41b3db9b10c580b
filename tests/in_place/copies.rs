//! Copies of a database that is half converted: what a thief takes, and what a restore makes of it.

use std::fs;
use std::path::Path;

use atrest::lab::steal;
use atrest::resource::ProtectedResource;
use atrest::resource::sql::{SqlDatabase, content_hash};
use atrest::sqlite::Conversion;
use atrest::world::{Name, ResourceAddress, Workspace};

use crate::states::begun;
use crate::work::{Work, address, twin};

const CONVERSIONS: [Conversion; 3] = [
    Conversion::Encryption,
    Conversion::KeyChange,
    Conversion::Decryption,
];

/// A database that was left in the middle of this, and the ending of the plain file beside it.
fn half(which: Conversion) -> (Work, Option<&'static str>) {
    let work = Work::new(which != Conversion::Encryption);
    begun(&work, |workspace, progress| {
        convert(&work, workspace, which, &address(), progress);
    });
    let beside = match which {
        Conversion::Encryption => Some("db.db.old"),
        Conversion::Decryption => Some("db.db.new"),
        _ => None,
    };
    assert_eq!(work.left_over(), Vec::from_iter(beside));
    (work, beside)
}

fn convert(
    work: &Work,
    workspace: &Workspace,
    which: Conversion,
    address: &ResourceAddress,
    progress: &mut dyn FnMut(u64, u64),
) {
    let done = match which {
        Conversion::Encryption => workspace.encrypt_in_place(address, &work.protection(), progress),
        Conversion::KeyChange => workspace.change_key_in_place(address, progress),
        _ => workspace.decrypt_in_place(address, progress),
    };
    done.unwrap();
}

fn copy(work: &Work, to: &Path) {
    let workspace = work.reopen();
    steal(
        workspace.dir(),
        &workspace.at_rest().unwrap(),
        to,
        &mut |_, _| (),
    )
    .unwrap();
}

fn recovery() -> Name {
    "recovery".parse().unwrap()
}

fn at(environment: &str) -> ResourceAddress {
    format!("{environment}/sql/db").parse().unwrap()
}

fn is_whole(database: &SqlDatabase) {
    let found = content_hash(&database.connect().unwrap()).unwrap();
    assert_eq!(found, content_hash(&twin()).unwrap());
    database.verify(&mut |_, _| ()).unwrap();
}

#[test]
fn the_files_of_a_half_converted_database_are_what_a_thief_takes() {
    for which in CONVERSIONS {
        let (work, beside) = half(which);
        let files = work.open().files().unwrap();
        let names = files.iter().map(|file| file.file_name().unwrap());
        assert_eq!(
            names.collect::<Vec<_>>(),
            Vec::from_iter(["db.db"].into_iter().chain(beside))
        );
        convert(&work, &work.reopen(), which, &address(), &mut |_, _| ());
        assert_eq!(work.open().files().unwrap(), [work.file()]);
    }
}

#[test]
fn a_copy_of_a_half_converted_database_is_restored_whole_and_goes_on() {
    for which in CONVERSIONS {
        let (work, _) = half(which);
        let loot = tempfile::tempdir().unwrap();
        copy(&work, loot.path());
        let workspace = work.reopen();
        workspace
            .restore(loot.path(), &recovery(), &mut |_, _| ())
            .unwrap();
        // Both go their own way.
        for environment in ["recovery", "production"] {
            let database = workspace.open_sql(&at(environment)).unwrap();
            assert_eq!(database.conversion(), Some(which), "{environment}");
            is_whole(&database);
            drop(database);
            convert(
                &work,
                &work.reopen(),
                which,
                &at(environment),
                &mut |_, _| (),
            );
            let workspace = work.reopen();
            let database = workspace.open_sql(&at(environment)).unwrap();
            let ended = (which != Conversion::Decryption).then_some(Conversion::None);
            assert_eq!(database.conversion(), ended);
            is_whole(&database);
            let files = fs::read_dir(database.path().parent().unwrap()).unwrap();
            let names = files.map(|file| file.unwrap().file_name());
            let left = names.filter(|name| name != "db.db" && name != "db.db-shm");
            assert_eq!(left.count(), 0, "{environment}");
        }
    }
}

#[test]
fn a_copy_that_lacks_the_plain_file_says_which_file_is_missing() {
    for which in [Conversion::Encryption, Conversion::Decryption] {
        let (work, beside) = half(which);
        let loot = tempfile::tempdir().unwrap();
        copy(&work, loot.path());
        let sql = loot.path().join("environments/production/sql");
        fs::remove_file(sql.join(beside.unwrap())).unwrap();
        let workspace = work.reopen();
        workspace
            .restore(loot.path(), &recovery(), &mut |_, _| ())
            .unwrap();
        let refused = workspace.open_sql(&at("recovery")).map(|_| ()).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("half converted"), "{said}");
        assert!(said.contains(beside.unwrap()), "{said}");
        // The state is told all the same.
        assert!(workspace.under_way(&at("recovery")).unwrap().is_some());
    }
}

/// The configuration is copied first.
#[test]
fn a_copy_whose_configuration_is_from_before_the_conversion_is_not_taken_for_something_else() {
    for which in CONVERSIONS {
        let before = Work::new(which != Conversion::Encryption);
        let config = fs::read(before.root().join("atrest.json")).unwrap();
        let work = before;
        begun(&work, |workspace, progress| {
            convert(&work, workspace, which, &address(), progress);
        });
        let loot = tempfile::tempdir().unwrap();
        copy(&work, loot.path());
        fs::write(loot.path().join("atrest.json"), config).unwrap();
        let workspace = work.reopen();
        let restored = workspace.restore(loot.path(), &recovery(), &mut |_, _| ());
        if which == Conversion::Encryption {
            let said = restored.unwrap_err().to_string();
            assert!(said.contains("make another one"), "{said}");
            let nothing = fs::read_dir(work.root().join("environments/recovery/sql"));
            assert!(nothing.is_ok_and(|mut files| files.next().is_none()));
            continue;
        }
        restored.unwrap();
        convert(
            &work,
            &work.reopen(),
            which,
            &at("recovery"),
            &mut |_, _| (),
        );
        is_whole(&work.reopen().open_sql(&at("recovery")).unwrap());
    }
}

#[test]
fn status_shows_what_is_under_way_and_how_far_it_is() {
    for which in CONVERSIONS {
        let (work, beside) = half(which);
        let (_, state) = which.state();
        let text = work.run(&["status"]);
        assert!(text.contains(&format!(", {state} ")), "{text}");
        let shown = |work: &Work| -> serde_json::Value {
            let status = work.run(&["status", "--json"]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            status["resources"][0]["conversion"].clone()
        };
        let conversion = shown(&work);
        assert_eq!(conversion["state"], state);
        let percent = conversion["percent_complete"].as_f64().unwrap();
        assert!(percent > 0.0 && percent < 100.0, "{percent}");
        // It needs no key, and no file but those of the database.
        fs::rename(
            work.root().join("customer/root.key"),
            work.root().join("gone"),
        )
        .unwrap();
        assert_eq!(shown(&work), conversion);
        if let Some(beside) = beside {
            let beside = work.file().with_file_name(beside);
            let hidden = work.file().with_file_name("hidden");
            fs::rename(&beside, &hidden).unwrap();
            assert_eq!(shown(&work)["state"], state);
            fs::rename(&hidden, &beside).unwrap();
        }
        fs::rename(
            work.root().join("gone"),
            work.root().join("customer/root.key"),
        )
        .unwrap();
        convert(&work, &work.reopen(), which, &address(), &mut |_, _| ());
        assert_eq!(shown(&work), serde_json::Value::Null);
    }
}
