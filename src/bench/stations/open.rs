use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rusqlite::Connection;

use crate::bench::load::Served;
use crate::bench::session::{About, Session, each, timed};
use crate::bench::{BenchError, files, places};
use crate::crypto::KeyKind;
use crate::resource::Protection;
use crate::sqlite::PageSize;
use crate::world::{ResourceAddress, Workspace};

const COUNT: &str = "SELECT count(*) FROM sqlite_schema";

pub(super) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    session.note(
        "open: until the first row is read; from the key in the vault, through an unwrap with a synced audit record and a comparison \
         with the newest state, to the page. start: a process that does one thing, from its start to its end.",
    );
    for kind in [KeyKind::Oct256, KeyKind::Rsa3072] {
        one(session, kind)?;
    }
    Ok(())
}

fn one(session: &mut Session<'_>, kind: KeyKind) -> Result<(), BenchError> {
    let (cold, program) = (session.plan.cold, &session.plan.program);
    let dir = files::scratch(&session.plan.dir)?;
    let work = dir.path().join("work");
    let here = places::make(&work, kind)?;
    let address: ResourceAddress = "sql/ledger".parse().expect("a valid address");
    let twin: ResourceAddress = "sql/twin".parse().expect("a valid address");
    for (address, protection) in [
        (&address, here.default_protection()),
        (&twin, Protection::Plain),
    ] {
        let made = here.create_sql(address, protection, PageSize::DEFAULT)?;
        made.connect()?
            .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")?;
    }
    let plain = here.path(&twin)?;
    let served = Served::start(program, &work)?;
    let away = places::open(&work)?.through(served.remote()?);
    let cool = || if cold { files::cool(&work) } else { Ok(()) };
    let opening = |workspace: &Workspace| -> Result<std::time::Duration, BenchError> {
        cool()?;
        let begun = Instant::now();
        let connection = workspace.open_sql(&address)?.connect()?;
        count(&connection)?;
        Ok(begun.elapsed())
    };
    let name = format!("open, {kind}");
    session.measure(vec![
        About::new(&name, "plain SQLite").by(timed(|| {
            cool()?;
            let begun = Instant::now();
            count(&Connection::open(&plain)?)?;
            Ok(begun.elapsed())
        })),
        About::new(&name, "vault here")
            .against(0)
            .by(timed(|| opening(&here))),
        About::new(&name, "through a server")
            .against(0)
            .by(timed(|| opening(&away))),
    ])?;
    drop(served);
    let name = format!("start, {kind}");
    session.measure(vec![
        About::new(&name, "--version")
            .by(each(|| start(program, &work, &["--version"])))
            .once(),
        About::new(&name, "query a plain database")
            .against(0)
            .by(each(|| {
                start(program, &work, &["sql", "query", "twin", COUNT])
            }))
            .once(),
        About::new(&name, "query a sealed one")
            .against(0)
            .against(1)
            .by(each(|| {
                start(program, &work, &["sql", "query", "ledger", COUNT])
            }))
            .once(),
    ])
}

fn count(connection: &Connection) -> Result<(), BenchError> {
    match connection.query_row(COUNT, (), |row| row.get::<_, i64>(0))? {
        1 => Ok(()),
        _ => Err(BenchError::Wrong("reading a database's schema")),
    }
}

fn start(program: &Path, dir: &Path, arguments: &[&str]) -> Result<(), BenchError> {
    let mut command = Command::new(program);
    command
        .arg("--vault-url=")
        .arg("--dir")
        .arg(dir)
        .args(arguments);
    let ended = command.stdout(Stdio::null()).status();
    match ended.map_err(|e| BenchError::io(program, e))?.success() {
        true => Ok(()),
        false => Err(BenchError::Wrong("starting the program")),
    }
}
