//! A TCP proxy to the API server that can be cut.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Up,
    /// Connections are closed.
    Broken,
    /// Connections stay open, and nothing is forwarded.
    Silent,
}

/// Listens on loopback; ends when it is dropped.
pub struct FaultProxy {
    pub port: u16,
    link: watch::Sender<Link>,
    task: JoinHandle<()>,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FaultProxy {
    /// Forwards to this address.
    pub async fn start(target: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (link, changes) = watch::channel(Link::Up);
        let target: Arc<str> = target.into();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay(stream, Arc::clone(&target), changes.clone()));
            }
        });
        Ok(Self { port, link, task })
    }

    /// Changes the state of new and open connections.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn relay(mut stream: TcpStream, target: Arc<str>, mut link: watch::Receiver<Link>) {
    let open = async {
        if *link.clone().borrow() == Link::Up
            && let Ok(mut server) = TcpStream::connect(&*target).await
        {
            let mut changes = link.clone();
            tokio::select! {
                _ = copy_bidirectional(&mut stream, &mut server) => (),
                _ = changes.wait_for(|link| *link != Link::Up) => (),
            }
        }
    };
    open.await;
    // Closed when it is not silent any more, or when the proxy ends.
    let _ = link.wait_for(|link| *link != Link::Silent).await;
}
