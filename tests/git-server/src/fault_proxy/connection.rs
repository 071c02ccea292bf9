//! One client's connection: passes requests to the server and responses back, with faults between.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use super::fault::{Fault, FaultPosition, Phase};
use super::http::Message;
use super::shared::Shared;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// State of a connection after a response.
enum NextState {
    /// The connection goes on.
    NextRequest,
    /// It is over.
    Close,
    /// Closed with a reset.
    Reset,
}

/// Serves a connection to its end. That a client went away is no error.
pub(super) fn serve(shared: &Shared, raw: &TcpStream) {
    let Ok(after) = talk(shared, raw) else { return };
    match after {
        NextState::Reset => {
            let _ = rustix::net::sockopt::set_socket_linger(raw, Some(Duration::ZERO));
        }
        NextState::NextRequest | NextState::Close => {
            // Unread bytes would turn the close into a reset.
            let _ = raw.shutdown(Shutdown::Write);
            let _ = io::copy(&mut &*raw, &mut io::sink());
        }
    }
}

fn talk(shared: &Shared, raw: &TcpStream) -> io::Result<NextState> {
    raw.set_nodelay(true)?;
    if let Some(fault) = shared.fault(Phase::Connect, false) {
        shared.happened();
        return at_once(fault, raw);
    }
    let mut stream: Box<dyn Stream> = match &shared.tls {
        None => Box::new(raw.try_clone()?),
        Some(tls) => {
            let session = ServerConnection::new(tls.clone()).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(session, raw.try_clone()?))
        }
    };
    while let Some(request) = Message::read_request(&mut stream) {
        shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.whole_head());
        match response(shared, raw, &mut *stream, request)? {
            NextState::NextRequest => {}
            end => return Ok(end),
        }
    }
    Ok(NextState::Close)
}

/// A fault before the first request.
fn at_once(fault: &Fault, mut raw: &TcpStream) -> io::Result<NextState> {
    match fault {
        Fault::Reset(_) => return Ok(NextState::Reset),
        Fault::Stall(_) => wait_for_the_client_to_go(raw),
        Fault::Response(..) => {
            // The first bytes of the client are read and ignored.
            let _ = raw.read(&mut [0; 1024])?;
            raw.write_all(&ready(fault))?;
        }
        _ => {}
    }
    Ok(NextState::Close)
}

fn response(
    shared: &Shared,
    raw: &TcpStream,
    stream: &mut dyn Stream,
    mut request: Message,
) -> io::Result<NextState> {
    let with_credential = request.header("authorization").is_some();
    let Some(fault) = phase(&request).and_then(|phase| shared.fault(phase, with_credential)) else {
        return whole(stream, &request.send_to(shared.server)?);
    };
    let fault = match fault {
        Fault::Unless(words, fault) if !request.body.windows(words.len()).any(|w| w == words.as_bytes()) => {
            fault
        }
        fault => fault,
    };
    match fault {
        Fault::Unless(..) => return whole(stream, &request.send_to(shared.server)?),
        Fault::Response(..) => {
            shared.happened();
            send(stream, &ready(fault))?;
            return Ok(NextState::NextRequest);
        }
        Fault::Before(action) => action(),
        Fault::WantInstead(id) => want_instead(&mut request.body, id),
        _ => {}
    }
    let mut response = request.send_to(shared.server)?;
    match fault {
        Fault::Reset(at) => part(stream, &response, *at).map(|()| NextState::Reset),
        Fault::Close(at) => part(stream, &response, *at).map(|()| NextState::Close),
        Fault::Stall(at) => {
            part(stream, &response, *at)?;
            shared.happened();
            wait_for_the_client_to_go(raw);
            return Ok(NextState::Close);
        }
        Fault::Drip => {
            shared.happened();
            return drip(stream, &response);
        }
        Fault::Short(at) => {
            response.body.truncate(at.position(&response.body).unwrap_or(0));
            whole(stream, &response)
        }
        Fault::Corrupt(at) => {
            let at = at.position(&response.body).unwrap_or(0);
            if let Some(byte) = response.body.get_mut(at) {
                *byte ^= 0x20;
            }
            whole(stream, &response)
        }
        Fault::Response(..) | Fault::Before(_) | Fault::Unless(..) | Fault::WantInstead(_) => {
            whole(stream, &response)
        }
    }
    .inspect(|_| shared.happened())
}

/// Returns the phase of a git client's request.
fn phase(request: &Message) -> Option<Phase> {
    let contains = |words: &[u8]| request.body.windows(words.len()).any(|window| window == words);
    if request.first.starts_with("GET ") {
        request.first.contains("/info/refs?").then_some(Phase::Listing)
    } else if contains(b"command=ls-refs") {
        Some(Phase::Refs)
    } else if contains(b"filter blob:none") {
        Some(Phase::Subtree)
    } else {
        Some(Phase::Pack)
    }
}

fn want_instead(body: &mut [u8], id: &str) {
    const WANT: &[u8] = b"want ";
    let at = body.windows(WANT.len()).position(|window| window == WANT).map(|at| at + WANT.len());
    if let Some(wanted) = at.and_then(|at| body.get_mut(at..at + id.len())) {
        wanted.copy_from_slice(id.as_bytes());
    }
}

fn whole(stream: &mut dyn Stream, response: &Message) -> io::Result<NextState> {
    send(stream, &[response.chunked_head(), response.chunks(response.body.len())].concat())?;
    Ok(NextState::NextRequest)
}

fn part(stream: &mut dyn Stream, response: &Message, until: FaultPosition) -> io::Result<()> {
    match until.position(&response.body) {
        None => Ok(()),
        Some(at) => send(stream, &[response.chunked_head(), response.chunks(at)].concat()),
    }
}

fn drip(stream: &mut dyn Stream, response: &Message) -> io::Result<NextState> {
    send(stream, &response.chunked_head())?;
    for byte in response.chunks(response.body.len()) {
        send(stream, &[byte])?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(NextState::NextRequest)
}

fn send(stream: &mut dyn Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

/// A response that no server gave.
fn ready(fault: &Fault) -> Vec<u8> {
    let Fault::Response(status, headers, body) = fault else { return Vec::new() };
    let mut wire = format!("HTTP/1.1 {status} As requested\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(wire, "{name}: {value}\r\n");
    }
    (wire + "\r\n" + body).into_bytes()
}

/// Only its end is of interest.
fn wait_for_the_client_to_go(mut raw: &TcpStream) {
    let _ = io::copy(&mut raw, &mut io::sink());
}
