//! A landscape of many environments: how long it takes to make, to put under a policy, and to report on.
//!
//!     cargo bench --bench world                     1,000 environments of 5 resources
//!     ATREST_BENCH_ENVIRONMENTS=100 cargo bench --bench world
//!     ATREST_BENCH_DIR=/somewhere cargo bench --bench world

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use atrest::crypto::KeyKind;
use atrest::vault::{KeyVault, VaultSettings};
use atrest::world::landscape::{
    KeyState, Landscape, NewFinance, NewPolicy, Permission, PersonName, PowerEnvironment,
    PowerName, Profile, Region, Start, Verdict, WorldClock,
};
use atrest::world::{InitOptions, WhichVault, Workspace};
use jiff::SignedDuration;

fn main() {
    let count: usize =
        std::env::var("ATREST_BENCH_ENVIRONMENTS").map_or(1000, |n| n.parse().unwrap());
    let dir = match std::env::var_os("ATREST_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap(),
    };
    let options = InitOptions {
        environment: "aside".parse().unwrap(),
        customer_key: Some(("key".parse().unwrap(), KeyKind::Rsa3072)),
        passphrase: None,
        vault: VaultSettings {
            retention_days: 90,
            purge_protection: true,
        },
    };
    let clock = Arc::new(WorldClock::of(dir.path()));
    let workspace = Workspace::init(dir.path(), options, clock).unwrap();
    let landscape = Landscape::create(&workspace, Profile::Seed2022, Start::Machine).unwrap();
    let (tenant, project) = ("contoso".parse().unwrap(), "erp".parse().unwrap());
    landscape.create_tenant(&tenant).unwrap();
    landscape.create_project(&project, &tenant).unwrap();
    let region: Region = "westeurope".parse().unwrap();
    let (finance, power): (Vec<_>, Vec<_>) = (0..count)
        .map(|n| {
            let mut finance = NewFinance::usual(
                format!("env-{n:04}").parse().unwrap(),
                project.clone(),
                region.clone(),
            );
            finance.databases.push("retail".parse().unwrap());
            let power = PowerEnvironment::usual(
                format!("org-{n:04}").parse().unwrap(),
                tenant.clone(),
                region.clone(),
            );
            (finance, power)
        })
        .unzip();
    let timed = |what: &str, f: &mut dyn FnMut()| {
        let began = Instant::now();
        f();
        println!("{what:44} {:8.2} s", began.elapsed().as_secs_f64());
    };
    timed(
        &format!("make {count} environments, {} resources", count * 5),
        &mut || {
            landscape.create_finance(&finance, &|_| ()).unwrap();
            landscape.create_power(&power, &|_| ()).unwrap();
        },
    );
    let admin: PersonName = "contoso-admin".parse().unwrap();
    let vault_admin: PersonName = "contoso-vault-admin".parse().unwrap();
    timed("integrate them", &mut || {
        for (finance, power) in finance.iter().zip(&power) {
            landscape.link(&finance.name, &power.name, &admin).unwrap();
        }
        landscape.advance(SignedDuration::from_hours(1)).unwrap();
    });
    let policy = NewPolicy {
        name: "cmk".parse().unwrap(),
        tenant: tenant.clone(),
        location: "europe".parse().unwrap(),
        vault: WhichVault::Customer,
        key: "key".parse().unwrap(),
    };
    landscape.create_policy(&policy, &vault_admin).unwrap();
    landscape
        .grant(&policy.name, &Permission::ALL, &vault_admin)
        .unwrap();
    landscape
        .share_policy(&policy.name, &admin, &vault_admin)
        .unwrap();
    let names: Vec<PowerName> = power.iter().map(|power| power.name.clone()).collect();
    timed("apply a policy to all of them", &mut || {
        let applied = landscape
            .apply(&policy.name, &names, &admin, &|_| ())
            .unwrap()
            .value;
        assert_eq!(
            (applied.resources, applied.failed.len()),
            (5 * count as u64, 0)
        );
    });
    timed("coverage of one", &mut || {
        let coverage = landscape.coverage("env-0000").unwrap();
        assert_eq!(coverage.verdict, Verdict::Partial, "LCS is beside it");
    });
    timed("coverage of all", &mut || {
        let all = landscape.coverage_of_all().unwrap();
        assert_eq!(all.len(), count);
    });
    timed("rotate the key, and have it picked up", &mut || {
        workspace
            .vault(&WhichVault::Customer)
            .unwrap()
            .rotate_key(&policy.key)
            .unwrap();
        landscape.advance(SignedDuration::from_hours(24)).unwrap();
    });
    timed("revoke the identity: all are locked", &mut || {
        landscape
            .revoke(&policy.name, &Permission::ALL, &vault_admin)
            .unwrap();
        let all = landscape.all::<PowerEnvironment>().unwrap();
        assert!(
            all.iter()
                .all(|power| matches!(power.key, KeyState::Locked { .. }))
        );
    });
}
