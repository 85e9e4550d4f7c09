//! How much of what a process has for all one client may hold at a time: streams, series, turns to wait.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use uuid::Uuid;

use crate::describe::{Describe, Description};
use crate::proxies::network;
use crate::{Problem, Visitor};

/// Whom a request counts for: its user, if it has one, and the address that it comes from, of IPv6 the whole /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    user: Option<Uuid>,
    /// `None` where that is not known, as in a test. All of those count as one.
    address: Option<IpAddr>,
}

/// How much of something there is, and each client holds. **A user has a tenth at the most, and an address half**, for all who
/// share it, so nobody takes everything. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shares(Arc<Held>);

#[derive(Debug)]
struct Held {
    what: &'static str,
    /// `None` where several may hold the same, so that somebody else counts what there is.
    total: Option<usize>,
    user: usize,
    address: usize,
    by: Mutex<By>,
}

#[derive(Debug, Default)]
struct By {
    all: usize,
    users: HashMap<Uuid, usize>,
    addresses: HashMap<Option<IpAddr>, usize>,
}

/// One of what there is, until it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<Held>,
    client: Client,
}

/// Why a client gets no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// It holds as much as it may.
    #[error("{holder} may have {most} {what} at a time; end some of them, or try again later")]
    Share {
        /// A user, or an address.
        holder: &'static str,
        /// Of what.
        what: &'static str,
        /// How many it may have.
        most: usize,
    },
    /// All together hold what there is.
    #[error("too many {what} at a time; try again later")]
    All {
        /// Of what.
        what: &'static str,
    },
}

const OF_A_USER: usize = 10;
const OF_AN_ADDRESS: usize = 2;
/// The seconds after which a client that ended nothing may try again.
const RETRY_AFTER: u32 = 10;

impl Client {
    /// `user`, if it is one, at `address`, if that is known.
    pub fn new(user: Option<Uuid>, address: Option<IpAddr>) -> Self {
        Self { user, address: address.map(network) }
    }

    /// Its user alone, wherever that is, or the address of nobody in particular.
    #[must_use]
    pub fn alone(self) -> Self {
        if self.user.is_some() { Self { address: None, ..self } } else { self }
    }
}

impl Shares {
    /// Shares of `total` things that are called `what`, such as "open streams".
    pub fn of(what: &'static str, total: usize) -> Self {
        Self::new(what, total, Some(total))
    }

    /// Shares of `total` things of which several clients may hold the same. Whoever lends them counts them.
    pub fn of_common(what: &'static str, total: usize) -> Self {
        Self::new(what, total, None)
    }

    fn new(what: &'static str, of: usize, total: Option<usize>) -> Self {
        let (user, address) = ((of / OF_A_USER).max(1), (of / OF_AN_ADDRESS).max(1));
        Self(Arc::new(Held { what, total, user, address, by: Mutex::default() }))
    }

    /// One more for `client`.
    ///
    /// # Errors
    /// When its user or its address has as many as it may, or all have together.
    pub fn take(&self, client: Client) -> Result<Share, Exhausted> {
        let Held { what, total, user, address, by } = &*self.0;
        let mut by = by.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |count: Option<&usize>| count.copied().unwrap_or(0);
        if client.user.is_some_and(|of| held(by.users.get(&of)) >= *user) {
            return Err(Exhausted::Share { holder: "a user", what, most: *user });
        }
        if held(by.addresses.get(&client.address)) >= *address {
            return Err(Exhausted::Share { holder: "an address", what, most: *address });
        }
        if total.is_some_and(|total| by.all >= total) {
            return Err(Exhausted::All { what });
        }
        by.all += 1;
        if let Some(of) = client.user {
            *by.users.entry(of).or_default() += 1;
        }
        *by.addresses.entry(client.address).or_default() += 1;
        Ok(Share { of: self.0.clone(), client })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut by = self.of.by.lock().unwrap_or_else(PoisonError::into_inner);
        by.all -= 1;
        if let Some(user) = self.client.user {
            give_back(&mut by.users, user);
        }
        give_back(&mut by.addresses, self.client.address);
    }
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

impl From<Exhausted> for Problem {
    fn from(exhausted: Exhausted) -> Self {
        let detail = exhausted.to_string();
        match exhausted {
            Exhausted::Share { .. } => Self::too_much(detail).retry_after(RETRY_AFTER),
            Exhausted::All { .. } => Self::unavailable(detail),
        }
    }
}

/// Where the service found out, it stands with the request.
impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let found = parts.extensions.get::<Self>().copied();
        Ok(found.unwrap_or_else(|| {
            let visitor = parts.extensions.get::<Visitor>().and_then(|visitor| visitor.0.as_ref());
            let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
            Self::new(visitor.map(|identity| identity.user), peer)
        }))
    }
}

/// Every operation is refused to whoever takes too much: the edge says so.
impl Describe for Client {
    fn describe(_: &mut Description<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(user: Option<u128>, address: &str) -> Client {
        Client::new(user.map(Uuid::from_u128), Some(address.parse().expect("an address")))
    }

    #[test]
    fn nobody_takes_everything_and_what_is_dropped_is_there_again() {
        let shares = Shares::of("things", 40);
        let office = "192.0.2.1";
        let mut of_mia: Vec<Share> = (0..4).map(|_| shares.take(at(Some(1), office)).expect("a share")).collect();
        assert_eq!(
            shares.take(at(Some(1), office)).map(drop),
            Err(Exhausted::Share { holder: "a user", what: "things", most: 4 })
        );
        assert!(shares.take(at(Some(1), "192.0.2.9")).is_err(), "a user elsewhere is the same user");
        // Those at the address have half together.
        let others: Vec<Share> = (0..16).map(|_| shares.take(at(None, office)).expect("a share")).collect();
        let refused = shares.take(at(Some(2), office)).expect_err("half is taken");
        assert_eq!(
            refused.to_string(),
            "an address may have 20 things at a time; end some of them, or try again later"
        );
        let elsewhere: Vec<Share> = (0..20).map(|_| shares.take(at(None, "192.0.2.2")).expect("a share")).collect();
        assert_eq!(shares.take(at(None, "192.0.2.3")).map(drop), Err(Exhausted::All { what: "things" }));
        of_mia.pop();
        assert!(shares.take(at(Some(1), office)).is_ok());
        drop((of_mia, others, elsewhere));
        let by = shares.0.by.lock().expect("not poisoned");
        assert!(by.users.is_empty() && by.addresses.is_empty() && by.all == 0, "nobody is remembered for nothing");
    }

    #[test]
    fn a_household_has_one_share_and_of_few_things_everybody_has_one() {
        let shares = Shares::of("things", 2);
        let _held = shares.take(at(None, "2001:db8::1")).expect("one");
        assert!(shares.take(at(None, "2001:db8::2")).is_err());
        assert!(shares.take(at(Some(1), "2001:db8:0:1::1")).is_ok());
    }
}
