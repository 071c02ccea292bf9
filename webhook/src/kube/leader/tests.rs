//! Single decisions, and elections against a fake API server.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body as KubeBody;
use serde_json::{Value, json};

use super::*;

fn observed(holder: Option<&str>, since: Instant) -> Observed {
    Observed { holder: holder.map(str::to_owned), duration: LEASE_DURATION, version: Some("1".into()), since }
}

#[test]
fn acquires_only_a_free_or_expired_lease() {
    let start = Instant::now();
    let wait = |seconds| ElectionStep::Wait(Duration::from_secs(seconds));
    for (holder, age, expected) in [
        (None, 0, ElectionStep::Acquire),
        (Some(""), 0, ElectionStep::Acquire),
        (Some("me"), 0, ElectionStep::Renew),
        (Some("me"), 60, ElectionStep::Renew),
        (Some("other"), 0, wait(15)),
        (Some("other"), 14, wait(1)),
        (Some("other"), 15, ElectionStep::Acquire),
    ] {
        let now = start + Duration::from_secs(age);
        assert_eq!(step(Some(&observed(holder, start)), now, "me"), expected, "{holder:?} {age}");
    }
    assert_eq!(step(None, start, "me"), ElectionStep::Acquire);
}

#[test]
fn a_renewal_restarts_the_lease_duration() {
    let start = Instant::now();
    let later = start + Duration::from_secs(14);
    let lease = |version: &str| Lease {
        metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec { lease_duration_seconds: Some(15), ..LeaseSpec::default() }),
    };
    let first = observe(None, &lease("1"), start);
    assert_eq!(observe(Some(&first), &lease("1"), later).since, start);
    assert_eq!(observe(Some(&first), &lease("2"), later).since, later);
}

/// A fake API server with one Lease that checks the resourceVersion and can stop responding.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
    mute: bool,
}

fn respond(server: &Mutex<Server>, method: &Method, body: &[u8]) -> (StatusCode, Value) {
    let mut server = server.lock().unwrap();
    let failure = |status: StatusCode, reason: &str| {
        let code = status.as_u16();
        (
            status,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}),
        )
    };
    if method == Method::GET {
        return server
            .lease
            .clone()
            .map_or_else(|| failure(StatusCode::NOT_FOUND, "NotFound"), |lease| (StatusCode::OK, lease));
    }
    let mut lease: Value = serde_json::from_slice(body).unwrap();
    let on = lease["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    if server.lease.is_some() && on != Some(server.version.to_string()) {
        return failure(StatusCode::CONFLICT, "Conflict");
    }
    server.version += 1;
    lease["metadata"]["resourceVersion"] = json!(server.version.to_string());
    server.lease = Some(lease.clone());
    (StatusCode::OK, lease)
}

fn client(server: &Arc<Mutex<Server>>) -> Client {
    let server = Arc::clone(server);
    let service = tower::service_fn(move |request: Request<KubeBody>| {
        let server = Arc::clone(&server);
        async move {
            if server.lock().unwrap().mute {
                std::future::pending::<()>().await;
            }
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let (status, value) = respond(&server, &parts.method, &body);
            let response = Response::builder().status(status).body(Body::from(value.to_string()));
            Ok::<_, Infallible>(response.unwrap())
        }
    });
    Client::new(service, "default")
}

async fn reaches(receiver: &mut watch::Receiver<bool>, value: bool) {
    tokio::time::timeout(Duration::from_mins(2), receiver.wait_for(|leads| *leads == value))
        .await
        .expect("in time")
        .expect("the election goes on");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_the_lease_expires() {
    let server = Arc::new(Mutex::new(Server::default()));
    let (mut leads, _task) = spawn(client(&server), "ns", "a", std::future::pending());
    reaches(&mut leads, true).await;
    server.lock().unwrap().mute = true;
    let muted = Instant::now();
    reaches(&mut leads, false).await;
    assert!(muted.elapsed() < LEASE_DURATION, "{:?}", muted.elapsed());
    server.lock().unwrap().mute = false;
    reaches(&mut leads, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_acquired_at_once_and_a_lost_one_after_its_duration() {
    let server = Arc::new(Mutex::new(Server::default()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (mut first, task) = spawn(client(&server), "ns", "a", async {
        let _ = stopped.await;
    });
    reaches(&mut first, true).await;
    let (mut second, other) = spawn(client(&server), "ns", "b", std::future::pending());
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(*first.borrow() && !*second.borrow(), "one leads");

    stop.send(()).unwrap();
    task.await.unwrap();
    let released = Instant::now();
    reaches(&mut second, true).await;
    assert!(released.elapsed() <= RETRY_PERIOD * 2, "{:?}", released.elapsed());

    other.abort();
    let _ = other.await;
    let lost = Instant::now();
    let (mut third, _task) = spawn(client(&server), "ns", "c", std::future::pending());
    reaches(&mut third, true).await;
    assert!(lost.elapsed() >= LEASE_DURATION, "{:?}", lost.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_stops_when_another_took_the_lease() {
    let server = Arc::new(Mutex::new(Server::default()));
    let (mut leads, _task) = spawn(client(&server), "ns", "a", std::future::pending());
    reaches(&mut leads, true).await;
    {
        let mut server = server.lock().unwrap();
        server.version += 1;
        let version = server.version.to_string();
        let lease = server.lease.as_mut().unwrap();
        lease["spec"]["holderIdentity"] = json!("b");
        lease["metadata"]["resourceVersion"] = json!(version);
    }
    let taken = Instant::now();
    reaches(&mut leads, false).await;
    assert!(taken.elapsed() <= RETRY_PERIOD, "{:?}", taken.elapsed());
}
