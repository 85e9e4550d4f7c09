//! Where a service listens: for everybody, and for operators.

use std::net::SocketAddr;

use anyhow::Context as _;
use balcony_http::server;
use tokio::net::TcpListener;

use crate::settings::Settings;

/// Where a service listens: for everybody, and for operators.
pub(crate) struct Listeners {
    pub(crate) everybody: TcpListener,
    pub(crate) operators: Operators,
    /// Where everybody comes to.
    pub(crate) address: SocketAddr,
}

/// Where operators see metrics, states, and why something is missing.
pub(crate) enum Operators {
    /// On a port of their own.
    Apart(TcpListener),
    /// On everybody's port, which is on loopback.
    WithEverybody,
    /// Nowhere.
    Nowhere,
}

impl Listeners {
    /// Begins to listen where `settings` say, or at `default`.
    pub(crate) fn bind(settings: &Settings, default: &str) -> anyhow::Result<Self> {
        let (address, apart) = (settings.listen(default)?, settings.admin_listen()?);
        let bind = |name: &str, address: SocketAddr| {
            server::listen(address).with_context(|| format!("{name}: {address} cannot be listened on"))
        };
        let everybody = bind("LISTEN", address)?;
        let operators = match apart {
            Some(apart) => Operators::Apart(bind("ADMIN_LISTEN", apart)?),
            None => without_a_port(address),
        };
        let address = everybody.local_addr()?;
        Ok(Self { everybody, operators, address })
    }
}

/// Where operators look at a service that listens at `address` and has no port for them: whoever is on the same machine
/// may see everything, and the network may not.
fn without_a_port(address: SocketAddr) -> Operators {
    if address.ip().to_canonical().is_loopback() { Operators::WithEverybody } else { Operators::Nowhere }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_shows_operators_things_without_a_port_for_them() {
        for (address, is_shown) in [
            ("127.0.0.1:8080", true),
            ("127.9.9.9:8080", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]:8080", true),
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
            ("10.1.2.3:8080", false),
        ] {
            let operators = without_a_port(address.parse().expect("an address"));
            assert_eq!(matches!(operators, Operators::WithEverybody), is_shown, "{address}");
        }
    }
}
