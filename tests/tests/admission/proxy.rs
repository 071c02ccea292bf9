//! A way to the API server that can be cut.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It arrives.
    Open,
    /// Connections break.
    Broken,
    /// Nothing arrives, and nobody is told.
    Silent,
}

/// A TCP proxy on loopback; it ends when this is dropped.
pub struct Proxy {
    pub port: u16,
    way: watch::Sender<Way>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Leads to this address.
    pub async fn start(target: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (way, seen) = watch::channel(Way::Open);
        let target: Arc<str> = target.into();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay(stream, Arc::clone(&target), seen.clone()));
            }
        });
        Ok(Self { port, way, task })
    }

    /// Changes the way, for open connections too.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn relay(mut stream: TcpStream, target: Arc<str>, mut way: watch::Receiver<Way>) {
    let open = async {
        if *way.clone().borrow() == Way::Open
            && let Ok(mut there) = TcpStream::connect(&*target).await
        {
            let mut changes = way.clone();
            tokio::select! {
                _ = copy_bidirectional(&mut stream, &mut there) => (),
                _ = changes.wait_for(|way| *way != Way::Open) => (),
            }
        }
    };
    open.await;
    // Held for as long as it is to be silent; then, as when the proxy ends, it is closed.
    let _ = way.wait_for(|way| *way != Way::Silent).await;
}
