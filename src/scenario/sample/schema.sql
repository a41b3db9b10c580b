CREATE TABLE account (
  number    INTEGER PRIMARY KEY,
  name      TEXT NOT NULL,
  kind      TEXT NOT NULL CHECK (kind IN ('asset', 'liability', 'equity', 'revenue', 'expense'))
);
CREATE TABLE customer (
  id           INTEGER PRIMARY KEY,
  number       TEXT NOT NULL,
  name         TEXT NOT NULL,
  contact      TEXT NOT NULL,
  email        TEXT NOT NULL,
  address      TEXT NOT NULL,
  iban         TEXT NOT NULL,
  credit_limit INTEGER NOT NULL,  -- cents
  note         TEXT
);
CREATE TABLE vendor (
  id      INTEGER PRIMARY KEY,
  number  TEXT NOT NULL,
  name    TEXT NOT NULL,
  address TEXT NOT NULL,
  iban    TEXT NOT NULL,
  note    TEXT
);
CREATE TABLE employee (
  id          INTEGER PRIMARY KEY,
  name        TEXT NOT NULL,
  national_id TEXT NOT NULL,
  iban        TEXT NOT NULL,
  address     TEXT NOT NULL,
  hired       TEXT NOT NULL
);
CREATE TABLE payroll (
  id       INTEGER PRIMARY KEY,
  employee INTEGER NOT NULL REFERENCES employee,
  period   TEXT NOT NULL,
  gross    INTEGER NOT NULL,  -- cents
  tax      INTEGER NOT NULL,
  net      INTEGER NOT NULL,
  note     TEXT
);
CREATE TABLE voucher (
  id       INTEGER PRIMARY KEY,
  posted   TEXT NOT NULL,
  customer INTEGER REFERENCES customer,
  vendor   INTEGER REFERENCES vendor,
  text     TEXT NOT NULL
);
CREATE TABLE ledger_line (
  voucher INTEGER NOT NULL REFERENCES voucher,
  line    INTEGER NOT NULL,
  account INTEGER NOT NULL REFERENCES account,
  debit   INTEGER NOT NULL,  -- cents
  credit  INTEGER NOT NULL,
  text    TEXT NOT NULL,
  PRIMARY KEY (voucher, line)
) WITHOUT ROWID;
