//! Names, addresses and numbers of people and companies that do not exist.

use std::fmt::Write;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

const GIVEN: [&str; 40] = [
    "Ada", "Aino", "Anselm", "Beatriz", "Bram", "Celia", "Chidi", "Dagny", "Dario", "Edda", "Emil",
    "Farah", "Felix", "Greta", "Hugo", "Ines", "Ivo", "Jonna", "Kaito", "Lale", "Leif", "Mara",
    "Mateo", "Nadia", "Nils", "Olena", "Oskar", "Paula", "Quentin", "Rosa", "Ruben", "Sana",
    "Sören", "Tamsin", "Tomás", "Ulla", "Viggo", "Wanda", "Yusuf", "Zoë",
];
const FAMILY: [&str; 40] = [
    "Abendroth",
    "Almqvist",
    "Baptiste",
    "Bergström",
    "Castellan",
    "Corvino",
    "Dahlgren",
    "Duarte",
    "Eklund",
    "Falkner",
    "Ferreira",
    "Gallagher",
    "Grünwald",
    "Hakimi",
    "Halloran",
    "Iversen",
    "Jankowski",
    "Kallio",
    "Kowalczyk",
    "Lindqvist",
    "Lorimer",
    "Marchetti",
    "Moreau",
    "Nakagawa",
    "Nygaard",
    "Okafor",
    "Oyelaran",
    "Petrescu",
    "Quist",
    "Rautio",
    "Rosenthal",
    "Santangelo",
    "Szabó",
    "Thorvald",
    "Ueda",
    "Valverde",
    "Wexler",
    "Yilmaz",
    "Zamora",
    "Zielinski",
];
const STREETS: [&str; 16] = [
    "Anchor Lane",
    "Birch Row",
    "Canal Street",
    "Dyers Yard",
    "Elm Terrace",
    "Foundry Road",
    "Granary Wharf",
    "Harbour Parade",
    "Kiln Close",
    "Lantern Walk",
    "Mill Bank",
    "North Quay",
    "Orchard Way",
    "Pilot Street",
    "Ropewalk",
    "Signal Hill",
];
const CITIES: [&str; 16] = [
    "Aldermoor",
    "Brackwater",
    "Calderfell",
    "Dunmere",
    "Eastholm",
    "Farrowby",
    "Greyhaven",
    "Hollinsea",
    "Kestrelford",
    "Larkness",
    "Millport",
    "Norrdal",
    "Ostermark",
    "Pellworth",
    "Ravensund",
    "Stavenham",
];
const TRADES: [&str; 20] = [
    "Bearings",
    "Ceramics",
    "Coatings",
    "Cranes",
    "Dairy",
    "Fasteners",
    "Filtration",
    "Foods",
    "Freight",
    "Glassworks",
    "Hydraulics",
    "Instruments",
    "Marine",
    "Optics",
    "Packaging",
    "Plastics",
    "Pumps",
    "Textiles",
    "Timber",
    "Turbines",
];
const FORMS: [&str; 4] = ["Ltd", "Group", "Works", "& Sons"];

/// One of `list`.
pub(super) fn pick<'a>(rng: &mut ChaCha8Rng, list: &[&'a str]) -> &'a str {
    list[rng.random_range(0..list.len())]
}

/// "Ada Lindqvist".
pub(super) fn person(rng: &mut ChaCha8Rng, out: &mut String) {
    out.clear();
    out.push_str(pick(rng, &GIVEN));
    out.push(' ');
    out.push_str(pick(rng, &FAMILY));
}

/// "Corvino Hydraulics Ltd".
pub(super) fn company(rng: &mut ChaCha8Rng, out: &mut String) {
    out.clear();
    for (at, word) in [&FAMILY[..], &TRADES, &FORMS].into_iter().enumerate() {
        out.push_str(if at == 0 { "" } else { " " });
        out.push_str(pick(rng, word));
    }
}

/// "17 Canal Street, 40312 Dunmere".
pub(super) fn address(rng: &mut ChaCha8Rng, out: &mut String) {
    out.clear();
    let (house, post_code) = (rng.random_range(1..200), rng.random_range(10_000..99_999));
    let (street, city) = (pick(rng, &STREETS), pick(rng, &CITIES));
    put(out, format_args!("{house} {street}, {post_code} {city}"));
}

/// "ada.lindqvist41@hollinsea.example" (RFC 2606 keeps the domain free).
pub(super) fn email(rng: &mut ChaCha8Rng, name: &str, out: &mut String) {
    out.clear();
    for c in name.chars() {
        match c {
            ' ' => out.push('.'),
            c if c.is_ascii_alphanumeric() => out.push(c.to_ascii_lowercase()),
            _ => {}
        }
    }
    let (number, city) = (rng.random_range(0..1000), pick(rng, &CITIES));
    put(
        out,
        format_args!("{number}@{}.example", city.to_ascii_lowercase()),
    );
}

/// An IBAN (ISO 13616) of the Fjord Bank in `XF`, two letters that ISO 3166 leaves to its users.
pub(super) fn iban(rng: &mut ChaCha8Rng, out: &mut String) {
    let account: u64 = rng.random_range(0..10_u64.pow(12));
    let rest = format!("FJRD{account:012}");
    let check = 98 - mod97(&format!("{rest}XF00"));
    out.clear();
    put(out, format_args!("XF{check:02}{rest}"));
}

/// A national id of `XF`: date of birth, number, check digit (Luhn).
pub(super) fn national_id(rng: &mut ChaCha8Rng, out: &mut String) {
    let (year, month, day) = (
        rng.random_range(1955..2005) % 100,
        rng.random_range(1..=12),
        rng.random_range(1..=28),
    );
    let number = rng.random_range(0..1000);
    let digits = format!("{year:02}{month:02}{day:02}{number:03}");
    let check = luhn(digits.bytes().map(|b| u32::from(b - b'0')));
    out.clear();
    put(out, format_args!("{}-{number:03}{check}", &digits[..6]));
}

/// The remainder of a text by 97, letters as 10 to 35 (ISO 7064).
fn mod97(text: &str) -> u32 {
    text.bytes().fold(0, |sum, b| match b {
        b'0'..=b'9' => (sum * 10 + u32::from(b - b'0')) % 97,
        letter => (sum * 100 + u32::from(letter - b'A') + 10) % 97,
    })
}

/// The digit that makes the doubled sum of `digits` and itself a multiple of ten.
fn luhn(digits: impl DoubleEndedIterator<Item = u32>) -> u32 {
    let doubled = |(at, d): (usize, u32)| match (at % 2, d * 2) {
        (1, _) => d,
        (_, twice) if twice > 9 => twice - 9,
        (_, twice) => twice,
    };
    let sum: u32 = digits.rev().enumerate().map(doubled).sum();
    (10 - sum % 10) % 10
}

pub(super) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string succeeds");
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn numbers_pass_the_checks_that_a_payment_system_makes() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut text = String::new();
        for _ in 0..200 {
            iban(&mut rng, &mut text);
            assert_eq!(text.len(), 20);
            assert_eq!(mod97(&format!("{}{}", &text[4..], &text[..4])), 1, "{text}");
            national_id(&mut rng, &mut text);
            let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
            assert_eq!(luhn(digits[..9].iter().copied()), digits[9], "{text}");
        }
        // ISO 13616's own example, and the usual one for Luhn.
        assert_eq!(mod97("3214282912345698765432161182"), 1);
        assert_eq!(luhn([7, 9, 9, 2, 7, 3, 9, 8, 7, 1].into_iter()), 3);
    }
}
