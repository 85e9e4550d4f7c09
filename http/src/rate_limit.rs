//! Limits on how often one user and one address may ask.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, Uri};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use uuid::Uuid;

use crate::proxies::network;
pub use crate::proxies::{NotANetwork, TrustedProxies};
use crate::{Client, Problem, Visitor, consistency};

/// How often one user may ask: `on` (200 requests a second on average), a number of requests a second, or `off`.
///
/// Reading, writing, searching and waiting for what was written are counted apart, so that who has done too much of one
/// may go on with the others. Of each, 25 seconds' worth may come at once. A user may write an hour's worth a day. An
/// address may ask ten times as often as a user, for all who share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimit {
    /// So many requests a second.
    PerSecond(NonZeroU32),
    /// As often as one likes.
    Off,
}

/// A text that is no [`RateLimit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not on, off or a number of requests a second from 1 to 100000")]
pub struct NotARateLimit;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Reading,
    Writing,
    Searching,
    /// Reading what may still have to come.
    Waiting,
}

const PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("not zero");
const BURST_SECONDS: u32 = 25;
const USERS_OF_AN_ADDRESS: u32 = 10;
/// What a user may write a day, in seconds at the limit.
const WRITES_A_DAY: u32 = 3_600;
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// How often users and addresses that have asked for nothing lately are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(30);

impl Default for RateLimit {
    fn default() -> Self {
        Self::PerSecond(PER_SECOND)
    }
}

impl FromStr for RateLimit {
    type Err = NotARateLimit;

    fn from_str(text: &str) -> Result<Self, NotARateLimit> {
        match text {
            "on" => Ok(Self::default()),
            "off" => Ok(Self::Off),
            number => match number.parse::<NonZeroU32>() {
                Ok(number) if number.get() <= 100_000 => Ok(Self::PerSecond(number)),
                _ => Err(NotARateLimit),
            },
        }
    }
}

impl Class {
    const ALL: [Self; 4] = [Self::Reading, Self::Writing, Self::Searching, Self::Waiting];
}

/// Counts requests, those that are refused too. Cheap to clone.
#[derive(Clone)]
pub struct Limiter {
    /// `None` when there is no limit.
    buckets: Option<Arc<Buckets>>,
    proxies: TrustedProxies,
    /// The paths at which something is searched.
    searches: Arc<[Arc<str>]>,
}

struct Buckets {
    /// By class.
    users: [DefaultKeyedRateLimiter<Uuid>; 4],
    /// By class.
    addresses: [DefaultKeyedRateLimiter<IpAddr>; 4],
    /// What users write a day.
    writes: DefaultKeyedRateLimiter<Uuid>,
    clock: DefaultClock,
}

impl Limiter {
    /// A limiter to `limit`, to be called from within a runtime. It believes no proxy and knows of no searches.
    pub fn new(limit: RateLimit) -> Self {
        let buckets = match limit {
            RateLimit::Off => None,
            RateLimit::PerSecond(per_second) => {
                let buckets = Arc::new(Buckets::new(per_second));
                tokio::spawn(forget(Arc::downgrade(&buckets)));
                Some(buckets)
            }
        };
        Self { buckets, proxies: TrustedProxies::default(), searches: Arc::default() }
    }

    /// The same, which believes what `proxies` say of where requests come from.
    #[must_use]
    pub fn behind(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// The same, for a service that is searched by reading `paths`.
    #[must_use]
    pub fn searched_at(mut self, paths: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.searches = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Whether the request with this head may be looked at now, and whom it counts for: its user, or without one its
    /// address; a user is one of those at an address, too.
    ///
    /// # Errors
    /// 429, with the seconds after which there is room again.
    pub(crate) fn admit(&self, parts: &Parts, visitor: Option<&Visitor>) -> Result<Client, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let address = peer.map(|peer| self.proxies.client(peer, &parts.headers));
        let user = visitor.and_then(|visitor| visitor.0.as_ref()).map(|identity| identity.user);
        if let Some(buckets) = &self.buckets {
            let class = self.class(&parts.method, &parts.uri, &parts.headers);
            buckets.check(class, user, address).map_err(Problem::too_many)?;
        }
        Ok(Client::new(user, address))
    }

    /// Counts a request from `peer` that is refused for its form, whoever sent it.
    ///
    /// # Errors
    /// As [`Limiter::admit`].
    pub(crate) fn count_malformed<B>(&self, peer: IpAddr, request: &Request<B>) -> Result<(), Problem> {
        let Some(buckets) = &self.buckets else { return Ok(()) };
        let address = self.proxies.client(peer, request.headers());
        let class = self.class(request.method(), request.uri(), request.headers());
        buckets.check(class, None, Some(address)).map_err(Problem::too_many)
    }

    /// Counts what came from `peer` and was never a request. A trusted proxy sends it for somebody who is not known, so it
    /// counts for nobody then.
    ///
    /// # Errors
    /// As [`Limiter::admit`].
    pub(crate) fn count_unread(&self, peer: IpAddr) -> Result<(), Problem> {
        let peer = peer.to_canonical();
        match &self.buckets {
            Some(buckets) if !self.proxies.trusts(peer) => {
                buckets.check(Class::Reading, None, Some(peer)).map_err(Problem::too_many)
            }
            _ => Ok(()),
        }
    }

    fn class(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Class {
        if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            Class::Writing
        } else if self.searches.iter().any(|path| **path == *uri.path()) {
            Class::Searching
        } else if headers.contains_key(consistency::TOKEN) {
            Class::Waiting
        } else {
            Class::Reading
        }
    }
}

impl Buckets {
    fn new(per_second: NonZeroU32) -> Self {
        let times =
            |rate: NonZeroU32, factor: u32| rate.saturating_mul(NonZeroU32::new(factor).unwrap_or(NonZeroU32::MIN));
        let quota = |rate| Quota::per_second(rate).allow_burst(times(rate, BURST_SECONDS));
        let shared = times(per_second, USERS_OF_AN_ADDRESS);
        let writes = times(per_second, WRITES_A_DAY);
        let writes = Quota::with_period(DAY / writes.get()).expect("some write is allowed a day").allow_burst(writes);
        Self {
            users: Class::ALL.map(|_| RateLimiter::keyed(quota(per_second))),
            addresses: Class::ALL.map(|_| RateLimiter::keyed(quota(shared))),
            writes: RateLimiter::keyed(writes),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request. One that is refused for its user is none of its address, so that a user who asks too often
    /// takes nothing from those behind the same address.
    fn check(&self, class: Class, user: Option<Uuid>, address: Option<IpAddr>) -> Result<(), u32> {
        let now = self.clock.now();
        let seconds = |wait: Duration| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        if let Some(user) = user {
            let refused = self.users[class as usize].check_key(&user);
            refused.map_err(|until| seconds(until.wait_time_from(now)))?;
            if class == Class::Writing {
                let refused = self.writes.check_key(&user);
                refused.map_err(|until| seconds(until.wait_time_from(now)))?;
            }
        }
        if let Some(address) = address {
            let refused = self.addresses[class as usize].check_key(&network(address));
            refused.map_err(|until| seconds(until.wait_time_from(now)))?;
        }
        Ok(())
    }
}

async fn forget(buckets: std::sync::Weak<Buckets>) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        let Some(buckets) = buckets.upgrade() else { return };
        for users in buckets.users.iter().chain([&buckets.writes]) {
            users.retain_recent();
        }
        for addresses in &buckets.addresses {
            addresses.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;
    use crate::{Identity, Role};

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn buckets(per_second: u32) -> Buckets {
        Buckets::new(NonZeroU32::new(per_second).expect("not zero"))
    }

    /// How many requests are allowed at once.
    fn allowed(buckets: &Buckets, class: Class, user: Option<Uuid>, at: Option<IpAddr>) -> usize {
        (0..100_000).take_while(|_| buckets.check(class, user, at).is_ok()).count()
    }

    #[test]
    fn limits_are_on_off_or_a_number() {
        assert_eq!("on".parse(), Ok(RateLimit::default()));
        assert_eq!("off".parse(), Ok(RateLimit::Off));
        assert_eq!("5".parse(), Ok(RateLimit::PerSecond(NonZeroU32::new(5).expect("not zero"))));
        for text in ["", "0", "-1", "1.5", "many", "1000000"] {
            assert_eq!(text.parse::<RateLimit>(), Err(NotARateLimit), "{text}");
        }
    }

    #[test]
    fn who_asks_too_often_is_told_when_to_come_back() {
        let buckets = buckets(1);
        let household = Some(address("2001:db8::1"));
        assert!(allowed(&buckets, Class::Reading, None, household) >= 250);
        let neighbour = Some(address("2001:db8::2"));
        assert!(matches!(buckets.check(Class::Reading, None, neighbour), Err(1..)));
        assert!(buckets.check(Class::Reading, None, Some(address("2001:db8:0:1::1"))).is_ok());
    }

    #[test]
    fn addresses_of_ipv4_are_not_one_because_they_are_written_as_ipv6() {
        let buckets = buckets(1);
        assert!(allowed(&buckets, Class::Reading, None, Some(address("::ffff:192.0.2.1"))) >= 250);
        assert!(buckets.check(Class::Reading, None, Some(address("192.0.2.1"))).is_err());
        assert!(buckets.check(Class::Reading, None, Some(address("::ffff:192.0.2.2"))).is_ok());
    }

    #[test]
    fn a_user_who_asks_too_often_takes_nothing_from_others_at_the_address() {
        let buckets = buckets(1);
        let (mia, jonas, office) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)), Some(address("192.0.2.1")));
        let of_mia = allowed(&buckets, Class::Reading, mia, office);
        assert!((25..50).contains(&of_mia), "{of_mia}");
        for _ in 0..10_000 {
            assert!(buckets.check(Class::Reading, mia, office).is_err());
        }
        assert!(allowed(&buckets, Class::Reading, jonas, office) >= 25);
    }

    #[test]
    fn who_has_done_too_much_of_one_thing_may_go_on_with_others() {
        let buckets = buckets(1);
        let mia = Some(Uuid::from_u128(1));
        let counts = Class::ALL.map(|class| allowed(&buckets, class, mia, None));
        assert!(counts.into_iter().all(|count| (25..50).contains(&count)), "{counts:?}");
    }

    #[test]
    fn a_user_may_write_so_much_a_day() {
        let buckets = buckets(1);
        let mia = Uuid::from_u128(1);
        for _ in 0..WRITES_A_DAY {
            assert!(buckets.writes.check_key(&mia).is_ok());
        }
        let until = buckets.check(Class::Writing, Some(mia), None).expect_err("a day's worth was written");
        assert!(until <= 25, "{until}");
        assert!(buckets.check(Class::Reading, Some(mia), None).is_ok());
        assert!(buckets.check(Class::Writing, Some(Uuid::from_u128(2)), None).is_ok());
    }

    #[tokio::test]
    async fn requests_are_told_apart_by_what_they_ask_for() {
        let limiter = Limiter::new(RateLimit::default()).searched_at(["/v1/search"]);
        let class = |method: &str, uri: &str, token: bool| {
            let mut request = Request::builder().method(method).uri(uri);
            if token {
                request = request.header(consistency::TOKEN, "x");
            }
            let request = request.body(()).expect("a request");
            limiter.class(request.method(), request.uri(), request.headers())
        };
        assert_eq!(class("GET", "/v1/comments", false), Class::Reading);
        assert_eq!(class("GET", "/v1/comments", true), Class::Waiting);
        assert_eq!(class("GET", "/v1/search?q=x", true), Class::Searching);
        for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
            assert_eq!(class(method, "/v1/search", true), Class::Writing, "{method}");
        }
    }

    #[tokio::test]
    async fn what_is_no_request_counts_for_its_peer_unless_that_is_a_trusted_proxy() {
        let limiter = Limiter::new("1".parse().expect("a limit")).behind("10.0.0.1".parse().expect("a proxy"));
        let count = |peer: &str| limiter.count_unread(address(peer)).map_err(|problem| problem.status().as_u16());
        let most = (0..1_000).take_while(|_| count("203.0.113.1").is_ok()).count();
        assert!((250..300).contains(&most), "{most}");
        assert_eq!(
            (count("203.0.113.1"), count("::ffff:203.0.113.1"), count("203.0.113.2")),
            (Err(429), Err(429), Ok(()))
        );
        assert!((0..1_000).all(|_| count("10.0.0.1").is_ok()));

        let malformed = |client: &str| {
            let request = Request::builder().header("x-forwarded-for", client).body(()).expect("a request");
            limiter.count_malformed(address("10.0.0.1"), &request).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!((malformed("203.0.113.1"), malformed("203.0.113.3")), (Err(429), Ok(())));
    }

    #[tokio::test]
    async fn a_request_counts_for_its_user_and_for_whom_a_trusted_proxy_names() {
        let limiter = Limiter::new("1".parse().expect("a limit")).behind("10.0.0.1".parse().expect("a proxy"));
        let admit = |client: &str, visitor: Option<&Visitor>| {
            let request = Request::builder().header("x-forwarded-for", client).body(()).expect("a request");
            let (mut parts, ()) = request.into_parts();
            parts.extensions.insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 4711))));
            limiter.admit(&parts, visitor).map(drop).map_err(|problem| problem.status().as_u16())
        };
        // Neither a token nor a user: as with a token that is refused.
        while admit("203.0.113.1", None).is_ok() {}
        assert_eq!(admit("203.0.113.1", None), Err(429));
        assert_eq!(admit("203.0.113.2", None), Ok(()));
        let mia = Identity { user: Uuid::from_u128(1), name: None, role: Role::User };
        let mia = Visitor(Some(mia));
        while admit("203.0.113.2", Some(&mia)).is_ok() {}
        assert_eq!(admit("203.0.113.3", Some(&mia)), Err(429));
        assert_eq!(admit("203.0.113.3", None), Ok(()));
    }
}
