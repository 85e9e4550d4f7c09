//! Where a request comes from when proxies stand between.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

/// The proxies whose `Forwarded` (RFC 7239) or `X-Forwarded-For` is believed. By default there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[IpNet]>);

/// A text that is no list of addresses and networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network, such as 10.0.0.0/8")]
pub struct NotANetwork(String);

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl FromStr for TrustedProxies {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let read = |text: &str| {
            let address = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
            address.or_else(|_| text.parse()).map_err(|_| NotANetwork(text.to_owned()))
        };
        text.split(',').map(|text| read(text.trim())).collect::<Result<_, _>>().map(Self)
    }
}

impl TrustedProxies {
    /// Whom the request with `headers` comes from that `peer` sent.
    ///
    /// Each proxy adds at the right whom it got the request from. So the addresses are read from the right as long as
    /// they are of trusted proxies: the first that is none is the client, and what stands left of it may be anybody's
    /// invention. Where an address cannot be read, the proxy that would know it is taken for the client; so is `peer`
    /// where both headers came and do not say the same, since its proxy may have written one of them alone.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let of = |name: HeaderName, read: fn(&str) -> Option<IpAddr>| {
            headers.contains_key(&name).then(|| self.furthest_believed(peer, &elements(headers, &name), read))
        };
        match (of(header::FORWARDED, forwarded), of(X_FORWARDED_FOR, address)) {
            (Some(one), Some(other)) if one != other => peer,
            (Some(client), _) | (None, Some(client)) => client,
            (None, None) => peer,
        }
    }

    fn furthest_believed(&self, peer: IpAddr, elements: &[&str], read: fn(&str) -> Option<IpAddr>) -> IpAddr {
        let mut client = peer;
        for element in elements.iter().rev() {
            match read(element) {
                Some(address) => client = address,
                None => return client,
            }
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The elements of the list in the header `name`, whose lines belong together (RFC 9110, section 5.3).
fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h str> {
    let mut elements = Vec::new();
    for value in headers.get_all(name) {
        // What is no text is an element that cannot be read.
        let value = value.to_str().unwrap_or("?");
        let (mut begin, mut quoted, mut escaped) = (0, false, false);
        for (at, byte) in value.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' if !quoted => {
                    elements.push(&value[begin..at]);
                    begin = at + 1;
                }
                _ => {}
            }
        }
        elements.push(&value[begin..]);
    }
    elements
}

/// The address in an element of `Forwarded`.
fn forwarded(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut nodes = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (Some((_, node)), None) = (nodes.next(), nodes.next()) else { return None };
    let node = node.trim();
    address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

/// An address with or without a port. One of IPv6 with a port stands in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// The addresses that count as one: of IPv6 a whole /64, which one household or machine has to itself. An address of IPv4
/// that is written as one of IPv6 is itself.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let proxies = if trusted.is_empty() { TrustedProxies::default() } else { trusted.parse().expect("networks") };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().expect("a header"));
        }
        proxies.client(peer.parse().expect("an address"), &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        let lines = [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=198.51.100.7")];
        assert_eq!(client("", "10.0.0.1", &lines), "10.0.0.1");
        assert_eq!(client("10.0.0.0/8", "192.0.2.1", &lines), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &lines), "198.51.100.7");
        assert_eq!(client("10.0.0.1", "::ffff:10.0.0.1", &lines), "198.51.100.7");
        assert_eq!(client("10.0.0.1", "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn addresses_are_counted_from_the_right() {
        let by = |lines: &[(&'static str, &str)]| client("10.0.0.0/8, 2001:db8:1::/48", "10.0.0.1", lines);
        assert_eq!(by(&[("x-forwarded-for", "203.0.113.9, 198.51.100.7")]), "198.51.100.7");
        assert_eq!(by(&[("x-forwarded-for", "203.0.113.9, 198.51.100.7, 10.9.9.9")]), "198.51.100.7");
        assert_eq!(
            by(&[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "198.51.100.7,10.2.2.2")]),
            "198.51.100.7"
        );
        assert_eq!(by(&[("x-forwarded-for", "10.3.3.3, 10.2.2.2")]), "10.3.3.3");
        assert_eq!(by(&[("x-forwarded-for", "198.51.100.7:4711, [2001:db8:1::2]:443")]), "198.51.100.7");
        let forwarded = "for=203.0.113.9, For=\"[2001:db8:7::1]:4711\";proto=https;by=10.2.2.2, for=10.2.2.2";
        assert_eq!(by(&[("forwarded", forwarded)]), "2001:db8:7::1");
        assert_eq!(by(&[("forwarded", "for=203.0.113.9;host=\"a,b\", for=\"198.51.100.7:80\"")]), "198.51.100.7");
    }

    #[test]
    fn what_cannot_be_read_ends_what_is_believed() {
        for value in ["unknown", "", "203.0.113.9, x", "203.0.113.9, _hidden", "203.0.113.9,", "1.2.3", "a\"b"] {
            assert_eq!(client("10.0.0.0/8", "10.0.0.1", &[("x-forwarded-for", value)]), "10.0.0.1", "{value:?}");
        }
        for value in ["for=unknown", "proto=https", "for=1.2.3.4;for=5.6.7.8", "for=203.0.113.9, for=_x", "203.0.113.9"]
        {
            assert_eq!(client("10.0.0.0/8", "10.0.0.1", &[("forwarded", value)]), "10.0.0.1", "{value:?}");
        }
        let lines = [("x-forwarded-for", "203.0.113.9, oops, 10.0.0.2")];
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &lines), "10.0.0.2");
        // Only one of them is the proxy's.
        let lines = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=198.51.100.7")];
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &lines), "10.0.0.1");
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        for good in ["10.0.0.1", "10.0.0.0/8,::1", " 10.0.0.1 , fd00::/8 "] {
            assert!(good.parse::<TrustedProxies>().is_ok(), "{good}");
        }
        for bad in ["", "10.0.0.1,", "10.0.0.0/33", "proxy.example", "*", "10.0.0.1:80"] {
            assert!(bad.parse::<TrustedProxies>().is_err(), "{bad}");
        }
    }
}
