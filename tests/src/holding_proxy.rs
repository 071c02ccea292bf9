//! A proxy that holds connections until it is released: it forwards the first bytes of a client, such as a ClientHello,
//! and the server's response, and holds what the client sends next. So a test holds a fetch in progress: clients wait
//! longer for a response to a request than for a handshake.

use std::io;
use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Holds connections until [`release`](HoldingProxy::release); closes them when dropped.
pub struct HoldingProxy {
    address: SocketAddr,
    server: String,
    released: watch::Sender<bool>,
    connections: watch::Receiver<usize>,
    task: AbortHandle,
}

impl HoldingProxy {
    /// Listens on `address` and forwards to `server`.
    pub async fn start(address: IpAddr, server: &SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await.context("bind the proxy")?;
        let (released, hold) = watch::channel(false);
        let (count, counted) = watch::channel(0);
        let (address, behind) = (listener.local_addr()?, *server);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let hold = hold.clone();
                connections.spawn(async move {
                    // Either side may close the connection.
                    let _ = forward(client, behind, hold).await;
                });
            }
        });
        Ok(Self {
            address,
            server: server.to_string(),
            released,
            connections: counted,
            task: task.abort_handle(),
        })
    }

    /// Rewrites a URL of the server to this proxy.
    pub fn url(&self, of_server: &str) -> String {
        of_server.replacen(&self.server, &self.address.to_string(), 1)
    }

    pub async fn wait_for_connection(&self) -> anyhow::Result<()> {
        self.connections.clone().wait_for(|count| *count > 0).await.map(drop).context("the proxy has ended")
    }

    /// Forwards everything from now on.
    pub fn release(&self) {
        self.released.send_replace(true);
    }
}

impl Drop for HoldingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards the client's first bytes and all of the server's; the rest once `released` is true.
async fn forward(
    client: TcpStream,
    behind: SocketAddr,
    mut released: watch::Receiver<bool>,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(behind).await?.into_split();
    let mut first = vec![0; 16 * 1024];
    let length = from_client.read(&mut first).await?;
    to_server.write_all(first.get(..length).unwrap_or_default()).await?;
    let up = async {
        // An error means that the proxy was dropped.
        if released.wait_for(|released| *released).await.is_ok() {
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
    async fn forwards_the_first_bytes_and_holds_the_rest_until_released() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy =
            HoldingProxy::start(Ipv4Addr::LOCALHOST.into(), &server.local_addr().unwrap()).await.unwrap();
        let url = proxy.url(&format!("https://{}/a", server.local_addr().unwrap()));
        assert_eq!(url, format!("https://{}/a", proxy.address));

        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let (mut behind, _) = server.accept().await.unwrap();
        proxy.wait_for_connection().await.unwrap();
        let mut bytes = [0; 5];
        client.write_all(b"hello").await.unwrap();
        behind.read_exact(&mut bytes).await.unwrap();
        behind.write_all(b"yes?!").await.unwrap();
        client.read_exact(&mut bytes).await.unwrap();
        client.write_all(b"write").await.unwrap();
        assert!(behind.read_exact(&mut bytes).now_or_never().is_none());
        proxy.release();
        behind.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"write");
    }
}
