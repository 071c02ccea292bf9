//! A proxy that delays every byte by half a round trip and counts round trips. (The kernel's netem is not on every
//! machine.)

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// A running proxy; it lasts as long as the process.
pub struct Delay {
    address: SocketAddr,
    flights: Arc<AtomicU32>,
    round_trip: Duration,
}

impl Delay {
    /// Starts one before a server.
    pub fn start(server: SocketAddr, round_trip: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((server.ip(), 0))?;
        let address = listener.local_addr()?;
        let flights = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&flights);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                connect(&client, &server, round_trip / 2, &counter);
            }
        });
        Ok(Self { address, flights, round_trip })
    }

    /// Returns the round-trip time.
    pub fn milliseconds(&self) -> u128 {
        self.round_trip.as_millis()
    }

    /// Returns the address for clients.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Starts counting anew.
    pub fn forget(&self) {
        self.flights.store(0, Ordering::SeqCst);
    }

    /// Returns the number of times that the client sent after the server, except the first: that is the handshake of TLS,
    /// whose end is sent with the first request.
    pub fn round_trips_after_tls(&self) -> u32 {
        self.flights.load(Ordering::SeqCst).saturating_sub(1)
    }
}

fn connect(client: &TcpStream, server: &TcpStream, late: Duration, flights: &Arc<AtomicU32>) {
    // True if the server sent last.
    let answered = Arc::new(AtomicBool::new(true));
    let (flights, requested) = (Arc::clone(flights), Arc::clone(&answered));
    forward(client, server, late, move || {
        if requested.swap(false, Ordering::SeqCst) {
            flights.fetch_add(1, Ordering::SeqCst);
        }
    });
    forward(server, client, late, move || answered.store(true, Ordering::SeqCst));
}

fn forward(from: &TcpStream, to: &TcpStream, late: Duration, mut on_bytes: impl FnMut() + Send + 'static) {
    let (mut from, mut to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    // Bounded by bytes on their way, as a network's buffers are, but generously.
    let (send, receive) = mpsc::sync_channel::<(Instant, Vec<u8>)>(1024);
    thread::spawn(move || {
        for (due, bytes) in receive {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            on_bytes();
            if send.send((Instant::now() + late, buffer[..read].to_vec())).is_err() {
                break;
            }
        }
    });
}
