//! SQL databases: real SQLite files, plain or sealed.
