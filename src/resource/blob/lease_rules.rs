//! What may be done to a lease, and under one.

use jiff::Timestamp;

use super::{Lease, LeaseAction, LeaseId, LeaseState, Refusal};

impl LeaseAction {
    /// The lease after this, done to `held` now; and how many seconds it still runs after a break.
    pub(super) fn apply(
        self,
        held: Option<Lease>,
        now: Timestamp,
    ) -> Result<(Option<Lease>, Option<u64>), Refusal> {
        use LeaseState::*;
        let state = LeaseState::of(held.as_ref(), now);
        let micros =
            |seconds: u64| i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        let ends = |seconds: Option<u32>| {
            seconds.map(|s| now.as_microsecond().saturating_add(micros(s.into())))
        };
        let taken = |id, seconds| {
            let ends_micros = ends(seconds);
            Some(Lease {
                id,
                seconds,
                ends_micros,
                broken: false,
            })
        };
        let of = |id: LeaseId| match held {
            Some(lease) if lease.id == id => Ok(lease),
            _ => Err(Refusal::LeaseIdMismatchWithLeaseOperation),
        };
        Ok(match self {
            Self::Acquire { seconds, proposed } => {
                let own = held.is_some_and(|lease| Some(lease.id) == proposed);
                match state {
                    Leased if !own => return Err(Refusal::LeaseAlreadyPresent),
                    Breaking if own => return Err(Refusal::LeaseIsBreakingAndCannotBeAcquired),
                    Breaking => return Err(Refusal::LeaseAlreadyPresent),
                    _ => (
                        taken(proposed.unwrap_or_else(LeaseId::random), seconds),
                        None,
                    ),
                }
            }
            Self::Renew(id) => {
                let lease = of(id)?;
                match state {
                    Breaking | Broken => return Err(Refusal::LeaseIsBrokenAndCannotBeRenewed),
                    _ => (taken(id, lease.seconds), None),
                }
            }
            Self::Change { id, proposed } => match (state, held) {
                (Leased, Some(lease)) if lease.id == id || lease.id == proposed => {
                    let id = proposed;
                    (Some(Lease { id, ..lease }), None)
                }
                (Leased, _) => return Err(Refusal::LeaseIdMismatchWithLeaseOperation),
                (Breaking, Some(lease)) if lease.id == id => {
                    return Err(Refusal::LeaseIsBreakingAndCannotBeChanged);
                }
                (Breaking, _) => return Err(Refusal::LeaseIdMismatchWithLeaseOperation),
                _ => return Err(Refusal::LeaseNotPresentWithLeaseOperation),
            },
            Self::Release(id) => of(id).map(|_| (None, None))?,
            Self::Break { seconds } => {
                let lease = held.ok_or(Refusal::LeaseNotPresentWithLeaseOperation)?;
                let left = lease
                    .ends_micros
                    .map(|ends| ends.saturating_sub(now.as_microsecond()));
                let asked = seconds.map(|seconds| micros(seconds.into()));
                let left = match state {
                    Leased | Breaking => match (asked, left) {
                        (Some(asked), Some(left)) => asked.min(left),
                        (Some(asked), None) => asked,
                        (None, left) => left.unwrap_or(0),
                    },
                    _ => 0,
                };
                let broken = Lease {
                    ends_micros: Some(now.as_microsecond().saturating_add(left)),
                    broken: true,
                    ..lease
                };
                let left = u64::try_from(left).unwrap_or(0).div_ceil(1_000_000);
                (Some(broken), Some(left))
            }
        })
    }
}

/// Whether something may be done to what has the lease `held`, by one who shows `shown`.
pub(super) fn may(
    held: Option<&Lease>,
    shown: Option<LeaseId>,
    writes: bool,
    now: Timestamp,
) -> Result<(), Refusal> {
    let locked = LeaseState::of(held, now).is_locked();
    match (held, shown) {
        (_, None) if writes && locked => Err(Refusal::LeaseIdMissing),
        (_, None) => Ok(()),
        (None, Some(_)) => Err(Refusal::LeaseNotPresent),
        (Some(lease), Some(shown)) if lease.id != shown => Err(Refusal::LeaseIdMismatch),
        (Some(_), Some(_)) if !locked => Err(Refusal::LeaseLost),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn id(n: u8) -> LeaseId {
        LeaseId::from_bytes([n; 16])
    }

    /// One in each state at second 100, of which the name is 1: available, leased, leased for ever, expired,
    /// breaking, broken.
    fn states() -> [Option<Lease>; 6] {
        let lease = |ends: Option<i64>, broken| {
            Some(Lease {
                id: id(1),
                seconds: ends.map(|_| 30),
                ends_micros: ends.map(|s| s * 1_000_000),
                broken,
            })
        };
        [
            None,
            lease(Some(120), false),
            lease(None, false),
            lease(Some(100), false),
            lease(Some(110), true),
            lease(Some(100), true),
        ]
    }

    /// The table "Outcomes of lease operations on blobs by lease state" of the documentation.
    #[test]
    fn lease_is_taken_from_nobody_but_as_the_service_says() {
        use Refusal::*;
        let acquire = |n| LeaseAction::Acquire {
            seconds: Some(15),
            proposed: n,
        };
        let change = |a, b| LeaseAction::Change {
            id: id(a),
            proposed: id(b),
        };
        type Row = (LeaseAction, [Result<Option<u8>, Refusal>; 6]);
        let rows: [Row; 9] = [
            (
                acquire(Some(id(1))),
                [
                    Ok(Some(1)),
                    Ok(Some(1)),
                    Ok(Some(1)),
                    Ok(Some(1)),
                    Err(LeaseIsBreakingAndCannotBeAcquired),
                    Ok(Some(1)),
                ],
            ),
            (
                acquire(Some(id(2))),
                [
                    Ok(Some(2)),
                    Err(LeaseAlreadyPresent),
                    Err(LeaseAlreadyPresent),
                    Ok(Some(2)),
                    Err(LeaseAlreadyPresent),
                    Ok(Some(2)),
                ],
            ),
            (
                LeaseAction::Renew(id(1)),
                [
                    Err(LeaseIdMismatchWithLeaseOperation),
                    Ok(Some(1)),
                    Ok(Some(1)),
                    Ok(Some(1)),
                    Err(LeaseIsBrokenAndCannotBeRenewed),
                    Err(LeaseIsBrokenAndCannotBeRenewed),
                ],
            ),
            (
                LeaseAction::Renew(id(2)),
                [Err(LeaseIdMismatchWithLeaseOperation); 6],
            ),
            (
                change(1, 2),
                [
                    Err(LeaseNotPresentWithLeaseOperation),
                    Ok(Some(2)),
                    Ok(Some(2)),
                    Err(LeaseNotPresentWithLeaseOperation),
                    Err(LeaseIsBreakingAndCannotBeChanged),
                    Err(LeaseNotPresentWithLeaseOperation),
                ],
            ),
            (
                change(3, 2),
                [
                    Err(LeaseNotPresentWithLeaseOperation),
                    Err(LeaseIdMismatchWithLeaseOperation),
                    Err(LeaseIdMismatchWithLeaseOperation),
                    Err(LeaseNotPresentWithLeaseOperation),
                    Err(LeaseIdMismatchWithLeaseOperation),
                    Err(LeaseNotPresentWithLeaseOperation),
                ],
            ),
            (
                LeaseAction::Release(id(1)),
                [
                    Err(LeaseIdMismatchWithLeaseOperation),
                    Ok(None),
                    Ok(None),
                    Ok(None),
                    Ok(None),
                    Ok(None),
                ],
            ),
            (
                LeaseAction::Release(id(2)),
                [Err(LeaseIdMismatchWithLeaseOperation); 6],
            ),
            (
                LeaseAction::Break { seconds: None },
                [
                    Err(LeaseNotPresentWithLeaseOperation),
                    Ok(Some(1)),
                    Ok(Some(1)),
                    Ok(Some(1)),
                    Ok(Some(1)),
                    Ok(Some(1)),
                ],
            ),
        ];
        for (action, expected) in rows {
            for (held, expected) in states().into_iter().zip(expected) {
                let done = action.apply(held, at(100));
                let done = done.map(|(lease, _)| lease.map(|lease| lease.id));
                assert_eq!(done, expected.map(|n| n.map(id)), "{action:?} {held:?}");
            }
        }
    }

    #[test]
    fn broken_lease_ends_when_it_would_have_or_sooner() {
        let [_, leased, forever, expired, breaking, _] = states();
        for (held, seconds, left) in [
            (leased, None, 20),
            (leased, Some(5), 5),
            (leased, Some(60), 20),
            (leased, Some(0), 0),
            (forever, None, 0),
            (forever, Some(7), 7),
            (expired, Some(7), 0),
            (breaking, Some(3), 3),
            (breaking, Some(30), 10),
        ] {
            let done = LeaseAction::Break { seconds }.apply(held, at(100));
            let (broken, told) = done.unwrap();
            assert_eq!(told, Some(left), "{held:?} {seconds:?}");
            let left = i64::try_from(left).unwrap();
            let state = |second| LeaseState::of(broken.as_ref(), at(second));
            assert_eq!(state(100 + left), LeaseState::Broken);
            assert!(left == 0 || state(99 + left) == LeaseState::Breaking);
        }
    }

    #[test]
    fn nobody_writes_under_anothers_lease() {
        use Refusal::*;
        // By one who shows none, the right one, another.
        let expected = [
            [Ok(()), Err(LeaseNotPresent), Err(LeaseNotPresent)],
            [Err(LeaseIdMissing), Ok(()), Err(LeaseIdMismatch)],
            [Err(LeaseIdMissing), Ok(()), Err(LeaseIdMismatch)],
            [Ok(()), Err(LeaseLost), Err(LeaseIdMismatch)],
            [Err(LeaseIdMissing), Ok(()), Err(LeaseIdMismatch)],
            [Ok(()), Err(LeaseLost), Err(LeaseIdMismatch)],
        ];
        for (held, expected) in states().iter().zip(expected) {
            for (shown, expected) in [None, Some(id(1)), Some(id(2))].into_iter().zip(expected) {
                assert_eq!(may(held.as_ref(), shown, true, at(100)), expected);
                let reads = may(held.as_ref(), shown, false, at(100));
                assert_eq!(reads, if shown.is_none() { Ok(()) } else { expected });
            }
        }
    }
}
