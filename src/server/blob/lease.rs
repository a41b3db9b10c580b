//! Lease Blob and Lease Container.

use hyper::StatusCode;

use crate::resource::blob::{Leasable, LeaseAction};
use crate::server::reply::Reply;

use super::Admitted;
use super::fault::Fault;
use super::head::Head;
use super::out::Out;

/// How long a lease may be that ends, and how long a break may take, in seconds (the service's limits).
const SECONDS_MIN: u32 = 15;
const SECONDS_MAX: u32 = 60;

pub(super) fn change(asked: &Admitted, what: Leasable<'_>) -> Result<Reply, Fault> {
    let head = &asked.head;
    let action = action(head)?;
    let conditions = head.conditions()?;
    let changed = asked.account.lease(what, action, &conditions);
    let on_container = matches!(what, Leasable::Container(_));
    let changed = changed.map_err(|e| Fault::of(&e, false, on_container))?;
    let mut out = Out::new(match action {
        LeaseAction::Acquire { .. } => StatusCode::CREATED,
        LeaseAction::Break { .. } => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    });
    out.state(changed.etag, changed.modified);
    if let Some(id) = changed.id {
        out.set("x-ms-lease-id", &id.to_string());
    }
    if let Some(left) = changed.seconds_left {
        out.set("x-ms-lease-time", &left.to_string());
    }
    Ok(out.done())
}

fn action(head: &Head) -> Result<LeaseAction, Fault> {
    let required = |name: &str| head.lease_id(name)?.ok_or_else(|| Fault::missing(name));
    let own = || required("x-ms-lease-id");
    let proposed = "x-ms-proposed-lease-id";
    let action = head.header("x-ms-lease-action")?;
    Ok(match action.map(str::to_ascii_lowercase).as_deref() {
        Some("acquire") => LeaseAction::Acquire {
            seconds: duration(head)?,
            proposed: head.lease_id(proposed)?,
        },
        Some("renew") => LeaseAction::Renew(own()?),
        Some("change") => LeaseAction::Change {
            id: own()?,
            proposed: required(proposed)?,
        },
        Some("release") => LeaseAction::Release(own()?),
        Some("break") => {
            let name = "x-ms-lease-break-period";
            let seconds = head.number(name)?.map(u32::try_from).transpose();
            let seconds = seconds.map_err(|_| Fault::header(name))?;
            if seconds.is_some_and(|seconds| seconds > SECONDS_MAX) {
                return Err(Fault::header(name));
            }
            LeaseAction::Break { seconds }
        }
        Some(_) => return Err(Fault::header("x-ms-lease-action")),
        None => return Err(Fault::missing("x-ms-lease-action")),
    })
}

/// For how many seconds a lease is taken; `None` for ever.
fn duration(head: &Head) -> Result<Option<u32>, Fault> {
    let name = "x-ms-lease-duration";
    let text = head.header(name)?.ok_or_else(|| Fault::missing(name))?;
    match (text, text.parse::<u32>()) {
        ("-1", _) => Ok(None),
        (_, Ok(seconds @ SECONDS_MIN..=SECONDS_MAX)) => Ok(Some(seconds)),
        _ => Err(Fault::header(name)),
    }
}
