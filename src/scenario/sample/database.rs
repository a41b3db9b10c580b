//! The database: chart of accounts, customers, vendors, employees, payroll, and a double-entry
//! ledger.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rusqlite::{Connection, Transaction, params};

use super::people::{address, company, email, iban, national_id, person, pick, put};
use super::{Sample, Stream, marker_at};

/// Markers in the database: as many in each of customers, vendors, payroll and ledger.
pub(super) const MARKERS: usize = 4 * PER_TABLE;
const PER_TABLE: usize = 4;

const SCHEMA: &str = include_str!("schema.sql");
/// Made last: a filled table is indexed faster than an indexed one is filled.
const INDEXES: &str = "
    CREATE INDEX customer_by_name ON customer (name);
    CREATE INDEX payroll_by_employee ON payroll (employee, period);
    CREATE INDEX voucher_by_day ON voucher (posted);
    CREATE INDEX ledger_by_account ON ledger_line (account);";

const ACCOUNTS: [(u32, &str, &str); 12] = [
    (1000, "Cash", "asset"),
    (1010, "Fjord Bank, current", "asset"),
    (1200, "Receivables", "asset"),
    (1400, "Stock", "asset"),
    (2000, "Payables", "liability"),
    (2100, "Wages payable", "liability"),
    (2200, "Value-added tax", "liability"),
    (3000, "Share capital", "equity"),
    (4000, "Sales", "revenue"),
    (5000, "Cost of goods", "expense"),
    (6000, "Salaries", "expense"),
    (6200, "Freight", "expense"),
];
const SALE: [u32; 4] = [1200, 4000, 2200, 6200];
const PURCHASE: [u32; 4] = [5000, 2000, 2200, 1010];
const SUBJECTS: [&str; 10] = [
    "Spare parts",
    "Maintenance contract",
    "Quarterly delivery",
    "Rush order",
    "Consulting",
    "Calibration",
    "Return shipment",
    "Annual licence",
    "Pallet freight",
    "Tooling",
];

/// How many rows each table gets.
struct Plan {
    customers: u64,
    vendors: u64,
    employees: u64,
    /// Of vouchers and their lines together.
    ledger: u64,
}

const MONTHS: u64 = 12;

impl Plan {
    fn new(rows: u64) -> Self {
        let (customers, vendors, employees) = (rows / 25, rows / 50, rows / 100);
        let others = ACCOUNTS.len() as u64 + customers + vendors + employees * (1 + MONTHS);
        Self {
            customers,
            vendors,
            employees,
            ledger: rows - others,
        }
    }
}

impl Sample {
    /// Fills an empty database, in one transaction, with exactly [`Sample::rows`] rows. `progress`
    /// is told rows done and in all.
    pub fn fill_database(
        &self,
        conn: &mut Connection,
        progress: &mut dyn FnMut(u64, u64),
    ) -> rusqlite::Result<()> {
        let plan = Plan::new(self.rows);
        let tx = conn.transaction()?;
        tx.execute_batch(SCHEMA)?;
        for account in ACCOUNTS {
            tx.execute("INSERT INTO account VALUES (?1, ?2, ?3)", account)?;
        }
        self.customers(&tx, &plan)?;
        self.vendors(&tx, &plan)?;
        self.employees(&tx, &plan)?;
        self.payroll(&tx, &plan)?;
        let before = self.rows - plan.ledger;
        self.ledger(&tx, &plan, &mut |done| progress(before + done, self.rows))?;
        tx.execute_batch(INDEXES)?;
        tx.commit()
    }

    fn note(&self, at: u64, of: u64, table: usize) -> Option<String> {
        let first = table * PER_TABLE;
        let marker = marker_at(at, of, first..first + PER_TABLE)?;
        Some(format!("See {}", self.marker(marker)))
    }

    fn customers(&self, tx: &Transaction<'_>, plan: &Plan) -> rusqlite::Result<()> {
        let mut rng = self.rng(Stream::Customer);
        let mut insert =
            tx.prepare("INSERT INTO customer VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
        let [mut name, mut contact, mut mail, mut place, mut bank] = [const { String::new() }; 5];
        for at in 0..plan.customers {
            company(&mut rng, &mut name);
            person(&mut rng, &mut contact);
            email(&mut rng, &contact, &mut mail);
            address(&mut rng, &mut place);
            iban(&mut rng, &mut bank);
            let (limit, note) = (
                rng.random_range(10..5000) * 100_000,
                self.note(at, plan.customers, 0),
            );
            let number = format!("C-{:06}", at + 1);
            insert.execute(params![
                id(at),
                number,
                name,
                contact,
                mail,
                place,
                bank,
                limit,
                note
            ])?;
        }
        Ok(())
    }

    fn vendors(&self, tx: &Transaction<'_>, plan: &Plan) -> rusqlite::Result<()> {
        let mut rng = self.rng(Stream::Vendor);
        let mut insert = tx.prepare("INSERT INTO vendor VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let [mut name, mut place, mut bank] = [const { String::new() }; 3];
        for at in 0..plan.vendors {
            company(&mut rng, &mut name);
            address(&mut rng, &mut place);
            iban(&mut rng, &mut bank);
            let number = format!("V-{:06}", at + 1);
            let note = self.note(at, plan.vendors, 1);
            insert.execute(params![id(at), number, name, place, bank, note])?;
        }
        Ok(())
    }

    fn employees(&self, tx: &Transaction<'_>, plan: &Plan) -> rusqlite::Result<()> {
        let mut rng = self.rng(Stream::Employee);
        let mut insert = tx.prepare("INSERT INTO employee VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let [mut name, mut national, mut bank, mut place, mut hired] = [const { String::new() }; 5];
        for at in 0..plan.employees {
            person(&mut rng, &mut name);
            national_id(&mut rng, &mut national);
            iban(&mut rng, &mut bank);
            address(&mut rng, &mut place);
            day(&mut rng, 2005..2025, &mut hired);
            insert.execute(params![id(at), name, national, bank, place, hired])?;
        }
        Ok(())
    }

    fn payroll(&self, tx: &Transaction<'_>, plan: &Plan) -> rusqlite::Result<()> {
        let mut rng = self.rng(Stream::Payroll);
        let mut insert = tx.prepare("INSERT INTO payroll VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        let of = plan.employees * MONTHS;
        let mut period = String::new();
        for at in 0..of {
            let gross: i64 = rng.random_range(2_400..14_000) * 100;
            let tax = gross * rng.random_range(18..42) / 100;
            period.clear();
            put(&mut period, format_args!("2025-{:02}", at % MONTHS + 1));
            let note = self.note(at, of, 2);
            insert.execute(params![
                id(at),
                id(at / MONTHS),
                period,
                gross,
                tax,
                gross - tax,
                note
            ])?;
        }
        Ok(())
    }

    fn ledger(
        &self,
        tx: &Transaction<'_>,
        plan: &Plan,
        progress: &mut dyn FnMut(u64),
    ) -> rusqlite::Result<()> {
        let mut rng = self.rng(Stream::Ledger);
        let mut voucher = tx.prepare("INSERT INTO voucher VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let mut line = tx.prepare("INSERT INTO ledger_line VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let [mut posted, mut text] = [const { String::new() }; 2];
        let (mut left, mut number) = (plan.ledger, 0);
        // About as many vouchers as there will be, for the markers' places.
        let about = plan.ledger / 5;
        while left > 0 {
            let lines = lines_of_next(&mut rng, left);
            left -= 1 + lines;
            day(&mut rng, 2025..2026, &mut posted);
            text.clear();
            put(
                &mut text,
                format_args!("{} {number:07}", pick(&mut rng, &SUBJECTS)),
            );
            if let Some(note) = self.note(number, about, 3) {
                put(&mut text, format_args!(". {note}"));
            }
            let sale = rng.random();
            let customer = id(rng.random_range(0..plan.customers));
            let vendor = id(rng.random_range(0..plan.vendors));
            let (customer, vendor) = match sale {
                true => (Some(customer), None),
                false => (None, Some(vendor)),
            };
            voucher.execute(params![id(number), posted, customer, vendor, text])?;
            let total: i64 = rng.random_range(1_000..5_000_000);
            let accounts = if sale { SALE } else { PURCHASE };
            let mut open = total;
            for at in 0..lines {
                // The first line is the debit; the others split it, the last takes the rest.
                let (debit, credit) = match at {
                    0 => (total, 0),
                    _ if at + 1 == lines => (0, open),
                    _ => (0, rng.random_range(1..=open / 2)),
                };
                open -= credit;
                let account = accounts[usize::try_from(at).expect("at most 4 lines")];
                line.execute(params![id(number), id(at), account, debit, credit, text])?;
            }
            number += 1;
            if number % 4096 == 0 {
                progress(plan.ledger - left);
            }
        }
        progress(plan.ledger);
        Ok(())
    }
}

/// Two to four lines, so that vouchers and lines together come out at exactly `left` rows.
fn lines_of_next(rng: &mut ChaCha8Rng, left: u64) -> u64 {
    const SMALLEST: u64 = 3;
    let lines = rng.random_range(2..=4);
    let fits = |lines: &u64| {
        let rest = left.checked_sub(1 + lines);
        rest.is_some_and(|rest| rest == 0 || rest >= SMALLEST)
    };
    let mut choices = [lines, 2, 3, 4].into_iter();
    choices.find(fits).unwrap_or(left - 1)
}

/// Row ids begin with 1.
fn id(at: u64) -> i64 {
    i64::try_from(at + 1).expect("fewer rows than 2^63")
}

fn day(rng: &mut ChaCha8Rng, years: std::ops::Range<u32>, out: &mut String) {
    let (year, month, day) = (
        rng.random_range(years),
        rng.random_range(1..=12),
        rng.random_range(1..=28),
    );
    out.clear();
    put(out, format_args!("{year}-{month:02}-{day:02}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::sql::content_hash;

    fn filled(seed: u64, rows: u64) -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.pragma_update(None, "foreign_keys", true).unwrap();
        let sample = Sample::new(seed, rows);
        sample.fill_database(&mut conn, &mut |_, _| ()).unwrap();
        conn
    }

    #[test]
    fn the_books_balance_and_have_exactly_the_rows_asked_for() {
        for rows in [200, 201, 202, 203, 5000] {
            let conn = filled(9, rows);
            let content = content_hash(&conn).unwrap();
            assert_eq!(content.rows(), rows);
            let unbalanced: i64 = conn
                .query_row(
                    "SELECT count(*) FROM (SELECT 1 FROM ledger_line GROUP BY voucher \
                     HAVING sum(debit) <> sum(credit) OR min(debit + credit) <= 0)",
                    (),
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!(unbalanced, 0);
            let orphans = conn
                .prepare("PRAGMA foreign_key_check")
                .unwrap()
                .exists(())
                .unwrap();
            assert!(!orphans);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_database_and_every_marker_is_in_it() {
        let conn = filled(4, 1500);
        let hash = |conn: &Connection| content_hash(conn).unwrap().sha256();
        assert_eq!(hash(&conn), hash(&filled(4, 1500)));
        assert_ne!(hash(&conn), hash(&filled(5, 1500)));
        let sql = "SELECT count(*) FROM (SELECT note FROM customer UNION ALL SELECT note FROM vendor \
                   UNION ALL SELECT note FROM payroll UNION ALL SELECT text FROM voucher) \
                   WHERE instr(note, ?1)";
        for marker in &Sample::new(4, 1500).canaries()[..MARKERS] {
            let found: i64 = conn.query_row(sql, [marker], |row| row.get(0)).unwrap();
            assert_eq!(found, 1, "{marker}");
        }
    }
}
