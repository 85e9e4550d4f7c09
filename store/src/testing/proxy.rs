use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Stands between a client and a server, and swallows what they say when it is told to: to each the other is as a machine
/// that has vanished from the network, without a word. Dropped, it goes with all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    silent: watch::Sender<bool>,
    said: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Stands before the server at `host:port`.
    ///
    /// # Errors
    /// When there is no port for it.
    pub async fn before(server: String) -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let silent = watch::Sender::new(false);
        let said = Arc::default();
        let accepting = tokio::spawn(accept(listener, server, silent.clone(), Arc::clone(&said)));
        Ok(Self { address, silent, said, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often a client has said something. One that waits for each answer has made as many round trips.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }

    /// From now on nothing passes.
    pub fn swallow(&self) {
        self.silent.send_replace(true);
    }

    /// From now on what comes by new connections passes; those in which something was swallowed stay silent.
    pub fn pass(&self) {
        self.silent.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: String, silent: watch::Sender<bool>, said: Arc<AtomicU64>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(&server).await else { continue };
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::spawn(forward(from_client, to_server, silent.subscribe(), said.clone()));
        tokio::spawn(forward(from_server, to_client, silent.subscribe(), Arc::default()));
    }
}

/// Passes on what comes, and counts how often, until the connection ends, or until something is swallowed: then it ends with the proxy.
async fn forward(from: OwnedReadHalf, to: OwnedWriteHalf, silent: watch::Receiver<bool>, passed: Arc<AtomicU64>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(length) = read(&from, &mut buffer).await else { return };
        if *silent.borrow() {
            let mut silent = silent;
            while silent.changed().await.is_ok() {}
            return;
        }
        passed.fetch_add(1, Ordering::Relaxed);
        if length == 0 || write(&to, &buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn read(from: &OwnedReadHalf, buffer: &mut [u8]) -> Result<usize, Error> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

async fn write(to: &OwnedWriteHalf, mut rest: &[u8]) -> Result<(), Error> {
    while !rest.is_empty() {
        to.writable().await?;
        match to.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
