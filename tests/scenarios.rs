//! The scenarios of docs/scenarios, each run whole and each turned upside down; what is wrong with a file, told
//! before anything is built; and what a run leaves behind.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use atrest::lab::{Claim, Outcome, Report, Verdict};
use atrest::scenario::file::{self, RunOptions, Scenario};
use atrest::scenario::{Audience, ScenarioError};
use serde_json::{Value, json};

struct Nobody;

impl Audience for Nobody {
    fn step(&mut self, _title: &str) {}
    fn fact(&mut self, _label: &str, _text: &str) {}
    fn claim(&mut self, _claim: &Claim) {}
    fn attack(&mut self, _outcomes: &[Outcome], _verdict: Verdict) {}
    fn progress(&mut self, _what: &'static str, _done: u64, _total: u64) {}
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scenarios")
}

/// Every scenario that is shipped.
fn shipped() -> Vec<PathBuf> {
    let files = fs::read_dir(docs()).unwrap().map(|f| f.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|f| f.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    files
}

fn options(dir: &Path, keep: bool) -> RunOptions {
    RunOptions {
        dir: dir.to_owned(),
        keep,
        command: "atrest run".to_owned(),
    }
}

fn run(scenario: &Scenario, dir: &Path) -> Report {
    scenario
        .run(&options(dir, false), &mut Nobody)
        .unwrap()
        .report
}

fn names(dir: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(dir).unwrap();
    names
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn bad(report: &Report) -> Vec<String> {
    let bad = report
        .claims()
        .iter()
        .filter(|c| !c.verdict.is_acceptable() || c.verdict == Verdict::NotTried);
    bad.map(|c| format!("{} {}: {} ({:?})", c.id, c.verdict, c.text, c.evidence))
        .collect()
}

#[test]
fn every_scenario_that_is_shipped_comes_out_as_it_says() {
    for file in shipped() {
        let dir = tempfile::tempdir().unwrap();
        let scenario = Scenario::read(&file, None).unwrap();
        let report = run(&scenario, dir.path());
        let bad = bad(&report);
        assert!(bad.is_empty(), "{}: {bad:#?}", file.display());
        assert_eq!(report.exit_code(), 0);
        let left = [
            "report.html",
            "report.json",
            "report.junit.xml",
            "report.jws",
        ];
        let left = left.map(str::to_owned);
        assert_eq!(
            names(dir.path()),
            BTreeSet::from(left),
            "{}",
            file.display()
        );
    }
}

/// The opposite of an expectation; `None` of what is done, and of what has none.
///
/// `untouched` is a resource of which no byte changes, where nothing has a twin.
fn opposite(word: &str, of: &Value, untouched: Option<&str>) -> Option<Value> {
    let what = |of: &Value| match of {
        Value::Object(full) => full["what"].clone(),
        short => short.clone(),
    };
    let with = |field: &str, value: Value| {
        let mut of = of.clone();
        of[field] = value;
        json!({ word: of })
    };
    Some(match word {
        "readable" => json!({ "unreadable": { "what": what(of) } }),
        "unreadable" => json!({ "readable": { "what": what(of) } }),
        "refused" => with("code", "Audit".into()),
        "query" => with("rows", json!([["sabotage"]])),
        "audited" => with("at-least", 1_000_000.into()),
        "attack" => with("verdict", "fails".into()),
        "not-protected" => json!({ "unreadable": { "what": of["readable"] } }),
        "recorded" => with("at-least", 1_000_000.into()),
        "warned" => with("code", "W_NO_NEW_PROJECTS".into()),
        "coverage" => with("verdict", "deleted".into()),
        "state" => with("is", "deleted".into()),
        "load" => with(
            "then",
            match of["then"].as_str() {
                Some("stopped") => "goes-on".into(),
                _ => "stopped".into(),
            },
        ),
        "only-keys-changed" if untouched.is_some() => with("what", untouched.into()),
        // The twins' bytes did not change at all.
        "only-keys-changed" => {
            let all = of["what"].as_array().unwrap().iter();
            let twins = all.map(|what| format!("{}-twin", what.as_str().unwrap()));
            with("what", twins.collect())
        }
        _ => return None,
    })
}

#[test]
fn no_expectation_of_a_shipped_scenario_would_be_met_by_its_opposite() {
    for file in shipped() {
        let text = fs::read_to_string(&file).unwrap();
        let mut script: Value = serde_saphyr::from_str(&text).unwrap();
        let mut altered = Vec::new();
        let tenants = script["landscape"]["tenants"].as_object();
        let tenant = tenants.and_then(|all| all.values().next());
        let project = tenant.and_then(|tenant| tenant["project"].as_str());
        let untouched = project.map(|project| format!("lcs-{project}/storage/assets"));
        for (number, step) in (1..).zip(script["steps"].as_array_mut().unwrap()) {
            for (at, act) in (1..).zip(step["do"].as_array_mut().unwrap()) {
                let (word, of) = act.as_object().unwrap().iter().next().unwrap();
                if let Some(opposite) = opposite(word, of, untouched.as_deref()) {
                    *act = opposite;
                    altered.push(format!("step-{number}.{at}/"));
                }
            }
        }
        assert!(altered.len() > 3, "{}", file.display());
        let dir = tempfile::tempdir().unwrap();
        let sabotaged = dir.path().join("sabotaged.yaml");
        fs::write(&sabotaged, script.to_string()).unwrap();
        let scenario = Scenario::read(&sabotaged, Some(&docs())).unwrap();
        let report = run(&scenario, &dir.path().join("run"));
        assert_eq!(report.exit_code(), 1, "{}", file.display());
        for id in altered {
            let claims = report.claims().iter().filter(|c| c.id.starts_with(&id));
            let verdicts: Vec<Verdict> = claims.map(|c| c.verdict).collect();
            assert_eq!(verdicts, [Verdict::Fails], "{} {id}", file.display());
        }
    }
}

const GOOD: &str = "\
scenario: A test
world:
  vault:
    keys: {customer-key: oct-256}
  environments:
    production:
      sql:
        finance: {twin: true, data: {sql: CREATE TABLE t (x); INSERT INTO t VALUES ('a long and varied text')}}
      storage:
        documents: {data: {blobs: {note.txt: a text of a few words}}}
strangers:
  rival: {}
steps:
  - step: Something happens
    do:
      - readable: sql/finance
      - steal: loot
      - disable: customer-key
      - unreadable: {what: [sql/finance], code: KeyDisabled}
";

fn written(dir: &Path, text: &str) -> PathBuf {
    let file = dir.join("test.yaml");
    fs::write(&file, text).unwrap();
    file
}

fn wrong(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), text);
    let before = names(dir.path());
    let told = Scenario::read(&file, None).unwrap_err();
    assert!(matches!(told, ScenarioError::File(_)), "{told}");
    assert_eq!(names(dir.path()), before, "something was built");
    let told = told.to_string();
    told.replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn a_wrong_file_is_told_where_it_is_wrong_and_what_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    Scenario::read(&written(dir.path(), GOOD), None).unwrap();
    let unknown = "- disable: customer-key";
    // What is replaced, by what, and what is told.
    let cases = [
        (
            unknown,
            "- disabel: customer-key",
            "test.yaml:18:9: no word \"disabel\" here; did you mean \"disable\"?",
        ),
        (
            unknown,
            "- disable: custmer-key",
            "test.yaml:18:18: no key \"custmer-key\" here; did you mean \"customer-key\"?",
        ),
        (
            unknown,
            "- disable: valt/key",
            "test.yaml:18:18: no vault \"valt\" here",
        ),
        (
            unknown,
            "- disable: {kee: customer-key}",
            "no field \"kee\" here; did you mean \"key\"?",
        ),
        (
            unknown,
            "- disable: {key: customer-key, version: 0}",
            "versions count from 1",
        ),
        (unknown, "- disable: ../key", "test.yaml:18:"),
        (
            unknown,
            "- readable: sql/finanse",
            "test.yaml:18:19: no resource \"sql/finanse\" here; did you mean \"sql/finance\"?",
        ),
        (unknown, "- readable: []", "an empty list"),
        (
            unknown,
            "- rekey: storage/documents",
            "storage/documents is no SQL database",
        ),
        (
            unknown,
            "- restore: {copy: lot, into: x}",
            "no copy \"lot\" here; did you mean \"loot\"?",
        ),
        (
            unknown,
            "- restore: {copy: loot, into: x, at: rivall}",
            "no stranger \"rivall\" here; did you mean \"rival\"?",
        ),
        (
            unknown,
            "- restore: {copy: loot, into: production}",
            "resources of these names already",
        ),
        (
            unknown,
            "- restore: {copy: loot, into: production, at: rival}",
            "another one's",
        ),
        (
            unknown,
            "- restore: {copy: loot, into: ../x}",
            "test.yaml:18:",
        ),
        (
            unknown,
            "- steal: loot",
            "a copy of this name is there already",
        ),
        (
            unknown,
            "- restore-key: drawer",
            "no backup of a key \"drawer\" here; there is none at this step",
        ),
        (
            unknown,
            "- refused: {act: {readable: sql/finance}, code: KeyDisabled}",
            "not an expectation",
        ),
        (
            unknown,
            "- refused: {act: {purge: customer-key}, code: Forbiden}",
            "did you mean Forbidden?",
        ),
        (unknown, "- advance: 40000 days", "a century"),
        (unknown, "- advance: yesterday", "no length of time"),
        (
            unknown,
            "- attack: {copy: loot, numbers: [99]}",
            "no attack 99 on a resource",
        ),
        (
            unknown,
            "- attack: {copy: loot, numbers: [1], on: storage/documents}",
            "has no twin",
        ),
        (
            unknown,
            "- write: {to: sql/finance, blobs: {a: b}}",
            "is written to with `sql`",
        ),
        (
            unknown,
            "- write: {to: storage/documents, blobs: {\"a\\nb\": c}}",
            "test.yaml:18:",
        ),
        (
            unknown,
            "- load: {on: sql/finance, readers: 200, during: [], then: stopped}",
            "201 threads; 32 are the most",
        ),
        (
            unknown,
            "- load: {on: sql/finance, during: [{steal: x}, {load: {on: sql/finance, during: [], then: stopped}}], then: stopped}",
            "while threads read and write",
        ),
        (
            unknown,
            "- create: {what: sql/finance, with: {}}",
            "is there already",
        ),
        (
            unknown,
            "- create: {what: nowhere/sql/x, with: {}}",
            "no environment \"nowhere\" here",
        ),
        (
            unknown,
            "- audited: {operation: KeyWrap, at-least: 0}",
            "at-least: 0 is met by an empty log: say 1 or more",
        ),
        (
            unknown,
            "- audited: {operation: KeyUnwarp}",
            "did you mean KeyUnwrap?",
        ),
        (
            unknown,
            "- disable: customer-key\n        enable: customer-key",
            "one word for each act",
        ),
        (
            "oct-256",
            "rsa-1024",
            "there is rsa-2048, rsa-3072, rsa-4096, oct-256",
        ),
        ("keys: {", "retention-days: 5\n    keys: {", "7 to 90 days"),
        (
            "keys: {",
            "keys: {other-key: oct-256, ",
            "has not exactly one",
        ),
        ("keys: {customer-key", "keys: {Customer Key", "test.yaml:4:"),
        (
            "finance: {twin",
            "finance-twin: {}\n        finance: {twin",
            "rename one",
        ),
        (
            "{sql: CREATE",
            "{sample: 99999999999, sql: CREATE",
            "rows of made-up data in all",
        ),
        (
            "{sql: CREATE",
            "{sample: 10, sql: CREATE",
            "200 rows at least",
        ),
        ("{sql: CREATE", "{sample: -1, sql: CREATE", "test.yaml:8:"),
        (
            "{sql: CREATE",
            "{blobs: {a: b}, sql: CREATE",
            "`blobs` is for a storage account",
        ),
        (
            "{sql: CREATE",
            "{database: ../../etc/passwd, sql: CREATE",
            "leads out of",
        ),
        (
            "{sql: CREATE",
            "{database: /etc/passwd, sql: CREATE",
            "leads out of",
        ),
        (
            "{sql: CREATE",
            "{database: missing.db, sql: CREATE",
            "no such file",
        ),
        (
            "scenario: A test",
            "scenario: A test\nscenario: Another",
            "there twice",
        ),
        ("scenario: A test\n", "", "\"scenario\" is missing"),
        ("scenario: A test", "scenario: &a [*a]", "test.yaml:1:"),
        (
            "scenario: A test",
            "scenario: A test\nextra: 1",
            "no field \"extra\" here",
        ),
        (
            "scenario: A test",
            "scenario: A test\nclock: noon",
            "test.yaml:2:8",
        ),
        (
            "  rival: {}",
            "  rival: {environments: {production: {}}}",
            "whosever it is",
        ),
        (
            "steps:\n",
            "steps: []\nmore:\n",
            "test.yaml:14:1: no field \"more\"",
        ),
    ];
    for (old, new, told) in cases {
        let text = GOOD.replacen(old, new, 1);
        assert_ne!(text, GOOD, "{new}");
        let wrong = wrong(&text);
        assert!(wrong.contains(told), "{new}:\n{wrong}");
        assert!(wrong.contains(" | "), "the line is not shown: {wrong}");
    }
    let both = GOOD.replace("- steal: loot", "- steel: loot");
    let both = wrong(&both.replace(unknown, "- disable: nokey"));
    assert!(both.contains("steel"), "{both}");
    let two = GOOD.replace("readable: sql/finance", "readable: sql/fin");
    let two = wrong(&two.replace(unknown, "- disable: customer-kex"));
    assert!(
        two.contains("sql/fin") && two.contains("customer-kex"),
        "every problem at once: {two}"
    );
}

const LANDSCAPE: &str = "\
scenario: A test
world:
  vault:
    purge-protection: true
    keys: {customer-key: rsa-2048}
  environments:
    production:
      sql:
        axdb: {protection: service, data: {sql: CREATE TABLE t (x); INSERT INTO t VALUES ('a text of a few words')}}
landscape:
  tenants:
    contoso:
      project: erp
      finance: {production: {offers: [finance]}}
      power: {org-production: {}}
  people: {eve: {tenant: contoso, duties: [power-admin, vault-admin]}}
  engineers: [sam, kim]
steps:
  - step: Something happens
    do:
      - readable: sql/axdb
      - link: {finance: production, power: org-production}
      - advance: 1 hour
      - create-policy: {policy: cmk, tenant: contoso, key: customer-key, by: eve}
      - grant: cmk
      - share-policy: {policy: cmk, with: eve}
      - warned: {act: {apply: {policy: cmk, to: org-production, by: eve}}, code: W_NO_SEPARATION}
      - coverage: {environment: production, verdict: partial, rows: {production/sql/axdb: covered}}
      - warned: {act: {disable: customer-key}, code: W_VERSION_IN_USE}
      - unreadable: {what: sql/axdb, code: E_LOCKED}
      - state: {environment: org-production, is: locked}
";

#[test]
fn a_wrong_landscape_is_told_where_it_is_wrong_and_what_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = Scenario::read(&written(dir.path(), LANDSCAPE), None).unwrap();
    let report = run(&scenario, &dir.path().join("run"));
    assert_eq!(report.exit_code(), 0, "{:?}", bad(&report));
    let line = "- grant: cmk\n";
    let cases = [
        (
            line,
            "- grant: cmkk\n",
            "test.yaml:25:16: no policy \"cmkk\" here; did you mean \"cmk\"?",
        ),
        (
            line,
            "- grant: {policy: cmk, permissions: [unwrap]}\n",
            "expected get, wrapKey or unwrapKey",
        ),
        (
            line,
            "- install: {environment: production, add-ins: [rcs]}\n",
            "rcs is the service Regulatory Configuration Service (RCS), and no add-in",
        ),
        (
            line,
            "- grant: {policy: cmk, by: evee}\n",
            "no person \"evee\" here; did you mean \"eve\"?",
        ),
        (
            line,
            "- apply: {policy: cmk, to: org-prod}\n",
            "no environment of the landscape \"org-prod\" here; did you mean",
        ),
        (
            line,
            "- link: {finance: org-production, power: org-production}\n",
            "no finance-and-operations environment",
        ),
        (
            line,
            "- state: {environment: org-production, is: open}\n",
            "no word \"open\" here",
        ),
        (
            line,
            "- coverage: {environment: production, verdict: coverd}\n",
            "did you mean \"covered\"?",
        ),
        (
            line,
            "- install: {environment: production, offers: [finanse]}\n",
            "no offer \"finanse\" here; did you mean \"finance\"?",
        ),
        (
            line,
            "- warned: {act: {grant: cmk}, code: E_LOCKED}\n",
            "E_LOCKED is no warning",
        ),
        (
            line,
            "- warned: {act: {readable: sql/axdb}, code: W_LICENCE}\n",
            "not an expectation",
        ),
        (
            line,
            "- create-policy: {policy: cmk, tenant: contoso, key: customer-key}\n",
            "a policy of this name is there already",
        ),
        (
            line,
            "- create-policy: {policy: x, tenant: fabrikam, key: customer-key}\n",
            "no tenant \"fabrikam\" here",
        ),
        (
            line,
            "- restore-environment: {backup: x, into: org-production}\n",
            "no backup of an environment \"x\" here; there is none",
        ),
        (line, "- approve: ticket\n", "no request \"ticket\" here"),
        (
            line,
            "- request-access: {as: x, engineer: sam, internal-approver: kim, environment: org-production, reason: y, hours: 9}\n",
            "access is for 1 to 8 hours",
        ),
        (
            line,
            "- read-as: {engineer: sam, what: sql/axdbb}\n",
            "did you mean \"sql/axdb\"?",
        ),
        (
            line,
            "- recorded: {operation: Lockbox, at-least: 0}\n",
            "at-least: 0 is met by no record",
        ),
        (
            line,
            "- delete-vault: custommer\n",
            "no vault \"custommer\" here",
        ),
        (
            line,
            "- refused: {act: {grant: cmk}, code: E_LOKED}\n",
            "did you mean E_LOCKED?",
        ),
        (
            "{protection: service, data",
            "{data",
            "everything begins under the provider's key",
        ),
        (
            "{protection: service, data",
            "{protection: service, twin: true, data",
            "nothing has a twin",
        ),
        (
            "offers: [finance]",
            "kind: hr-standalone, offers: [finance]",
            "leave `offers` out",
        ),
        ("offers: [finance]", "region: atlantis", "test.yaml:14:"),
        (
            "      power: {org-production: {}}\n",
            "      power: {org-production: {services: [flows]}}\n",
            "no service \"flows\" here",
        ),
        (
            "project: erp",
            "project: production-and-all-that-it-needs-to-run-a-company-well-for-years",
            "test.yaml:13:",
        ),
        (
            "duties: [power-admin,",
            "duties: [provider-engineer,",
            "say it in `engineers`",
        ),
        (
            "tenant: contoso, duties",
            "tenant: contosso, duties",
            "did you mean \"contoso\"?",
        ),
        (
            "      finance: {production",
            "      finance: {lcs-erp: {}, production",
            "the environment lcs-erp is there already",
        ),
    ];
    for (old, new, told) in cases {
        let text = LANDSCAPE.replacen(old, new, 1);
        assert_ne!(text, LANDSCAPE, "{new}");
        let wrong = wrong(&text);
        assert!(wrong.contains(told), "{new}:\n{wrong}");
        assert!(wrong.contains(" | "), "the line is not shown: {wrong}");
    }
    let none = GOOD.replace("- disable: customer-key", "- grant: cmk");
    assert!(wrong(&none).contains("`grant` is for a landscape"));
}

#[test]
fn a_file_that_means_to_exhaust_the_machine_is_refused() {
    let deep = format!("scenario: {}{}\n", "[".repeat(5000), "]".repeat(5000));
    wrong(&deep);
    let acts = "      - rotate: customer-key\n".repeat(3000);
    assert!(wrong(&format!("{GOOD}{acts}")).contains("more than 2000 acts"));
    let steps = "  - {step: x, do: []}\n".repeat(300);
    assert!(wrong(&format!("{GOOD}{steps}")).contains("more than 200 steps"));
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
    wrong(bomb);
    let dir = tempfile::tempdir().unwrap();
    let long = written(dir.path(), &format!("{GOOD}# {}", "x".repeat(2 << 20)));
    let told = Scenario::read(&long, None).unwrap_err().to_string();
    assert!(told.contains("longer than 1 MiB"), "{told}");
    fs::write(&long, [0xFF, 0xFE, 0]).unwrap();
    assert!(
        Scenario::read(&long, None)
            .unwrap_err()
            .to_string()
            .contains("UTF-8")
    );
    assert!(Scenario::read(&dir.path().join("none"), None).is_err());
    assert!(Scenario::read(dir.path(), None).is_err());
}

#[test]
fn a_link_out_of_the_data_directory_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("docs")).unwrap();
    let text = GOOD.replace(
        "{blobs: {note.txt: a text of a few words}}",
        "{folder: docs}",
    );
    let told = Scenario::read(&written(dir.path(), &text), None).unwrap_err();
    assert!(told.to_string().contains("leads out of"), "{told}");
    fs::create_dir(dir.path().join("inside")).unwrap();
    fs::write(dir.path().join("inside/note.txt"), "a note").unwrap();
    let text = text.replace("folder: docs", "folder: inside");
    let scenario = Scenario::read(&written(dir.path(), &text), None).unwrap();
    assert_eq!(run(&scenario, &dir.path().join("run")).exit_code(), 0);
    assert_eq!(
        fs::read_to_string(dir.path().join("inside/note.txt")).unwrap(),
        "a note"
    );
}

#[test]
fn the_world_stays_when_it_is_asked_for_and_the_report_always() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = Scenario::read(&written(dir.path(), GOOD), None).unwrap();
    let kept = dir.path().join("kept");
    scenario.run(&options(&kept, true), &mut Nobody).unwrap();
    for inside in [
        "world",
        "copies",
        "strangers",
        "report.json",
        "report.html",
        "report.junit.xml",
    ] {
        assert!(kept.join(inside).exists(), "{inside}");
    }
    // Its place is taken now, and what lies there is left alone.
    let before = names(&kept);
    let told = scenario
        .run(&options(&kept, false), &mut Nobody)
        .unwrap_err();
    assert!(told.to_string().contains("not empty"), "{told}");
    assert_eq!(names(&kept), before);
}

#[test]
fn an_act_that_is_refused_ends_the_story_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let text = GOOD.replace("- disable: customer-key", "- purge: customer-key");
    let file = written(dir.path(), &text);
    let report = run(
        &Scenario::read(&file, None).unwrap(),
        &dir.path().join("run"),
    );
    assert_eq!(report.exit_code(), 1);
    let verdicts: Vec<Verdict> = report.claims().iter().map(|c| c.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Holds, Verdict::Fails, Verdict::NotTried]
    );
    let failed = &report.claims()[1];
    assert!(
        failed.text.contains("purge customer-key"),
        "{}",
        failed.text
    );
    assert!(
        failed.evidence.summary.contains("test.yaml:18: "),
        "{}",
        failed.evidence.summary
    );
    assert_eq!(
        names(dir.path()),
        ["run", "test.yaml"].map(str::to_owned).into()
    );
    assert!(!dir.path().join("run/world").exists());
}

#[test]
fn statements_that_cannot_be_executed_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim.db");
    let attach = format!("ATTACH '{}' AS v; CREATE TABLE v.t (x)", victim.display());
    let text = GOOD.replace("CREATE TABLE t (x)", &attach);
    let scenario = Scenario::read(&written(dir.path(), &text), None).unwrap();
    let told = scenario.run(&options(&dir.path().join("run"), true), &mut Nobody);
    assert!(told.unwrap_err().to_string().contains("not authorized"));
    assert!(!victim.exists() && !dir.path().join("run").exists());
}

#[test]
fn what_was_never_readable_proves_nothing_by_being_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let text = GOOD
        .replace("twin: true, ", "")
        .replace(
            "- disable: customer-key\n",
            "- restore: {copy: loot, into: lair, at: rival}\n",
        )
        .replace("[sql/finance], code: KeyDisabled", "[lair/sql/finance]");
    let report = run(
        &Scenario::read(&written(dir.path(), &text), None).unwrap(),
        &dir.path().join("run"),
    );
    let last = report.claims().last().unwrap();
    assert_eq!(last.verdict, Verdict::Inconclusive, "{last:?}");
    assert_eq!(report.exit_code(), 1);
    // With a twin, which is readable there, it does.
    let text = text.replace("finance: {", "finance: {twin: true, ");
    let report = run(
        &Scenario::read(&written(dir.path(), &text), None).unwrap(),
        &dir.path().join("again"),
    );
    assert_eq!(report.exit_code(), 0, "{:?}", bad(&report));
}

/// A landscape whose environment is stolen, and attacked after the key was revoked.
const ATTACKED: &str = "\
scenario: A stolen copy of an environment
world:
  vault: {purge-protection: true, keys: {customer-key: rsa-2048}}
  environments:
    production:
      sql:
        ledger: {protection: service, data: {sample: 300}}
      storage:
        papers: {protection: service, data: {sample: 300}}
landscape:
  tenants:
    contoso:
      project: erp
      finance: {production: {}}
      power: {org-production: {}}
steps:
  - step: Under a policy, stolen, and pulled
    do:
      - link: {finance: production, power: org-production}
      - advance: 1 hour
      - create-policy: {policy: cmk, tenant: contoso, key: customer-key}
      - grant: cmk
      - share-policy: {policy: cmk, with: contoso-admin}
      - apply: {policy: cmk, to: org-production}
      - readable: [sql/ledger, storage/papers]
      - steal: loot
      - revoke: cmk
      - unreadable: {what: [sql/ledger, storage/papers], code: E_LOCKED}
      - attack: {copy: loot, on: [sql/ledger, storage/papers], numbers: [1, 2, 3], verdict: holds}
      - noise: {what: [sql/ledger, storage/papers], copy: loot}
";

#[test]
fn a_stolen_environment_of_a_landscape_is_attacked_beside_a_twin_of_its_own_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), ATTACKED);
    let scenario = Scenario::read(&file, None).unwrap();
    let kept = dir.path().join("run");
    let ran = scenario.run(&options(&kept, true), &mut Nobody).unwrap();
    assert!(bad(&ran.report).is_empty(), "{:#?}", bad(&ran.report));
    assert!(kept.join("twins/loot").is_dir());
    // What the thief has is not where the plain twin is.
    assert!(!kept.join("copies/loot/twins").exists());
}

#[test]
fn attacks_without_a_control_are_not_told_as_failed() {
    let dir = tempfile::tempdir().unwrap();
    // Copied after the key is gone: no control can be made any more.
    let text = ATTACKED.replace("      - steal: loot\n", "").replace(
        "      - attack:",
        "      - disable: customer-key\n      - steal: loot\n      - attack:",
    );
    let report = run(
        &Scenario::read(&written(dir.path(), &text), None).unwrap(),
        &dir.path().join("run"),
    );
    assert_eq!(report.exit_code(), 1);
    let failed: Vec<_> = report
        .claims()
        .iter()
        .filter(|claim| claim.verdict == Verdict::Fails)
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    let summary = &failed[0].evidence.summary;
    assert!(
        summary.contains("copy it before its key is pulled"),
        "{summary}"
    );
    let untried = report
        .claims()
        .iter()
        .filter(|c| c.verdict == Verdict::NotTried);
    assert!(untried.count() >= 1);
    assert!(!dir.path().join("run/twins").exists());
    // What could say `twin: true` must.
    let other = GOOD.replace("twin: true, ", "").replace(
        "- disable: customer-key\n",
        "- attack: {copy: loot, numbers: [1]}\n",
    );
    assert!(wrong(&other).contains("twin: true"), "{}", wrong(&other));
}

#[test]
fn the_published_schema_and_the_table_of_words_are_those_of_the_program() {
    let published = fs::read_to_string(docs().join("schema.json")).unwrap();
    assert_eq!(
        published,
        file::schema(),
        "atrest run --schema > docs/scenarios/schema.json"
    );
    let readme = fs::read_to_string(docs().join("README.md")).unwrap();
    let words = file::words();
    assert!(words.len() > 25, "{words:?}");
    for (word, about) in words {
        let row = format!("| `{word}` | {about} |");
        assert!(
            readme.contains(&row),
            "docs/scenarios/README.md lacks:\n{row}"
        );
    }
    for file in shipped() {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(
            readme.contains(&format!("({name})")),
            "docs/scenarios/README.md lacks {name}"
        );
    }
}

/// What the command line makes of it.
#[test]
fn the_exit_code_says_whose_fault_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let atrest = |args: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("atrest").unwrap();
        command.env_remove("ATREST_DIR").current_dir(dir.path());
        command.args(args).assert()
    };
    written(dir.path(), GOOD);
    atrest(&["run", "test.yaml", "--check"])
        .code(0)
        .stdout("A test: 1 steps, 2 expectations; nothing is wrong\n");
    assert_eq!(names(dir.path()), ["test.yaml".to_owned()].into());
    let ran = atrest(&["--dir", "good", "run", "test.yaml"]).code(0);
    let told = String::from_utf8_lossy(&ran.get_output().stdout).into_owned();
    assert!(
        told.contains("2 hold, 0 fail") && told.contains("good/report.junit.xml"),
        "{told}"
    );
    let junit = fs::read_to_string(dir.path().join("good/report.junit.xml")).unwrap();
    assert!(
        junit.contains("tests=\"2\"") && junit.contains("failures=\"0\""),
        "{junit}"
    );

    written(
        dir.path(),
        &GOOD.replace("code: KeyDisabled", "code: KeyNotFound"),
    );
    let ran = atrest(&["--dir", "bad", "run", "test.yaml"]).code(1);
    let told = String::from_utf8_lossy(&ran.get_output().stdout).into_owned();
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("refused with KeyDisabled instead of KeyNotFound"),
        "{told}"
    );
    let junit = fs::read_to_string(dir.path().join("bad/report.junit.xml")).unwrap();
    assert!(junit.contains("failures=\"1\""), "{junit}");

    written(dir.path(), &GOOD.replace("- steal: loot", "- steel: loot"));
    for check in [&["run", "test.yaml"][..], &["run", "test.yaml", "--check"]] {
        let ran = atrest(check).code(2);
        let told = String::from_utf8_lossy(&ran.get_output().stderr).into_owned();
        let expected = "atrest: test.yaml:17:9: no word \"steel\" here; did you mean \"steal\"?\n  17 |       - steel: loot\n     |         ^\n";
        assert_eq!(told, expected);
    }
    atrest(&["run"]).code(2);
    atrest(&["run", "--schema"]).code(0).stdout(file::schema());
}
