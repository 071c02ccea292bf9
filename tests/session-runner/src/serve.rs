//! Serves the record and the platform's `POST /workflow` on the runner's port.

use std::io;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{self, Path};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::signal::unix::{SignalKind, signal};

use crate::record::{Post, Record};
use crate::workflow::{Source, update};

/// The port on which the platform's runners listen.
pub const PORT: u16 = 8001;

/// Header that must carry the runner's token; the fake operator has the same constant.
const TOKEN_HEADER: &str = "x-runner-token";

/// Configuration of a runner.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Directory of the workflows.
    pub directory: PathBuf,
    /// Token without which a POST is answered with 401; `None` accepts all.
    pub token: Option<String>,
    /// CA bundle of its `git clone`.
    pub ca: Option<PathBuf>,
}

type Shared = extract::State<Arc<Runner>>;

struct Runner {
    record: Record,
    settings: Settings,
    state: Mutex<RunnerState>,
}

#[derive(Default)]
struct RunnerState {
    posts: Vec<Post>,
    active: Source,
}

/// The runner's routes: `GET /healthz`, `/record`, `/posts`, `/active` (its `ACTIVE_WORKFLOW_*`), `/files/PATH` (a file
/// as it is now, byte for byte), and `POST /workflow`.
pub fn router(record: Record, settings: Settings) -> Router {
    let value = |name: &str| record.values.get(name).cloned().unwrap_or_default();
    let active = Source {
        git_url: value("ACTIVE_WORKFLOW_GIT_URL"),
        branch: value("ACTIVE_WORKFLOW_BRANCH"),
        path: value("ACTIVE_WORKFLOW_PATH"),
    };
    let runner = Runner { record, settings, state: Mutex::new(RunnerState { posts: Vec::new(), active }) };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/record", get(|extract::State(runner): Shared| async move { Json(runner.record.clone()) }))
        .route(
            "/posts",
            get(|extract::State(runner): Shared| async move { Json(state(&runner).posts.clone()) }),
        )
        .route(
            "/active",
            get(|extract::State(runner): Shared| async move { Json(state(&runner).active.clone()) }),
        )
        .route("/files/{*path}", get(file))
        .route("/workflow", post(workflow))
        .with_state(Arc::new(runner))
}

/// Serves until SIGTERM or SIGINT. As process 1 of its container it would ignore both without a handler.
pub async fn serve(router: Router) -> io::Result<()> {
    let stopped = stopped()?;
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", PORT)).await?;
    // The platform holds connections open: shutdown is forced.
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

fn state(runner: &Runner) -> MutexGuard<'_, RunnerState> {
    runner.state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn workflow(
    extract::State(runner): Shared,
    headers: HeaderMap,
    body: String,
) -> Result<&'static str, StatusCode> {
    state(&runner).posts.push(Post { path: "/workflow".to_owned(), body: body.clone() });
    let token = headers.get(TOKEN_HEADER).and_then(|token| token.to_str().ok());
    if runner.settings.token.is_some() && runner.settings.token.as_deref() != token {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let source: Source = serde_json::from_str(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    if state(&runner).active == source {
        return Ok("Workflow already active");
    }
    let (settings, wanted) = (runner.settings.clone(), source.clone());
    let updating =
        tokio::task::spawn_blocking(move || update(&settings.directory, settings.ca.as_deref(), &wanted));
    updating.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    // Also if the clone failed.
    state(&runner).active = source;
    Ok("Workflow updated")
}

async fn file(extract::State(runner): Shared, Path(path): Path<String>) -> impl IntoResponse {
    let below = FilePath::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
    if !below {
        return Err(StatusCode::BAD_REQUEST);
    }
    tokio::fs::read(runner.settings.directory.join(path)).await.map_err(|_| StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

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

    fn runner(root: &FilePath, token: Option<&str>) -> Router {
        let directory = root.join("workflows");
        fs::create_dir_all(&directory).unwrap();
        let token = token.map(str::to_owned);
        router(take(&directory, std::iter::empty()), Settings { directory, token, ca: None })
    }

    #[tokio::test]
    async fn record_is_of_the_start_and_files_are_current() {
        let root = tempfile::tempdir().unwrap();
        let router = runner(root.path(), None);
        fs::create_dir(root.path().join("workflows/flow")).unwrap();
        fs::write(root.path().join("workflows/flow/late"), "now").unwrap();

        let (_, record) = call(&router, "GET", "/record", "").await;
        assert_eq!(serde_json::from_str::<Record>(&record).unwrap().files, Some(Vec::new()));
        assert_eq!(call(&router, "GET", "/files/flow/late", "").await, (StatusCode::OK, "now".to_owned()));
        assert_eq!(call(&router, "GET", "/files/none", "").await.0, StatusCode::NOT_FOUND);
        assert_eq!(call(&router, "GET", "/files/..%2Fx", "").await.0, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn replaces_the_directory_and_keeps_it_when_the_clone_fails() {
        let root = tempfile::tempdir().unwrap();
        let router = runner(root.path(), None);
        let origin = root.path().join("flow.git");
        fs::create_dir(&origin).unwrap();
        fs::write(origin.join("README.md"), "# Flow\n").unwrap();
        let commit =
            "git init -q -b main && git add . && git -c user.name=a -c user.email=a@b commit -q -m 1";
        assert!(Command::new("sh").args(["-c", commit]).current_dir(&origin).status().unwrap().success());
        let body = |branch: &str| {
            serde_json::json!({ "gitUrl": format!("file://{}", origin.display()), "branch": branch })
                .to_string()
        };
        let ok = |text: &str| (StatusCode::OK, text.to_owned());

        let old = root.path().join("workflows/flow/old");
        fs::create_dir_all(old.parent().unwrap()).unwrap();
        fs::write(&old, "").unwrap();
        assert_eq!(call(&router, "POST", "/workflow", &body("main")).await, ok("Workflow updated"));
        assert_eq!(call(&router, "GET", "/files/flow/README.md", "").await, ok("# Flow\n"));
        assert!(!old.exists());
        assert_eq!(call(&router, "POST", "/workflow", &body("main")).await, ok("Workflow already active"));

        assert_eq!(call(&router, "POST", "/workflow", &body("none")).await, ok("Workflow updated"));
        assert_eq!(call(&router, "GET", "/files/flow/README.md", "").await, ok("# Flow\n"));
        let active: Source = serde_json::from_str(&call(&router, "GET", "/active", "").await.1).unwrap();
        assert_eq!(active.branch, "none");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "the clones are removed");
    }

    #[tokio::test]
    async fn records_posts_without_the_token_and_answers_401() {
        let root = tempfile::tempdir().unwrap();
        let router = runner(root.path(), Some("secret"));
        assert_eq!(call(&router, "POST", "/workflow", "{}").await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(call(&router, "GET", "/posts", "").await.1, r#"[{"path":"/workflow","body":"{}"}]"#);
    }
}
