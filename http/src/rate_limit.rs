//! Limits on how often one user and one address may ask.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use uuid::Uuid;

use crate::{Problem, Visitor};

/// How often one user may ask: `on` (200 requests a second on average, 5,000 at once), a number of requests a second
/// (25 times as many at once), or `off`. An address may ask ten times as often, for all who share it.
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

const PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("not zero");
const BURST_SECONDS: u32 = 25;
const USERS_OF_AN_ADDRESS: u32 = 10;
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

/// Counts requests. Cheap to clone.
#[derive(Clone)]
pub struct Limiter(Option<Arc<Buckets>>);

struct Buckets {
    users: DefaultKeyedRateLimiter<Uuid>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Limiter {
    /// A limiter to `limit`, to be called from within a runtime.
    pub fn new(limit: RateLimit) -> Self {
        let RateLimit::PerSecond(per_second) = limit else { return Self(None) };
        let quota = |rate: NonZeroU32| {
            let burst = rate.saturating_mul(NonZeroU32::new(BURST_SECONDS).unwrap_or(NonZeroU32::MIN));
            Quota::per_second(rate).allow_burst(burst)
        };
        let shared = per_second.saturating_mul(NonZeroU32::new(USERS_OF_AN_ADDRESS).unwrap_or(NonZeroU32::MIN));
        let buckets = Arc::new(Buckets {
            users: RateLimiter::keyed(quota(per_second)),
            addresses: RateLimiter::keyed(quota(shared)),
            clock: DefaultClock::default(),
        });
        tokio::spawn(forget(Arc::downgrade(&buckets)));
        Self(Some(buckets))
    }

    /// Whether `visitor` at `address` may ask now.
    ///
    /// # Errors
    /// 429, with the seconds after which there is room again.
    pub(crate) fn admit(&self, visitor: &Visitor, address: Option<IpAddr>) -> Result<(), Problem> {
        self.check(visitor, address).map_err(Problem::too_many)
    }

    fn check(&self, visitor: &Visitor, address: Option<IpAddr>) -> Result<(), u32> {
        let Some(buckets) = &self.0 else { return Ok(()) };
        let now = buckets.clock.now();
        let seconds = |wait: Duration| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        if let Some(address) = address {
            let refused = buckets.addresses.check_key(&network(address));
            refused.map_err(|until| seconds(until.wait_time_from(now)))?;
        }
        if let Some(identity) = &visitor.0 {
            let refused = buckets.users.check_key(&identity.user);
            refused.map_err(|until| seconds(until.wait_time_from(now)))?;
        }
        Ok(())
    }
}

/// The addresses that count as one: of IPv6 a whole /64, which one household or machine has to itself.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

async fn forget(buckets: std::sync::Weak<Buckets>) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        let Some(buckets) = buckets.upgrade() else { return };
        buckets.users.retain_recent();
        buckets.addresses.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_on_off_or_a_number() {
        assert_eq!("on".parse(), Ok(RateLimit::default()));
        assert_eq!("off".parse(), Ok(RateLimit::Off));
        assert_eq!("5".parse(), Ok(RateLimit::PerSecond(NonZeroU32::new(5).expect("not zero"))));
        for text in ["", "0", "-1", "1.5", "many", "1000000"] {
            assert_eq!(text.parse::<RateLimit>(), Err(NotARateLimit), "{text}");
        }
    }

    #[tokio::test]
    async fn who_asks_too_often_is_told_when_to_come_back() {
        let limiter = Limiter::new("1".parse().expect("a limit"));
        let visitor = Visitor(None);
        let address = Some("2001:db8::1".parse().expect("an address"));
        let allowed = (0..10_000).take_while(|_| limiter.check(&visitor, address).is_ok()).count();
        assert!(allowed >= 250, "{allowed}");
        let neighbour = Some("2001:db8::2".parse().expect("an address"));
        assert!(matches!(limiter.check(&visitor, neighbour), Err(1..)));
        assert!(Limiter::new(RateLimit::Off).check(&visitor, address).is_ok());
    }
}
