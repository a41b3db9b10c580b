//! What `atrest coverage` says, and that it is so.

use std::collections::BTreeMap;

use atrest::world::landscape::{
    Coverage, CoverageRow, CoveredBy, FinanceKind, KeyState, NewFinance, ProductKind, Profile,
    Proof, Support, Tried, Verdict,
};

use crate::stage::*;

fn rows(coverage: &Coverage) -> BTreeMap<String, CoverageRow> {
    let rows = coverage.rows.iter().cloned();
    rows.map(|row| (row.subject.clone(), row)).collect()
}

fn install(stage: &Stage, offers: &[&str], add_ins: &[&str]) {
    for offer in offers {
        stage
            .landscape()
            .install_offer(&finance("prod"), &offer.parse().unwrap())
            .unwrap();
    }
    for add_in in add_ins {
        stage
            .landscape()
            .install_add_in(&finance("prod"), &add_in.parse().unwrap())
            .unwrap();
    }
}

#[test]
fn a_supported_offer_without_integration_is_not_called_covered() {
    let stage = Stage::with(Profile::Seed2022);
    install(
        &stage,
        &["supply-chain", "human-resources", "finance"],
        &["inventory-visibility"],
    );
    let offers = [
        "Dynamics 365 Supply Chain Management",
        "Dynamics 365 Human Resources (finance and operations environment)",
        "Dynamics 365 Finance",
        "inventory-visibility",
    ];
    let look = || stage.landscape().coverage("prod").unwrap();
    let all = |coverage: &Coverage, verdict, reason: &str| {
        let rows = rows(coverage);
        for subject in offers
            .iter()
            .chain(&["prod/sql/axdb", "prod/storage/documents"])
        {
            let row = &rows[*subject];
            assert_eq!((row.verdict, row.reason), (verdict, reason), "{subject}");
        }
    };
    let before = look();
    all(&before, Verdict::NotCovered, "NOT_INTEGRATED");
    assert_eq!(before.verdict, Verdict::NotCovered);
    stage.link("prod", "org-prod").unwrap();
    stage.hours(1);
    all(&look(), Verdict::NotCovered, "NO_POLICY");
    stage.apply("cmk", &["org-prod"]).unwrap();
    let applied = look();
    all(&applied, Verdict::Covered, "CUSTOMER_KEY");
    assert_eq!(applied.verdict, Verdict::Partial, "LCS is beside it");
    assert!(
        matches!(&rows(&applied)["prod/sql/axdb"].protected, CoveredBy::Customer { key } if key.contains(KEY))
    );
    stage.set_enabled(None, false);
    all(&look(), Verdict::Locked, "LOCKED");
    stage.set_enabled(None, true);
    stage
        .landscape()
        .enable(&power("org-prod"), &admin())
        .unwrap();
    stage
        .landscape()
        .remove(&power("org-prod"), &admin(), &quiet)
        .unwrap();
    all(&look(), Verdict::NotCovered, "NO_POLICY");
}

#[test]
fn what_uses_rcs_or_lies_in_lcs_is_never_called_covered() {
    let stage = Stage::protected();
    install(
        &stage,
        &["finance", "supply-chain"],
        &["tax-calculation", "electronic-invoicing"],
    );
    let found = stage.landscape().coverage("prod").unwrap();
    let rows = rows(&found);
    for subject in [
        "Tax Calculation",
        "Electronic Invoicing",
        "Regulatory Configuration Service (RCS)",
    ] {
        let row = &rows[subject];
        assert_eq!(
            (row.verdict, &row.protected),
            (Verdict::NotCovered, &CoveredBy::Microsoft),
            "{subject}"
        );
        assert_eq!(row.promise, Some("support is planned for late 2023"));
        assert!(row.promise_is_stale, "{subject}: late 2023 has passed");
    }
    let finance = &rows["Dynamics 365 Finance"];
    assert_eq!((finance.verdict, finance.reason), (Verdict::Partial, "RCS"));
    assert_eq!(
        rows["Dynamics 365 Supply Chain Management"].verdict,
        Verdict::Covered
    );
    let lcs = &rows["Lifecycle Services (LCS)"];
    assert_eq!(
        (lcs.verdict, lcs.reason, lcs.promised_by),
        (Verdict::NotCovered, "LCS_NEVER", None)
    );
    assert!(!lcs.promise_is_stale, "nothing was promised for a date");
    assert_eq!(found.verdict, Verdict::Partial);
    assert!(
        found
            .rows
            .iter()
            .all(|row| !row.source.is_empty() && row.as_of == "2022-12")
    );
}

#[test]
fn what_rcs_keeps_is_not_called_locked_with_the_environment() {
    let stage = Stage::protected();
    install(&stage, &["finance", "supply-chain"], &["tax-calculation"]);
    stage.set_enabled(None, false);
    let rows = rows(&stage.landscape().coverage("prod").unwrap());
    let finance = &rows["Dynamics 365 Finance"];
    assert_eq!(
        (finance.verdict, finance.reason, &finance.protected),
        (Verdict::Partial, "LOCKED", &CoveredBy::Both)
    );
    assert_eq!(rows["Tax Calculation"].verdict, Verdict::NotCovered);
    assert_eq!(
        rows["Dynamics 365 Supply Chain Management"].verdict,
        Verdict::Locked,
        "what is covered whole is locked whole"
    );
}

#[test]
fn human_resources_standalone_is_outside_until_it_is_migrated() {
    let stage = Stage::protected();
    let mut new = NewFinance::usual(
        finance("hr"),
        "erp".parse().unwrap(),
        "westeurope".parse().unwrap(),
    );
    new.kind = FinanceKind::HrStandalone;
    stage.landscape().create_finance(&[new], &quiet).unwrap();
    let address = "hr/sql/axdb".parse().unwrap();
    stage.fill(&address);
    stage.power("org-hr", |_| ());
    assert!(
        stage
            .link("hr", "org-hr")
            .unwrap_err()
            .to_string()
            .contains("E_LINK_VALIDATION")
    );
    assert!(
        stage
            .apply("cmk", &["hr"])
            .unwrap_err()
            .to_string()
            .contains("migrate")
    );
    let look = || stage.landscape().coverage("hr").unwrap();
    let row = rows(&look())["Human Resources Standalone"].clone();
    assert_eq!(
        (row.verdict, row.reason),
        (Verdict::NotCovered, "MIGRATE_FIRST")
    );
    // The customer's key is pulled: it stays readable, which is what the row says.
    stage.set_enabled(None, false);
    assert_eq!(stage.read(&address).unwrap(), MARKER);
    assert!(!stage.reads("prod/sql/axdb"));
    stage.set_enabled(None, true);
    // Migrated and integrated, a policy reaches it.
    stage.landscape().migrate(&finance("hr")).unwrap();
    stage.link("hr", "org-hr").unwrap();
    stage.hours(1);
    stage.apply("cmk", &["org-hr"]).unwrap();
    let migrated = rows(&look());
    assert!(!migrated.contains_key("Human Resources Standalone"));
    assert_eq!(
        migrated["Dynamics 365 Human Resources (finance and operations environment)"].verdict,
        Verdict::Covered
    );
    assert_eq!(stage.read(&address).unwrap(), MARKER);
    stage.set_enabled(None, false);
    assert!(stage.read(&address).is_err());
}

#[test]
fn the_later_profile_has_its_exceptions_and_flows_leave_a_warning() {
    let stage = Stage::with(Profile::Docs2026);
    stage.power("org-flows", |new| {
        let services = ["flows", "connections", "maker-content", "solution-checker"];
        new.services = services.map(|s| s.parse().unwrap()).into();
    });
    stage.link("prod", "org-flows").unwrap();
    stage.hours(1);
    install(
        &stage,
        &["commerce", "demand-planning"],
        &["tax-calculation"],
    );
    stage.apply("cmk", &["org-flows"]).unwrap();
    assert!(matches!(stage.state("org-flows"), KeyState::Warning { .. }));
    let found = stage.landscape().coverage("org-flows").unwrap();
    let rows = rows(&found);
    for subject in ["Dynamics 365 Commerce", "Demand planning"] {
        assert_eq!(rows[subject].verdict, Verdict::Partial, "{subject}");
    }
    for subject in [
        "Power Automate flows",
        "Connections of Power Apps and Power Automate",
        "Maker content",
        "Solution checker",
    ] {
        let row = &rows[subject];
        assert_eq!(
            (row.verdict, row.reason),
            (Verdict::NotCovered, "EXCEPTION"),
            "{subject}"
        );
    }
    assert!(
        rows["Regulatory Configuration Service (RCS)"]
            .why
            .contains("retired")
    );
    assert!(rows["Tax Calculation"].promise_is_stale);
    assert!(found.rows.iter().all(|row| row.as_of == "2026-03"));
    // It stays a warning after a lock.
    stage.set_enabled(None, false);
    stage.set_enabled(None, true);
    stage
        .landscape()
        .enable(&power("org-flows"), &admin())
        .unwrap();
    assert!(matches!(stage.state("org-flows"), KeyState::Warning { .. }));
    // The earlier profile knows none of them.
    let seed = Stage::with(Profile::Seed2022);
    assert!(
        seed.landscape()
            .install_offer(&finance("prod"), &"commerce".parse().unwrap())
            .is_err()
    );
}

/// The tables of both profiles, row by row: a change of one is a change of what is claimed.
#[test]
fn no_statement_of_the_documentation_is_missing_or_softened() {
    use ProductKind::{AddIn, Offer, Service};
    use Support::{Excluded, MigrateFirst, Never, NotSupported, Partial, Supported, UsesRcs};
    let seed: &[(&str, ProductKind, Support, Option<&str>)] = &[
        ("supply-chain", Offer, Supported, None),
        ("human-resources", Offer, Supported, None),
        ("finance", Offer, Supported, None),
        ("human-resources-standalone", Offer, MigrateFirst, None),
        (
            "tax-calculation",
            AddIn,
            UsesRcs,
            Some("2024-01-01T00:00:00Z"),
        ),
        (
            "electronic-invoicing",
            AddIn,
            UsesRcs,
            Some("2024-01-01T00:00:00Z"),
        ),
        ("rcs", Service, NotSupported, Some("2024-01-01T00:00:00Z")),
        ("lcs", Service, Never, None),
        ("cloud-hosted", Service, Excluded, None),
    ];
    let later: &[(&str, ProductKind, Support, Option<&str>)] = &[
        ("commerce", Offer, Partial, None),
        ("demand-planning", Offer, Partial, None),
        ("flows", Service, NotSupported, None),
        ("connections", Service, NotSupported, None),
        ("maker-content", Service, NotSupported, None),
        ("solution-checker", Service, NotSupported, None),
    ];
    for (profile, expected) in [
        (Profile::Seed2022, seed.to_vec()),
        (Profile::Docs2026, [seed, later].concat()),
    ] {
        assert_eq!(profile.products().len(), expected.len());
        for (id, kind, support, by) in expected {
            let product = profile.product(id).unwrap();
            assert_eq!((product.kind, product.support), (kind, support), "{id}");
            assert_eq!(product.promise.and_then(|promise| promise.by), by, "{id}");
            assert!(!product.why.is_empty() && !product.source.title.is_empty());
        }
    }
    let promise = Profile::Seed2022.product("rcs").unwrap().promise.unwrap();
    assert!(!promise.is_stale("2023-12-31T23:59:59Z".parse().unwrap()));
    assert!(promise.is_stale("2024-01-01T00:00:00Z".parse().unwrap()));
}

#[test]
fn the_report_of_all_environments_has_each_once() {
    let stage = Stage::protected();
    stage.finance("alone", "westeurope".parse().unwrap());
    stage.power("org-alone", |_| ());
    let all = stage.landscape().coverage_of_all().unwrap();
    let names: Vec<_> = all
        .iter()
        .map(|coverage| coverage.environment.as_str())
        .collect();
    assert_eq!(names, ["alone", "prod", "org-alone"]);
    assert_eq!(
        stage.landscape().coverage("org-prod").unwrap().rows,
        all[1].rows
    );
    assert!(stage.landscape().coverage("nowhere").is_err());
}

#[test]
fn what_is_not_covered_opens_with_the_key_pulled_and_what_is_covered_does_not() {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    landscape.use_rcs(&"contoso".parse().unwrap()).unwrap();
    for address in ["lcs-erp/storage/assets", "rcs-contoso/sql/configurations"] {
        stage.fill(&address.parse().unwrap());
    }
    let prove = || {
        let mut coverage = landscape.coverage("prod").unwrap();
        landscape.prove(&mut coverage).unwrap();
        coverage.pulled.unwrap()
    };
    let tried = prove();
    let services =
        |one: &&Tried| one.subject.starts_with("lcs-") || one.subject.starts_with("rcs-");
    assert_eq!(tried.len(), 7, "{tried:?}");
    assert_eq!(tried.iter().filter(services).count(), 3);
    for one in &tried {
        assert_eq!(one.proof, Proof::Holds, "{one:?}");
        assert_eq!(one.customers, !services(&one), "{one:?}");
        assert_eq!(one.refused, None, "{one:?}");
        assert_eq!(one.refused_when_pulled.is_some(), one.customers, "{one:?}");
    }
    // Nobody else's key was pulled by it.
    for address in stage.environment() {
        assert_eq!(stage.read(&address).unwrap(), MARKER);
    }
    // What cannot be read to begin with proves nothing; what is not covered opens all the same.
    stage.set_enabled(None, false);
    for one in prove() {
        let expected = match one.customers {
            true => Proof::Inconclusive,
            false => Proof::Holds,
        };
        assert_eq!(one.proof, expected, "{one:?}");
    }
}
