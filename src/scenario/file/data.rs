//! Puts data into resources: made up, the user's own, or as the file says.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::resource::Protection;
use crate::resource::blob::{BlobName, BlobPath, StorageAccount};
use crate::resource::sql::SqlDatabase;
use crate::scenario::ScenarioError;
use crate::scenario::blobs::{BlobSource, folder};
use crate::scenario::sample::Sample;
use crate::sqlite::PageSize;
use crate::world::{Kind, ResourceAddress, Workspace};

use super::at::At;
use super::format::Data;

/// Makes a resource and puts its data into it.
pub(super) fn make(
    workspace: &Workspace,
    address: &ResourceAddress,
    protection: Protection,
    data: &Data,
    base: &Path,
    seed: u64,
) -> Result<(), ScenarioError> {
    match address.kind {
        Kind::Sql => {
            let database = match &data.database {
                Some(file) => {
                    let file = base.join(&file.value);
                    workspace.import_sql(address, protection, &file, &mut |_, _| ())?
                }
                None => workspace.create_sql(address, protection, PageSize::DEFAULT)?,
            };
            if let Some(rows) = &data.sample {
                let mut conn = database.connect()?;
                Sample::new(seed, rows.value)
                    .fill_database(&mut conn, &mut |_, _| ())
                    .map_err(|e| database.explain(e))?;
            }
            match &data.sql {
                Some(statements) => execute(&database, statements),
                None => Ok(()),
            }
        }
        Kind::Storage => {
            let account = workspace.create_storage(address, protection)?;
            if let Some(rows) = &data.sample {
                for document in Sample::new(seed, rows.value).documents() {
                    BlobSource::Sample(document).put(&account)?;
                }
            }
            if let Some(dir) = &data.folder {
                for file in folder(&base.join(&dir.value))?.0 {
                    file.put(&account)?;
                }
            }
            data.blobs
                .iter()
                .try_for_each(|(name, text)| put(&account, name, text))
        }
    }
}

/// Puts a blob with a text.
pub(super) fn put(account: &StorageAccount, name: &str, text: &str) -> Result<(), ScenarioError> {
    let name = BlobName::parse(name).expect("checked before the story began");
    let path = BlobPath::in_default(name);
    account.put(&path, &mut text.as_bytes(), &mut |_| ())?;
    Ok(())
}

/// Executes a file's statements.
pub(super) fn execute(
    database: &SqlDatabase,
    statements: &At<String>,
) -> Result<(), ScenarioError> {
    let conn = confined(database.connect()?).map_err(|e| database.explain(e))?;
    conn.execute_batch(statements)
        .map_err(|e| database.explain(e))?;
    Ok(())
}

/// A connection on which no statement reaches another file or goes on for ever: a scenario file may be anybody's.
pub(super) fn confined(mut conn: Connection) -> rusqlite::Result<Connection> {
    /// Of 4 KiB each: 4 GiB.
    const MAX_PAGES: u32 = 1 << 20;
    /// Steps of SQLite's virtual machine between two looks, and looks until a statement is ended.
    const STEPS: i32 = 100_000;
    const LOOKS: u32 = 20_000;
    conn.pragma_update(None, "max_page_count", MAX_PAGES)?;
    let mut looks = 0;
    conn.progress_handler(
        STEPS,
        Some(move || {
            looks += 1;
            looks > LOOKS
        }),
    )?;
    conn.authorizer(Some(|context: AuthContext<'_>| match context.action {
        // What VACUUM attaches has no name.
        AuthAction::Attach { filename: "" } => Authorization::Allow,
        AuthAction::Attach { .. } | AuthAction::Unknown { .. } => Authorization::Deny,
        AuthAction::Pragma { pragma_name, .. } => {
            let name = pragma_name.to_ascii_lowercase();
            match PRAGMAS.contains(&name.as_str()) {
                true => Authorization::Allow,
                false => Authorization::Deny,
            }
        }
        AuthAction::Function { function_name }
            if function_name.eq_ignore_ascii_case("load_extension") =>
        {
            Authorization::Deny
        }
        _ => Authorization::Allow,
    }))?;
    Ok(conn)
}

/// The pragmas that a file may use: none names a file.
const PRAGMAS: &[&str] = &[
    "application_id",
    "foreign_key_check",
    "foreign_keys",
    "index_list",
    "integrity_check",
    "journal_mode",
    "page_count",
    "page_size",
    "quick_check",
    "synchronous",
    "table_info",
    "table_list",
    "user_version",
    "wal_checkpoint",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_a_hostile_file_reach_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim.db");
        let victim = victim.display();
        let open = || confined(Connection::open(dir.path().join("own.db")).unwrap()).unwrap();
        let good = [
            "CREATE TABLE t (x); INSERT INTO t VALUES (1)",
            "VACUUM",
            "PRAGMA user_version = 3",
            "CREATE TEMP TABLE u AS SELECT * FROM t",
        ];
        for statement in good {
            open().execute_batch(statement).unwrap();
        }
        let bad = [
            format!("ATTACH '{victim}' AS v; CREATE TABLE v.t (x)"),
            format!("ATTACH 'file:{victim}?mode=rwc' AS v"),
            format!("VACUUM INTO '{victim}'"),
            format!("PRAGMA temp_store_directory = '{}'", dir.path().display()),
            format!("SELECT load_extension('{victim}')"),
            "PRAGMA writable_schema = 1".to_owned(),
        ];
        for statement in bad {
            assert!(open().execute_batch(&statement).is_err(), "{statement}");
        }
        assert!(!dir.path().join("victim.db").exists());
    }
}
