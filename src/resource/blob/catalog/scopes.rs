//! Encryption scopes, and which of them containers begin with. A scope is never removed: blobs are under it.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, ToSql};

use crate::base::ResourceId;
use crate::envelope::Envelope;
use crate::resource::ResourceError;
use crate::resource::blob::{ContainerName, ContainerScope, ScopeName};

use super::{BAD_ROW, Catalog, Refused, get};

// docs/format.md, "Catalog".
pub(super) const SCHEMA: &str = "
    CREATE TABLE scopes (
        id         BLOB    NOT NULL PRIMARY KEY,
        name       TEXT    NOT NULL UNIQUE,
        enabled    INTEGER NOT NULL CHECK (enabled IN (0, 1)),
        customers  INTEGER NOT NULL CHECK (customers IN (0, 1)),
        created    INTEGER NOT NULL,
        modified   INTEGER NOT NULL,
        commitment BLOB    NOT NULL CHECK (length(commitment) = 32),
        envelope   BLOB    NOT NULL,
        infrastructure INTEGER NOT NULL CHECK (infrastructure IN (0, 1))
    ) STRICT;
    CREATE TABLE container_scopes (
        container  TEXT    NOT NULL PRIMARY KEY REFERENCES containers ON DELETE CASCADE,
        scope      BLOB    NOT NULL REFERENCES scopes,
        only       INTEGER NOT NULL CHECK (only IN (0, 1))
    ) STRICT;
";

/// A scope as the catalog has it.
#[derive(Clone)]
pub(in crate::resource::blob) struct ScopeRow {
    pub id: ResourceId,
    pub name: ScopeName,
    pub enabled: bool,
    /// Whether its key is one of the customer's.
    pub customers: bool,
    pub created: Timestamp,
    pub modified: Timestamp,
    pub commitment: [u8; 32],
    pub envelope: Envelope,
    /// Whether extents under it are sealed twice.
    pub infrastructure: bool,
}

const COLUMNS: &str = "id, name, enabled, customers, created, modified, commitment, envelope, \
                       infrastructure";

impl Catalog {
    pub(in crate::resource::blob) fn add_scope(
        &self,
        scope: &ScopeRow,
    ) -> Result<(), ResourceError> {
        let added = self.write(|c| {
            Ok(c.execute(
                "INSERT INTO scopes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
                (
                    scope.id.as_bytes(),
                    scope.name.as_str(),
                    scope.enabled,
                    scope.customers,
                    scope.created.as_microsecond(),
                    scope.modified.as_microsecond(),
                    scope.commitment,
                    scope.envelope.to_bytes(),
                    scope.infrastructure,
                ),
            )?)
        })?;
        match added {
            0 => Err(ResourceError::Exists(format!(
                "encryption scope {}",
                scope.name
            ))),
            _ => Ok(()),
        }
    }

    /// Enables or disables a scope.
    pub(in crate::resource::blob) fn enable_scope(
        &self,
        name: &ScopeName,
        enabled: bool,
    ) -> Result<ScopeRow, ResourceError> {
        let now = self.now().as_microsecond();
        self.write(|c| {
            Ok(c.execute(
                "UPDATE scopes SET enabled = ?2, modified = ?3 WHERE name = ?1 AND enabled <> ?2",
                (name.as_str(), enabled, now),
            )?)
        })?;
        self.scope(name)
    }

    /// Keeps another envelope of the key of a scope, if it still has the one that `found` has; whether it had.
    pub(in crate::resource::blob) fn rewrap_scope(
        &self,
        found: &ScopeRow,
        envelope: &Envelope,
        customers: bool,
    ) -> Result<bool, ResourceError> {
        let now = self.now().as_microsecond();
        let changed = self.write(|c| {
            Ok(c.execute(
                "UPDATE scopes SET envelope = ?3, customers = ?4, modified = ?5
                 WHERE id = ?1 AND envelope = ?2",
                (
                    found.id.as_bytes(),
                    found.envelope.to_bytes(),
                    envelope.to_bytes(),
                    customers,
                    now,
                ),
            )?)
        })?;
        Ok(changed == 1)
    }

    /// Every scope, by name.
    pub(in crate::resource::blob) fn scopes(&self) -> Result<Vec<ScopeRow>, ResourceError> {
        self.read(|c| {
            let sql = format!("SELECT {COLUMNS} FROM scopes ORDER BY name");
            let mut query = c.prepare_cached(&sql)?;
            let rows = query.query_map((), |row| Ok(scope(row)))?;
            rows.map(|row| row?.ok_or(Refused::Malformed)).collect()
        })
    }

    /// The scope of this name.
    ///
    /// # Errors
    /// [`ResourceError::NoScope`]
    pub(in crate::resource::blob) fn scope(
        &self,
        name: &ScopeName,
    ) -> Result<ScopeRow, ResourceError> {
        let found = self.scope_where("name = ?1", name.as_str())?;
        found.ok_or_else(|| ResourceError::NoScope(name.to_string()))
    }

    /// The scope with this identifier, which something is under.
    pub(in crate::resource::blob) fn scope_of(
        &self,
        id: ResourceId,
    ) -> Result<ScopeRow, ResourceError> {
        let found = self.scope_where("id = ?1", id.as_bytes())?;
        found.ok_or_else(|| self.malformed("a blob is under a scope that is not there"))
    }

    fn scope_where(
        &self,
        condition: &str,
        is: impl ToSql,
    ) -> Result<Option<ScopeRow>, ResourceError> {
        let sql = format!("SELECT {COLUMNS} FROM scopes WHERE {condition}");
        let found = self.run(|c| {
            c.prepare_cached(&sql)?
                .query_row([is], |row| Ok(scope(row)))
                .optional()
        })?;
        match found {
            Some(row) => row.map(Some).ok_or_else(|| self.malformed(BAD_ROW)),
            None => Ok(None),
        }
    }

    /// What a container begins with.
    pub(in crate::resource::blob) fn container_scope(
        &self,
        container: &ContainerName,
    ) -> Result<Option<ContainerScope>, ResourceError> {
        let found = self.run(|c| {
            c.prepare_cached(
                "SELECT name, only FROM container_scopes JOIN scopes ON scope = id WHERE container = ?1",
            )?
            .query_row([container.as_str()], |row| Ok(container_scope(row, 0)))
            .optional()
        })?;
        match found {
            None => Ok(None),
            Some(scope) => scope.map(Some).ok_or_else(|| self.malformed(BAD_ROW)),
        }
    }
}

/// Keeps what a container that was just made begins with.
pub(super) fn begin_with(
    c: &Connection,
    container: &ContainerName,
    scope: &ContainerScope,
) -> Result<(), Refused> {
    let made = c
        .prepare_cached(
            "INSERT INTO container_scopes SELECT ?1, id, ?3 FROM scopes WHERE name = ?2",
        )?
        .execute((container.as_str(), scope.name.as_str(), scope.only))?;
    match made {
        1 => Ok(()),
        _ => Err(ResourceError::NoScope(scope.name.to_string()).into()),
    }
}

/// Name and rule, in two columns from `at` on.
pub(super) fn container_scope(row: &Row<'_>, at: usize) -> Option<ContainerScope> {
    Some(ContainerScope {
        name: get::<String>(row, at)?.parse().ok()?,
        only: get(row, at + 1)?,
    })
}

fn scope(row: &Row<'_>) -> Option<ScopeRow> {
    let time = |at: usize| Timestamp::from_microsecond(get(row, at)?).ok();
    let envelope: [u8; Envelope::LEN] = get::<Vec<u8>>(row, 7)?.try_into().ok()?;
    Some(ScopeRow {
        id: ResourceId::from_bytes(get(row, 0)?),
        name: get::<String>(row, 1)?.parse().ok()?,
        enabled: get(row, 2)?,
        customers: get(row, 3)?,
        created: time(4)?,
        modified: time(5)?,
        commitment: get(row, 6)?,
        envelope: Envelope::parse(&envelope).ok()?,
        infrastructure: get(row, 8)?,
    })
}
