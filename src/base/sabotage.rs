//! The engine broken on purpose, to show that the lab can fail: one way at a time, chosen by the
//! environment variable [`VARIABLE`], and only in a build with the feature `sabotage`. In every other
//! build [`broken`] is `false` when it is compiled, and nothing of this is left.

/// The environment variable that chooses; such a build only.
pub const VARIABLE: &str = "ATREST_SABOTAGE";

macro_rules! ways {
    ($($way:ident = $name:literal, $what:literal;)*) => {
        /// A way in which the engine is broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Sabotage {
            $(#[doc = $what] $way,)*
        }

        impl Sabotage {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$way),*];

            /// Its name, as the variable has it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$way => $name,)*
                }
            }

            /// What the engine does then.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$way => $what,)*
                }
            }
        }
    };
}

ways! {
    IdentityCipher = "identity-cipher", "what is sealed is the plaintext itself";
    FixedNonce = "fixed-nonce", "every unit that a session writes has the same nonce";
    CounterRestarts = "counter-restarts",
        "a database's key salt and nonce counter start from the same values each time it is opened";
    TagIgnored = "tag-ignored", "a tag that does not fit is taken for one that does";
    ResourceNotBound = "resource-not-bound",
        "the resource's identity is in no associated data, and a wrapped key of any resource is taken";
    IndexNotBound = "index-not-bound",
        "the number of a page or chunk is in no associated data and no nonce";
    PlainTemporary = "plain-temporary", "SQLite's temporary files are not encrypted";
    PlainLogHeaders = "plain-log-headers",
        "headers in a write-ahead log, checksums included, are not encrypted";
    KeyNotWiped = "key-not-wiped", "a key's memory is not wiped when it is let go of";
    RevocationIgnored = "revocation-ignored",
        "a key that is once unwrapped stays in use, whatever the vault says";
    ChainUnchecked = "chain-unchecked", "the MACs of audit records are not compared";
    LengthsTrusted = "lengths-trusted",
        "memory is reserved as a header says, before the header is checked";
}

/// Whether the engine is to be broken in this way.
#[cfg(feature = "sabotage")]
pub fn broken(way: Sabotage) -> bool {
    chosen() == Some(way)
}

/// Whether the engine is to be broken in this way: never in this build.
#[cfg(not(feature = "sabotage"))]
#[inline(always)]
pub const fn broken(_: Sabotage) -> bool {
    false
}

/// What a report says of such a build; nothing of an ordinary one.
pub fn told() -> Option<String> {
    #[cfg(feature = "sabotage")]
    return Some(format!(
        "SABOTAGED BUILD, for tests only; broken: {}",
        chosen().map_or("nothing now", Sabotage::name)
    ));
    #[cfg(not(feature = "sabotage"))]
    None
}

/// The way that was chosen. Who asks first, be it a program, a library's user or SQLite's extension, has it
/// said on standard error.
///
/// # Panics
/// When there is no such way.
#[cfg(feature = "sabotage")]
fn chosen() -> Option<Sabotage> {
    use std::io::Write;
    static CHOSEN: std::sync::OnceLock<Option<Sabotage>> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let _ = writeln!(
            std::io::stderr(),
            "SABOTAGED BUILD of atrest, for tests only: protect nothing with it."
        );
        let name = std::env::var(VARIABLE).ok()?;
        let way = Sabotage::ALL.iter().find(|way| way.name() == name);
        Some(*way.unwrap_or_else(|| panic!("{VARIABLE}={name}: no such way to break the engine")))
    })
}
