//! One client's connection: passes requests to the server and responses back, with faults between.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use super::fault::{At, Fault, Phase};
use super::http::Message;
use super::shared::Shared;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// State of a connection after a response.
enum After {
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
        After::Reset => {
            let _ = rustix::net::sockopt::set_socket_linger(raw, Some(Duration::ZERO));
        }
        After::NextRequest | After::Close => {
            // Unread bytes would turn the close into a reset.
            let _ = raw.shutdown(Shutdown::Write);
            let _ = io::copy(&mut &*raw, &mut io::sink());
        }
    }
}

fn talk(shared: &Shared, raw: &TcpStream) -> io::Result<After> {
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
            After::NextRequest => {}
            end => return Ok(end),
        }
    }
    Ok(After::Close)
}

/// A fault before anything was said.
fn at_once(fault: &Fault, mut raw: &TcpStream) -> io::Result<After> {
    match fault {
        Fault::Reset(_) => return Ok(After::Reset),
        Fault::Stall(_) => wait_for_the_client_to_go(raw),
        Fault::Response(..) => {
            // The first bytes of the client are read and ignored.
            let _ = raw.read(&mut [0; 1024])?;
            raw.write_all(&ready(fault))?;
        }
        _ => {}
    }
    Ok(After::Close)
}

fn response(
    shared: &Shared,
    raw: &TcpStream,
    stream: &mut dyn Stream,
    mut request: Message,
) -> io::Result<After> {
    let with_credential = request.header("authorization").is_some();
    let Some(fault) = phase(&request).and_then(|phase| shared.fault(phase, with_credential)) else {
        return whole(stream, &request.ask(shared.server)?);
    };
    let fault = match fault {
        Fault::Unless(words, fault) if !request.body.windows(words.len()).any(|w| w == words.as_bytes()) => {
            fault
        }
        fault => fault,
    };
    match fault {
        Fault::Unless(..) => return whole(stream, &request.ask(shared.server)?),
        Fault::Response(..) => {
            shared.happened();
            send(stream, &ready(fault))?;
            return Ok(After::NextRequest);
        }
        Fault::Before(action) => action(),
        Fault::WantInstead(id) => want_instead(&mut request.body, id),
        _ => {}
    }
    let mut response = request.ask(shared.server)?;
    match fault {
        Fault::Reset(at) => part(stream, &response, *at).map(|()| After::Reset),
        Fault::Close(at) => part(stream, &response, *at).map(|()| After::Close),
        Fault::Stall(at) => {
            part(stream, &response, *at)?;
            shared.happened();
            wait_for_the_client_to_go(raw);
            return Ok(After::Close);
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
    let said = |words: &[u8]| request.body.windows(words.len()).any(|window| window == words);
    if request.first.starts_with("GET ") {
        request.first.contains("/info/refs?").then_some(Phase::Listing)
    } else if said(b"command=ls-refs") {
        Some(Phase::Refs)
    } else if said(b"filter blob:none") {
        Some(Phase::WayDown)
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

fn whole(stream: &mut dyn Stream, response: &Message) -> io::Result<After> {
    send(stream, &[response.chunked_head(), response.chunks(response.body.len())].concat())?;
    Ok(After::NextRequest)
}

fn part(stream: &mut dyn Stream, response: &Message, until: At) -> io::Result<()> {
    match until.position(&response.body) {
        None => Ok(()),
        Some(at) => send(stream, &[response.chunked_head(), response.chunks(at)].concat()),
    }
}

fn drip(stream: &mut dyn Stream, response: &Message) -> io::Result<After> {
    send(stream, &response.chunked_head())?;
    for byte in response.chunks(response.body.len()) {
        send(stream, &[byte])?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(After::NextRequest)
}

fn send(stream: &mut dyn Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

/// A response that no server gave.
fn ready(fault: &Fault) -> Vec<u8> {
    let Fault::Response(status, headers, body) = fault else { return Vec::new() };
    let mut wire = format!("HTTP/1.1 {status} As asked\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(wire, "{name}: {value}\r\n");
    }
    (wire + "\r\n" + body).into_bytes()
}

/// Nothing that it says is of interest, only that it ends.
fn wait_for_the_client_to_go(mut raw: &TcpStream) {
    let _ = io::copy(&mut raw, &mut io::sink());
}
