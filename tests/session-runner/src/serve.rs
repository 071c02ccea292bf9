//! Serves the record, and takes the platform's POSTs, on the runner's port.

use std::io;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use tokio::signal::unix::{SignalKind, signal};

use crate::record::{Post, Record};

/// The port on which the platform's runners listen.
pub const PORT: u16 = 8001;

struct Runner {
    record: Record,
    directory: PathBuf,
    posts: Mutex<Vec<Post>>,
}

/// The runner's routes: `GET /healthz`, `/record`, `/posts`, `/files/PATH` (a file as it is now, byte for byte), and
/// POST to any path, which is answered with 200 and remembered.
pub fn router(record: Record, directory: &FilePath) -> Router {
    let runner = Runner { record, directory: directory.to_owned(), posts: Mutex::default() };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/record", get(|State(runner): State<Arc<Runner>>| async move { Json(runner.record.clone()) }))
        .route("/posts", get(|State(runner): State<Arc<Runner>>| async move { Json(posts(&runner).clone()) }))
        .route("/files/{*path}", get(file))
        .fallback(any(remember))
        .with_state(Arc::new(runner))
}

/// Serves until SIGTERM or SIGINT. As process 1 of its container it would ignore both without a handler.
pub async fn serve(router: Router) -> io::Result<()> {
    let stopped = stopped()?;
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", PORT)).await?;
    // The platform holds connections open; what is under way at the end is of no interest.
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served,
        () = stopped => Ok(()),
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn until_stopped() -> io::Result<()> {
    stopped()?.await;
    Ok(())
}

/// Completes on SIGTERM or SIGINT; the handlers are in place once this returns.
fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}

fn posts(runner: &Runner) -> MutexGuard<'_, Vec<Post>> {
    runner.posts.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn remember(State(runner): State<Arc<Runner>>, method: Method, uri: Uri, body: String) -> StatusCode {
    if method != Method::POST {
        return StatusCode::NOT_FOUND;
    }
    posts(&runner).push(Post { path: uri.path().to_owned(), body });
    StatusCode::OK
}

async fn file(State(runner): State<Arc<Runner>>, Path(path): Path<String>) -> impl IntoResponse {
    let below = FilePath::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
    if !below {
        return Err(StatusCode::BAD_REQUEST);
    }
    tokio::fs::read(runner.directory.join(path)).await.map_err(|_| StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::record::take;

    async fn call(router: &Router, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_record_is_of_the_start_and_files_are_of_now() {
        let directory = tempfile::tempdir().unwrap();
        let router = router(take(directory.path(), std::iter::empty()), directory.path());
        std::fs::create_dir(directory.path().join("flow")).unwrap();
        std::fs::write(directory.path().join("flow/late"), "now").unwrap();

        let (_, record) = call(&router, "GET", "/record", "").await;
        assert_eq!(serde_json::from_str::<Record>(&record).unwrap().files, Some(Vec::new()));
        assert_eq!(call(&router, "GET", "/files/flow/late", "").await, (StatusCode::OK, "now".to_owned()));
        assert_eq!(call(&router, "GET", "/files/none", "").await.0, StatusCode::NOT_FOUND);
        assert_eq!(call(&router, "GET", "/files/..%2Fx", "").await.0, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn remembers_every_post() {
        let directory = tempfile::tempdir().unwrap();
        let router = router(take(directory.path(), std::iter::empty()), directory.path());
        assert_eq!(call(&router, "GET", "/posts", "").await.1, "[]");
        assert_eq!(call(&router, "POST", "/workflow", "{}").await.0, StatusCode::OK);
        assert_eq!(call(&router, "GET", "/workflow", "").await.0, StatusCode::NOT_FOUND);
        let (_, posts) = call(&router, "GET", "/posts", "").await;
        assert_eq!(posts, r#"[{"path":"/workflow","body":"{}"}]"#);
    }
}
