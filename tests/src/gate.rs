//! A gate before a server: whoever comes while it is closed may say one thing, such as the first of a TLS handshake, and
//! is answered; what it says next waits until the gate is opened. So a test holds a delivery under way: a client that
//! has shaken hands is patient, one that has not soon tries elsewhere.

use std::io;
use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// A closed gate, until [`open`](Gate::open). What passes through it ends when it is dropped.
pub struct Gate {
    address: SocketAddr,
    server: String,
    open: watch::Sender<bool>,
    waiting: watch::Receiver<usize>,
    task: AbortHandle,
}

impl Gate {
    /// A gate on `address` before the server that listens at `server` (HOST:PORT).
    pub async fn before(address: IpAddr, server: &SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await.context("no port for the gate")?;
        let (open, opened) = watch::channel(false);
        let (count, waiting) = watch::channel(0);
        let (address, behind) = (listener.local_addr()?, *server);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let opened = opened.clone();
                connections.spawn(async move {
                    // An end of either side is the end of the connection, not of the test.
                    let _ = pass(client, behind, opened).await;
                });
            }
        });
        Ok(Self { address, server: server.to_string(), open, waiting, task: task.abort_handle() })
    }

    /// A URL of the server, by way of this gate.
    pub fn url(&self, of_server: &str) -> String {
        of_server.replacen(&self.server, &self.address.to_string(), 1)
    }

    /// Waits until somebody stands before it.
    pub async fn until_somebody_waits(&self) -> anyhow::Result<()> {
        self.waiting.clone().wait_for(|count| *count > 0).await.map(drop).context("the gate is gone")
    }

    /// Lets all through, from now on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on what the client says first, and all that the server says; the rest once the gate is open.
async fn pass(client: TcpStream, behind: SocketAddr, mut open: watch::Receiver<bool>) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(behind).await?.into_split();
    let mut first = vec![0; 16 * 1024];
    let length = from_client.read(&mut first).await?;
    to_server.write_all(first.get(..length).unwrap_or_default()).await?;
    let up = async {
        // An error means that the gate is gone.
        if open.wait_for(|open| *open).await.is_ok() {
            copy(&mut from_client, &mut to_server).await?;
        }
        to_server.shutdown().await
    };
    let down = async {
        copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(up, down).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_first_passes_and_the_rest_waits_until_it_is_opened() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let gate = Gate::before(Ipv4Addr::LOCALHOST.into(), &server.local_addr().unwrap()).await.unwrap();
        let url = gate.url(&format!("https://{}/a", server.local_addr().unwrap()));
        assert_eq!(url, format!("https://{}/a", gate.address));

        let mut client = TcpStream::connect(gate.address).await.unwrap();
        let (mut behind, _) = server.accept().await.unwrap();
        gate.until_somebody_waits().await.unwrap();
        let mut said = [0; 5];
        client.write_all(b"hello").await.unwrap();
        behind.read_exact(&mut said).await.unwrap();
        behind.write_all(b"yes?!").await.unwrap();
        client.read_exact(&mut said).await.unwrap();
        client.write_all(b"write").await.unwrap();
        assert!(behind.read_exact(&mut said).now_or_never().is_none());
        gate.open();
        behind.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"write");
    }
}
