//! Open connections: which to accept, and which to close for it.
//!
//! Idle connections must not keep the API server out, because pods of sessions are denied while it
//! cannot reach the webhook. So the number of connections is limited, in all and for each address, and at a
//! limit the longest idle connection is closed in favour of the new one. A connection without a request is
//! idle, also during the TLS handshake and while a request's head arrives.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Largest numbers of open connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionLimits {
    /// Of all clients.
    pub(super) total: usize,
    pub(super) per_address: usize,
}

impl Default for ConnectionLimits {
    /// An API server keeps at most 25 idle connections per webhook (client-go), and opens more only for
    /// requests that run at the same time.
    fn default() -> Self {
        Self { total: 1024, per_address: 256 }
    }
}

/// The decision about a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AcceptDecision {
    Accept,
    /// Accept it and close another one.
    Replace(u64),
    Refuse,
}

#[derive(Debug)]
struct Open {
    address: IpAddr,
    /// None while a request is handled.
    idle_since: Option<Instant>,
    close: Arc<Notify>,
}

#[derive(Debug, Default)]
struct ConnectionTable {
    next_id: u64,
    open: BTreeMap<u64, Open>,
}

impl ConnectionTable {
    fn decide(&self, limits: ConnectionLimits, address: IpAddr) -> AcceptDecision {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for open in self.open.values() {
            *counts.entry(open.address).or_default() += 1;
        }
        let victim = if counts.get(&address).is_some_and(|count| *count >= limits.per_address) {
            self.longest_idle(|open| open.address == address)
        } else if self.open.len() < limits.total {
            return AcceptDecision::Accept;
        } else {
            // Of the addresses with an idle connection, the one with the most connections loses one.
            let idle = self.open.values().filter(|open| open.idle_since.is_some());
            let largest = idle.map(|open| open.address).max_by_key(|address| (counts[address], *address));
            largest.and_then(|largest| self.longest_idle(|open| open.address == largest))
        };
        victim.map_or(AcceptDecision::Refuse, AcceptDecision::Replace)
    }

    fn longest_idle(&self, of: impl Fn(&Open) -> bool) -> Option<u64> {
        let idle = self.open.iter().filter(|(_, open)| of(open));
        let idle = idle.filter_map(|(id, open)| Some((open.idle_since?, *id)));
        idle.min().map(|(_, id)| id)
    }
}

/// The open connections of one listener.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    limits: ConnectionLimits,
    table: Arc<Mutex<ConnectionTable>>,
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self { limits, table: Arc::default() }
    }

    /// Registers a connection, closing another one if necessary. Returns none if it is to be refused.
    pub(super) fn open(&self, address: IpAddr, now: Instant) -> Option<Connection> {
        // Over an IPv6 socket, IPv4 addresses are mapped ones.
        let address = address.to_canonical();
        let mut table = self.table();
        match table.decide(self.limits, address) {
            AcceptDecision::Refuse => return None,
            AcceptDecision::Accept => {}
            AcceptDecision::Replace(id) => {
                if let Some(closed) = table.open.remove(&id) {
                    tracing::debug!(address = %closed.address, "idle connection closed at the limit");
                    closed.close.notify_one();
                }
            }
        }
        let id = table.next_id;
        table.next_id += 1;
        let close = Arc::new(Notify::new());
        table.open.insert(id, Open { address, idle_since: Some(now), close: Arc::clone(&close) });
        Some(Connection { id, close, busy: AtomicBool::new(false), table: Arc::clone(&self.table) })
    }

    fn table(&self) -> MutexGuard<'_, ConnectionTable> {
        lock(&self.table)
    }
}

fn lock(table: &Mutex<ConnectionTable>) -> MutexGuard<'_, ConnectionTable> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One open connection; removed from the table when dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    close: Arc<Notify>,
    busy: AtomicBool,
    table: Arc<Mutex<ConnectionTable>>,
}

impl Connection {
    /// Records that a request begins (none) or since when the connection is idle.
    pub(super) fn set_idle(&self, idle_since: Option<Instant>) {
        self.busy.store(idle_since.is_none(), Ordering::Relaxed);
        if let Some(open) = lock(&self.table).open.get_mut(&self.id) {
            open.idle_since = idle_since;
        }
    }

    /// Returns whether a request is handled.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Waits until the connection is to be closed.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.table).open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits { total: 4, per_address: 3 };

    /// Connections as (address, seconds of idleness); none is busy. The id is the position.
    fn table(open: &[(u8, Option<u64>)]) -> ConnectionTable {
        let now = Instant::now() + Duration::from_secs(1000);
        let open = open.iter().zip(0..).map(|((address, idle), id)| {
            let idle_since = idle.and_then(|seconds| now.checked_sub(Duration::from_secs(seconds)));
            (id, Open { address: ip(*address), idle_since, close: Arc::default() })
        });
        ConnectionTable { next_id: 100, open: open.collect() }
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn closes_the_longest_idle_connection_at_a_limit() {
        use AcceptDecision::{Accept, Refuse, Replace};
        for (open, address, decision) in [
            (&[][..], 1, Accept),
            (&[(1, Some(9)), (1, Some(8))], 1, Accept),
            // At the limit of its address its own longest idle connection is closed.
            (&[(1, Some(1)), (1, Some(7)), (1, Some(3))], 1, Replace(1)),
            (&[(2, Some(99)), (1, None), (1, None), (1, Some(3))], 1, Replace(3)),
            (&[(1, None), (1, None), (1, None)], 1, Refuse),
            (&[(2, Some(99)), (1, None), (1, None), (1, None)], 1, Refuse),
            // At the total limit the address with the most connections loses one, not the longest idle one.
            (&[(2, Some(99)), (1, Some(5)), (1, Some(6)), (1, None)], 2, Replace(2)),
            (&[(2, Some(99)), (1, Some(5)), (1, Some(6)), (1, Some(1))], 3, Replace(2)),
            // An address without an idle connection loses none.
            (&[(2, Some(99)), (1, None), (1, None), (1, None)], 3, Replace(0)),
            (&[(2, None), (1, None), (1, None), (1, None)], 3, Refuse),
        ] {
            assert_eq!(table(open).decide(LIMITS, ip(address)), decision, "{open:?} {address}");
        }
    }

    #[test]
    fn mapped_ipv4_address_counts_as_the_address() {
        let connections = Connections::new(ConnectionLimits { total: 9, per_address: 1 });
        let now = Instant::now();
        let first = connections.open(ip(1), now).unwrap();
        first.set_idle(None);
        assert!(
            connections.open(std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().into(), now).is_none()
        );
        drop(first);
        assert!(connections.open(ip(1), now).is_some());
    }
}
