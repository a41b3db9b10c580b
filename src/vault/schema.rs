//! The vault's tables.

/// `PRAGMA user_version`: the schema's version.
pub(super) const SCHEMA_VERSION: u32 = 4;

/// Times are microseconds since 1970 (UTC); identifiers are 16 bytes.
pub(super) const SCHEMA: &str = "
    CREATE TABLE vault (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        id BLOB NOT NULL CHECK (length(id) = 16),
        created INTEGER NOT NULL,
        retention_days INTEGER NOT NULL CHECK (retention_days BETWEEN 7 AND 90),
        purge_protection INTEGER NOT NULL CHECK (purge_protection IN (0, 1))
    ) STRICT;
    CREATE TABLE keys (
        key INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE COLLATE NOCASE,
        deleted INTEGER,
        scheduled_purge INTEGER,
        rotation TEXT,
        rotation_due INTEGER,
        CHECK ((deleted IS NULL) = (scheduled_purge IS NULL))
    ) STRICT;
    CREATE INDEX keys_by_rotation ON keys (rotation_due) WHERE rotation_due IS NOT NULL;
    CREATE INDEX keys_by_purge ON keys (scheduled_purge) WHERE scheduled_purge IS NOT NULL;
    CREATE TABLE versions (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        key INTEGER NOT NULL REFERENCES keys ON DELETE CASCADE,
        version BLOB NOT NULL UNIQUE CHECK (length(version) = 16),
        kind TEXT NOT NULL,
        hsm INTEGER NOT NULL CHECK (hsm IN (0, 1)),
        exportable INTEGER NOT NULL CHECK (exportable IN (0, 1)),
        operations INTEGER NOT NULL CHECK (operations BETWEEN 1 AND 255),
        enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
        not_before INTEGER,
        expires INTEGER,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        tags TEXT NOT NULL,
        thumbprint BLOB NOT NULL CHECK (length(thumbprint) = 32),
        public_key BLOB,
        material BLOB NOT NULL CHECK (length(material) > 28)
    ) STRICT;
    CREATE INDEX versions_by_key ON versions (key, place);
    CREATE TABLE secrets (
        secret INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE COLLATE NOCASE,
        deleted INTEGER,
        scheduled_purge INTEGER,
        CHECK ((deleted IS NULL) = (scheduled_purge IS NULL))
    ) STRICT;
    CREATE INDEX secrets_by_purge ON secrets (scheduled_purge) WHERE scheduled_purge IS NOT NULL;
    CREATE TABLE secret_versions (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        secret INTEGER NOT NULL REFERENCES secrets ON DELETE CASCADE,
        version BLOB NOT NULL UNIQUE CHECK (length(version) = 16),
        enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
        not_before INTEGER,
        expires INTEGER,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        content_type TEXT,
        tags TEXT NOT NULL,
        value BLOB NOT NULL CHECK (length(value) BETWEEN 28 AND 25628)
    ) STRICT;
    CREATE INDEX secret_versions_by_secret ON secret_versions (secret, place);
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        operation_name TEXT NOT NULL,
        operation_version TEXT NOT NULL,
        kid TEXT CHECK (kid <> ''),
        algorithm TEXT NOT NULL,
        result_type TEXT NOT NULL,
        result_signature TEXT NOT NULL,
        result_description TEXT NOT NULL,
        duration INTEGER NOT NULL CHECK (duration >= 0),
        identity TEXT NOT NULL,
        object_id TEXT NOT NULL,
        client_id TEXT NOT NULL,
        caller_ip_address TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        client_info TEXT NOT NULL,
        request_uri TEXT NOT NULL,
        http_status INTEGER CHECK (http_status BETWEEN 100 AND 599),
        mac BLOB NOT NULL CHECK (length(mac) = 32)
    ) STRICT;
    CREATE TABLE epochs (
        id BLOB PRIMARY KEY CHECK (length(id) = 16),
        freshness TEXT NOT NULL,
        position BLOB CHECK (length(position) = 80)
    ) STRICT, WITHOUT ROWID;
";
