//! A server with prepared responses. A fake, because git's own server does not send broken trees,
//! makes packs itself, and ends its lists.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Bytes to be sent, the middle of them many times.
#[derive(Clone, Default)]
pub struct Body {
    pub start: Vec<u8>,
    pub middle: Vec<u8>,
    pub times: usize,
    pub end: Vec<u8>,
}

/// Prepared responses.
pub struct Responses {
    /// To `info/refs`.
    pub capabilities: Body,
    /// To `ls-refs`.
    pub refs: Body,
    /// To `fetch`.
    pub pack: Body,
}

/// A server of one repository, for as long as this lives.
pub struct RawServer {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl RawServer {
    pub fn start(responses: Responses) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, responses) = (Arc::new(AtomicBool::new(false)), Arc::new(responses));
        let watched = Arc::clone(&ended);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if watched.load(Ordering::SeqCst) {
                    return;
                }
                let responses = Arc::clone(&responses);
                // A client that has heard enough hangs up.
                thread::spawn(move || drop(response(&stream, &responses)));
            }
        });
        Self { address, ended }
    }

    pub fn url(&self) -> String {
        format!("http://{}/acme/flow", self.address)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn response(stream: &TcpStream, responses: &Responses) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut requested = vec![0; length];
    reader.read_exact(&mut requested)?;
    let (kind, body) = if request.starts_with("GET") {
        ("advertisement", &responses.capabilities)
    } else if String::from_utf8_lossy(&requested).contains("command=ls-refs") {
        ("result", &responses.refs)
    } else {
        ("result", &responses.pack)
    };
    let mut writer = stream;
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-git-upload-pack-{kind}\r\n\r\n"
    )?;
    writer.write_all(&body.start)?;
    for _ in 0..body.times {
        writer.write_all(&body.middle)?;
    }
    writer.write_all(&body.end)
}
