use std::collections::BTreeSet;

use serde::Serialize;

use crate::world::WorldError;
use crate::world::landscape::{
    Duty, Landscape, LockboxSwitch, Person, PersonName, Profile, Region, Start, Tenant, TenantName,
};

use super::{caught_up, joined, lines, list, workspace};
use crate::cli::{CliError, Context, Outcome};

/// Arguments of `atrest tenant`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest tenant create contoso                            the first one makes the landscape
  atrest tenant create contoso --profile docs-2026-03     by the documentation of March 2026
  atrest tenant create contoso --at 2022-12-15            as it was when the promises were new
  atrest tenant show contoso                              and who is who in it
  atrest tenant person eve --tenant contoso --duty power-admin --licensed
  atrest tenant person sam --duty provider-engineer
  atrest tenant region europe --off                       the feature is not rolled out there

A tenant begins with three people: NAME-admin, NAME-vault-admin and NAME-approver.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a tenant; the first one makes the landscape
    Create {
        /// Its name
        name: TenantName,
        /// Whose rules and statements hold: seed-2022-12 or docs-2026-03
        #[arg(long, value_name = "PROFILE", default_value_t = Profile::Seed2022)]
        profile: Profile,
        /// Let the landscape's clock run with the machine's, instead of standing still until it is moved
        #[arg(long, conflicts_with = "at")]
        real_time: bool,
        /// Begin the clock at this date or time, instead of the machine's
        #[arg(long, value_name = "WHEN", value_parser = crate::cli::key::when)]
        at: Option<jiff::Timestamp>,
    },
    /// List the tenants
    List,
    /// Show one, and its people
    Show {
        /// Its name
        name: TenantName,
    },
    /// Register the Power Platform resource provider with its subscription
    Register {
        /// Its name
        name: TenantName,
        /// Take the registration back
        #[arg(long)]
        off: bool,
    },
    /// Begin to use the Regulatory Configuration Service
    Rcs {
        /// Its name
        name: TenantName,
    },
    /// Add a person, or change what a person may do
    Person {
        /// The person's name
        name: PersonName,
        /// The tenant; none for an engineer of the provider's
        #[arg(long, value_name = "TENANT")]
        tenant: Option<TenantName>,
        /// What the person may do; may be given again
        #[arg(long = "duty", value_name = "DUTY", value_parser = duty)]
        duties: Vec<Duty>,
        /// With a licence for the apps
        #[arg(long)]
        licensed: bool,
    },
    /// Say whether the feature is rolled out in a geography
    Region {
        /// The geography, or a region in it
        region: Region,
        /// It is not
        #[arg(long)]
        off: bool,
    },
}

/// A duty, from its name.
fn duty(text: &str) -> Result<Duty, String> {
    const ALL: &str = "power-admin, vault-admin, lockbox-approver or provider-engineer";
    let quoted = serde_json::Value::String(text.to_owned());
    serde_json::from_value(quoted).map_err(|_| format!("{text:?} is no duty: expected {ALL}"))
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    tenant: Tenant,
    people: Vec<Person>,
}

fn lockbox(switch: LockboxSwitch) -> &'static str {
    match switch {
        LockboxSwitch::Off => "off",
        LockboxSwitch::Enabling { .. } => "enabling",
        LockboxSwitch::On => "on",
    }
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = workspace(context)?;
    let output = context.output();
    let name = match &args.command {
        Command::Create {
            name,
            profile,
            real_time,
            at,
        } => {
            let start = match (real_time, at) {
                (true, _) => Start::RealTime,
                (false, Some(at)) => Start::At(*at),
                (false, None) => Start::Machine,
            };
            if start != Start::Machine && Landscape::find(&workspace)?.is_some() {
                return Err(WorldError::Usage(
                    "the landscape has a clock already: `atrest clock` moves it, or lets it run"
                        .into(),
                )
                .into());
            }
            let landscape = Landscape::create(&workspace, *profile, start)?;
            landscape.create_tenant(name)?;
            name
        }
        Command::List => {
            let all = caught_up(&workspace)?.all::<Tenant>()?;
            let row =
                |tenant: &Tenant| vec![tenant.name.to_string(), lockbox(tenant.lockbox).to_owned()];
            list(output, &all, &["tenant", "lockbox"], row)?;
            return Ok(Outcome::Holds);
        }
        Command::Show { name } => name,
        Command::Register { name, off } => {
            caught_up(&workspace)?.register_provider(name, !off)?;
            name
        }
        Command::Rcs { name } => {
            caught_up(&workspace)?.use_rcs(name)?;
            name
        }
        Command::Person {
            name,
            tenant,
            duties,
            licensed,
        } => {
            let duties: BTreeSet<_> = duties.iter().copied().collect();
            let person =
                caught_up(&workspace)?.set_person(name, tenant.as_ref(), &duties, *licensed)?;
            list(output, &[person], &PEOPLE, person_row)?;
            return Ok(Outcome::Holds);
        }
        Command::Region { region, off } => {
            let landscape = caught_up(&workspace)?;
            landscape.set_region(region, !off)?;
            let off = landscape.regions_off()?;
            output.answer(&off, |text| {
                lines(text, &[("not rolled out in", joined(&off))])
            })?;
            return Ok(Outcome::Holds);
        }
    };
    show(&caught_up(&workspace)?, name, context)
}

const PEOPLE: [&str; 3] = ["person", "duties", "licence"];

fn person_row(person: &Person) -> Vec<String> {
    let duties = person.duties.iter().map(|duty| {
        let word = serde_json::to_value(duty).unwrap_or_default();
        word.as_str().unwrap_or_default().to_owned()
    });
    let licence = if person.licensed { "yes" } else { "no" };
    vec![person.name.to_string(), joined(duties), licence.into()]
}

fn show(
    landscape: &Landscape<'_>,
    name: &TenantName,
    context: &Context,
) -> Result<Outcome, CliError> {
    let tenant: Tenant = landscape.get(name.as_str())?;
    let mut people = landscape.all::<Person>()?;
    people.retain(|person| person.tenant.as_ref() == Some(name));
    let profile = landscape.profile()?;
    let shown = Shown { tenant, people };
    context.output().answer(&shown, |text| {
        let tenant = &shown.tenant;
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        lines(
            text,
            &[
                ("tenant", tenant.name.to_string()),
                ("profile", profile.to_string()),
                ("provider registered", yes(tenant.provider_registered)),
                ("uses RCS", yes(tenant.rcs)),
                ("Customer Lockbox", lockbox(tenant.lockbox).to_owned()),
            ],
        )?;
        let rows: Vec<_> = shown.people.iter().map(person_row).collect();
        text.push_str(&crate::cli::table(&PEOPLE, &[], &rows));
        Ok(())
    })?;
    Ok(Outcome::Holds)
}
