//! Where things are: Azure regions, and the geographies of the Power Platform that they lie in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A geography of the Power Platform, with the Azure regions that it consists of. A policy's location is a
/// geography's name; a vault lies in a region.
const GEOGRAPHIES: &[(&str, &[&str])] = &[
    (
        "unitedstates",
        &["eastus", "westus", "centralus", "southcentralus"],
    ),
    ("europe", &["westeurope", "northeurope"]),
    ("unitedkingdom", &["uksouth", "ukwest"]),
    ("germany", &["germanywestcentral", "germanynorth"]),
    ("france", &["francecentral", "francesouth"]),
    ("switzerland", &["switzerlandnorth", "switzerlandwest"]),
    ("asia", &["southeastasia", "eastasia"]),
    ("japan", &["japaneast", "japanwest"]),
    ("india", &["centralindia", "southindia"]),
    ("australia", &["australiaeast", "australiasoutheast"]),
    ("canada", &["canadacentral", "canadaeast"]),
    ("unitedarabemirates", &["uaenorth", "uaecentral"]),
];

/// A geography, or a region in one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(Known);

/// A name of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known(&'static str);

impl Region {
    /// The geography that it is, or lies in.
    pub fn geography(&self) -> &'static str {
        let found = GEOGRAPHIES
            .iter()
            .find(|(geography, regions)| *geography == self.0.0 || regions.contains(&self.0.0));
        found.map_or(self.0.0, |(geography, _)| geography)
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        self.0.0
    }

    /// Every geography.
    pub fn geographies() -> impl Iterator<Item = &'static str> {
        GEOGRAPHIES.iter().map(|(geography, _)| *geography)
    }
}

impl FromStr for Region {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let all = GEOGRAPHIES
            .iter()
            .flat_map(|(geography, regions)| std::iter::once(geography).chain(regions.iter()));
        let mut all = all.copied();
        all.find(|name| name.eq_ignore_ascii_case(s)).map(|name| Self(Known(name))).ok_or_else(|| {
            let geographies: Vec<_> = Self::geographies().collect();
            format!(
                "E_LOCATION (P3): {:?} is no location: expected a geography ({}) or an Azure region in one",
                s.chars().take(80).collect::<String>(),
                geographies.join(", ")
            )
        })
    }
}

impl TryFrom<String> for Region {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.0.0.to_owned()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.0)
    }
}
