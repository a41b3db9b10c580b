//! A check that cannot fail is a defect: what each rule lets pass, and what it must not.

use crate::rules::*;
use crate::scan::Source;

#[test]
fn each_rule_complains_about_its_bad_sample() {
    type Rule = fn(&Source) -> Vec<String>;
    // (rule, file, text without fault, texts with one)
    let samples: [(Rule, &str, &str, &[&str]); 6] = [
        (
            imports_point_down,
            "src/vault/local.rs",
            "use crate::{base::Clock, crypto}; use super::{VaultError, api}; pub(crate) struct A;
             mod tests { use super::super::api::B; fn f() { assert!(crate::base::g()); } }",
            &[
                "use crate::lab::Attack;",
                "use crate::{base::Clock, envelope::{self as e}};",
                "use super::super::world::World;",
                "fn f() -> crate::resource::Wrapper { todo!() }",
                "fn f() { format!(\"{}\", crate::lab::NAME); }",
                "mod tests { use super::super::super::cli; }",
                "use crate::*;",
                "use crate::Shortcut;",
            ],
        ),
        (
            sql_and_blob_are_strangers,
            "src/resource/sql/import.rs",
            "use crate::resource::ResourceError; use super::Database;",
            &[
                "use crate::resource::blob::Account;",
                "use super::super::blob;",
            ],
        ),
        (
            unsafe_is_at_the_border,
            "src/sqlite/database.rs",
            "// unsafe\nconst A: &str = \"unsafe\";",
            &[
                "fn f() { unsafe { g() } }",
                "m!(unsafe { g() });",
                "unsafe impl Send for A {}",
            ],
        ),
        (
            the_core_is_synchronous,
            "src/vault/local.rs",
            "/// Not async.\nfn f() {}",
            &[
                "async fn f() {}",
                "fn f() { m!(async {}) }",
                "fn f() { g().await; }",
            ],
        ),
        (
            nothing_unwraps,
            "src/vault/local.rs",
            "#[cfg(test)] mod tests { fn f() { g().unwrap(); } }
             fn f() { kek.unwrap(algorithm, wrapped); h().unwrap_or(1); }",
            &[
                "fn f() { g().unwrap(); }",
                "fn f() { assert!(g().unwrap()); }",
            ],
        ),
        (
            a_long_file_says_why,
            "src/vault/local.rs",
            &format!(
                "//! Over 400 lines because it is a sample.\n{}",
                "\n".repeat(400)
            ),
            &[&"\n".repeat(401)],
        ),
    ];
    for (rule, path, good, bad) in samples {
        assert_eq!(rule(&Source::new(path, good)), [""; 0]);
        for text in bad {
            assert_ne!(rule(&Source::new(path, text)), [""; 0], "{text}");
        }
    }
    assert_ne!(
        imports_point_down(&Source::new("src/stray.rs", "")),
        [""; 0]
    );
    for path in UNSAFE_FILES {
        let border = Source::new(path, "unsafe fn f() {}");
        assert_eq!(unsafe_is_at_the_border(&border), [""; 0]);
    }
    let example = Source::new("examples/other.rs", "unsafe fn f() {}");
    assert_ne!(unsafe_is_at_the_border(&example), [""; 0]);
    let mut tests = Source::new("src/vault/tests.rs", "fn f() { g().unwrap(); }");
    assert_ne!(nothing_unwraps(&tests), [""; 0]);
    tests.is_test = true;
    assert_eq!(nothing_unwraps(&tests), [""; 0]);
    let above = Source::new("src/vault/mod.rs", "#[cfg(test)] mod tests; mod local;").scan();
    assert_eq!(
        above.test_modules.into_iter().collect::<Vec<_>>(),
        [["vault", "tests"]]
    );
    let server = Source::new("src/server/mod.rs", "async fn f() {}");
    assert_eq!(the_core_is_synchronous(&server), [""; 0]);
}

#[test]
fn the_rule_about_key_bytes_complains_about_its_bad_samples() {
    let text = "impl A { fn f(&self) { g(self.0.expose()) } } fn h() {}
                #[cfg(test)] mod tests { fn t() { k.expose(); } }";
    let table =
        |rows: &str| format!("{EXPOSE_TABLE}\n\n| file | function | why |\n|--|--|--|\n{rows}\n");
    let complaints = |text: &str, rows: &str| {
        expose_is_listed(&[Source::new("src/a.rs", text)], &table(rows)).len()
    };
    let row = "| `src/a.rs` | `A::f` | A signs. |";
    assert_eq!(complaints(text, row), 0);
    assert_eq!(complaints(text, ""), 1, "not listed");
    assert_eq!(complaints("", row), 1, "stale");
    assert_eq!(
        complaints(text, "| `src/a.rs` | `A::f` | |"),
        2,
        "no reason"
    );
    assert_eq!(complaints("fn f() { m!(k.expose()) }", ""), 1, "in a macro");
    assert_eq!(
        complaints("fn f() { o.map(Secret::expose); }", ""),
        1,
        "as a value"
    );
}

#[test]
fn the_rule_about_crates_complains_about_its_bad_sample() {
    let lock = |name: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\n");
    assert_eq!(one_tls_stack_and_one_async_runtime(&lock("sha2")), [""; 0]);
    assert_eq!(
        one_tls_stack_and_one_async_runtime(&lock("rustls")),
        [""; 0]
    );
    assert_ne!(
        one_tls_stack_and_one_async_runtime(&lock("native-tls")),
        [""; 0]
    );
    assert_ne!(
        one_tls_stack_and_one_async_runtime(&lock("async-std")),
        [""; 0]
    );
}

#[test]
fn the_rules_about_sabotage_complain_about_their_bad_samples() {
    let at = |path: &str, text: &str| features_are_asked_for_in_two_files(&Source::new(path, text));
    let asks = "#[cfg(feature = \"sabotage\")] fn f() {}";
    assert_eq!(at("src/base/sabotage.rs", asks), [""; 0]);
    assert_eq!(at("src/vault/mod.rs", "fn f(feature: u8) {}"), [""; 0]);
    assert_ne!(at("src/vault/mod.rs", asks), [""; 0]);
    assert_ne!(
        at(
            "src/vault/mod.rs",
            "fn f() -> bool { cfg!(feature = \"sabotage\") }"
        ),
        [""; 0]
    );
    let good = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert_eq!(sabotage_is_chosen_by_name_only(&good), [""; 0]);
    let bad = |from: &str, to: &str| sabotage_is_chosen_by_name_only(&good.replace(from, to));
    assert_ne!(
        bad("sabotage = []", "default = [\"sabotage\"]\nsabotage = []"),
        [""; 0]
    );
    assert_ne!(
        bad("sabotage = []", "sabotage = []\nother = [\"sabotage\"]"),
        [""; 0]
    );
    assert_ne!(bad("required-features = [\"sabotage\"]\n", ""), [""; 0]);
}
