//! Servers and networks that fail: each fault in each phase ends in its code, with a message that names the remedy,
//! and leaves nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::net::TcpListener;

use common::Fetch;
use common::fault_proxies::{for_all, plain_http_server};
use workflow_contract::Exit::{
    self, AuthenticationFailed, HostNotAllowed, RepositoryNotFound, ServerError, ServerUnreachable,
};
use workflow_git_server::FaultPosition::{Percent, Start};
use workflow_git_server::Phase::{Connect, Listing, Pack, Refs, Subtree};
use workflow_git_server::{Certificate, Fault, FaultProxy, GitServer, Phase, Repository, When};

/// Runs at a time: nearly all of their time is waiting between attempts.
const AT_A_TIME: usize = 32;
/// Attempts that the schedule allows.
const ALL: u32 = 5;

const TRY_LATER: &str = "try again later";
const NAMES_THE_NETWORK: &str = "network policy and proxy";
const CHECK_THE_URL: &str = "check the URL";
const DOUBTS_THE_WAY: &str = "on the way";

/// A fault that never passes, what it ends in, after how many attempts, and what is expected.
#[derive(Clone)]
struct Case {
    phase: Phase,
    fault: Fault,
    exit: Exit,
    attempts: u32,
    expected: [&'static str; 2],
    /// A directory, if only that passes the phase.
    path: &'static str,
}

fn case(phase: Phase, fault: Fault, exit: Exit, attempts: u32, expected: [&'static str; 2]) -> Case {
    Case { phase, fault, exit, attempts, expected, path: path_for(phase) }
}

fn path_for(phase: Phase) -> &'static str {
    if phase == Subtree { "flows" } else { "" }
}

fn check(repository: &Repository, server: &GitServer, case: &Case) {
    let Case { phase, fault, exit, attempts, expected, path } = case;
    let what = format!("{fault:?} in {phase:?}");
    let proxy =
        FaultProxy::start(server, Certificate::Good, vec![(*phase, When::Always, fault.clone())]).unwrap();
    let fetch = Fetch::through(&proxy, repository).path(path);
    let ended = fetch.run();
    let message = ended.expect(*exit);
    for words in expected {
        assert!(message.contains(words), "{what}: `{words}` is not in: {message}");
    }
    assert_eq!(ended.details().attempts, Some(*attempts), "{what}: {}", ended.stderr);
    if *attempts > 1 {
        assert!(message.ends_with(&format!(" (after {attempts} attempts)")), "{what}: {message}");
    }
    assert_eq!(fetch.residue(&[]), Vec::<String>::new(), "{what}");
}

fn html() -> Fault {
    Fault::Response(200, vec![("Content-Type", "text/html".into())], "<html>Please sign in</html>".into())
}

/// 429 with this `Retry-After`.
fn busy(after: &str) -> Fault {
    Fault::Response(429, vec![("Retry-After", after.into())], String::new())
}

/// Responses that are no help.
fn responses() -> Vec<Case> {
    let words =
        Fault::Response(503, vec![("Content-Type", "text/plain".into())], "come back\nlater\n".into());
    let mut cases = Vec::new();
    for phase in [Listing, Refs, Subtree, Pack] {
        cases.extend([
            case(phase, Fault::status(401), AuthenticationFailed, 1, ["needs credentials", "GITHUB_TOKEN"]),
            case(phase, Fault::status(403), AuthenticationFailed, 1, ["responded with 403", "GITHUB_TOKEN"]),
            case(phase, Fault::status(404), RepositoryNotFound, 1, ["no such repository", CHECK_THE_URL]),
            case(phase, busy("3600"), ServerError, 1, ["responded with 429", "in 3600 s"]),
            case(phase, html(), ServerError, 1, ["it sent text/html", CHECK_THE_URL]),
        ]);
    }
    for phase in [Listing, Pack] {
        cases.extend([
            case(phase, Fault::status(400), ServerError, 1, ["responded with 400", CHECK_THE_URL]),
            case(phase, Fault::status(408), ServerError, ALL, ["responded with 408", TRY_LATER]),
            case(phase, busy("1"), ServerError, ALL, ["responded with 429", TRY_LATER]),
            case(phase, Fault::status(500), ServerError, ALL, ["responded with 500", TRY_LATER]),
            case(phase, words.clone(), ServerError, ALL, [r"503: come back\nlater", TRY_LATER]),
        ]);
    }
    cases.extend([
        case(Refs, Fault::status(503), ServerError, ALL, ["responded with 503", TRY_LATER]),
        case(Subtree, Fault::status(503), ServerError, ALL, ["responded with 503", TRY_LATER]),
    ]);
    cases
}

/// Redirects that are not followed.
fn redirects() -> Vec<Case> {
    let round = Fault::redirect("?service=git-upload-pack");
    let plain = || Fault::redirect("http://127.0.0.1/x");
    let elsewhere = || Fault::redirect("https://localhost:1/x");
    let mut cases = vec![
        case(Listing, round, ServerError, 1, ["more than 5 times", CHECK_THE_URL]),
        case(Listing, plain(), HostNotAllowed, 1, ["http://127.0.0.1/x", "use the URL"]),
        case(Listing, Fault::redirect("ftp://h/x"), HostNotAllowed, 1, ["ftp://h/x", "use the URL"]),
        case(Listing, Fault::status(302), ServerError, 1, ["without a location", CHECK_THE_URL]),
    ];
    for phase in [Refs, Subtree, Pack] {
        for fault in [plain(), elsewhere()] {
            cases.push(case(phase, fault, ServerError, 1, ["never redirected", CHECK_THE_URL]));
        }
    }
    cases
}

/// Connections that break.
fn connections() -> Vec<Case> {
    let reset = ["connection reset", NAMES_THE_NETWORK];
    let closed = ["it closed the connection", NAMES_THE_NETWORK];
    // Within a response the HTTP library reports both alike.
    let early = ["ended early", DOUBTS_THE_WAY];
    let mut cases = vec![
        case(Refs, Fault::Reset(Start), ServerUnreachable, ALL, reset),
        case(Subtree, Fault::Close(Percent(50)), ServerError, ALL, early),
        case(Connect, Fault::Reset(Start), ServerUnreachable, ALL, reset),
        case(Connect, Fault::Close(Start), ServerUnreachable, ALL, closed),
    ];
    for phase in [Listing, Pack] {
        cases.extend([
            case(phase, Fault::Reset(Start), ServerUnreachable, ALL, reset),
            case(phase, Fault::Reset(Percent(50)), ServerError, ALL, early),
            case(phase, Fault::Close(Start), ServerUnreachable, ALL, closed),
            case(phase, Fault::Close(Percent(50)), ServerError, ALL, early),
            case(phase, Fault::Short(Percent(50)), ServerError, ALL, early),
        ]);
    }
    cases
}

/// Packs without the requested object.
fn packs(repository: &Repository) -> Vec<Case> {
    let other = repository.extend("main").branch("other").file("x", "y").create().unwrap();
    let other = || Fault::WantInstead(other.commit("other").unwrap());
    let review = repository.git(&["rev-parse", "main:flows/review"]).unwrap().trim().to_owned();
    let corrupt = ["sent a corrupt pack", "git fsck"];
    let missing = ["does not hold", "git fsck"];
    vec![
        case(Pack, Fault::Corrupt(Percent(50)), ServerError, ALL, corrupt),
        case(Subtree, Fault::Corrupt(Percent(50)), ServerError, ALL, corrupt),
        case(Pack, other(), ServerError, ALL, missing),
        case(Subtree, other(), ServerError, ALL, missing),
        // The tree of another directory.
        Case {
            path: "flows",
            ..case(Pack, Fault::WantInstead(review), ServerError, ALL, ["did not send object", "`"])
        },
    ]
}

#[test]
fn names_remedy_for_each_fault_in_each_phase() {
    let (server, repository) = plain_http_server();
    let cases = [responses(), redirects(), connections(), packs(&repository)].concat();
    for_all(&cases, AT_A_TIME, |case| check(&repository, &server, case));
}

#[test]
fn denies_redirect_to_a_host_outside_the_policy() {
    let (server, repository) = plain_http_server();
    let away = Fault::redirect("https://localhost:1/x");
    let proxy = FaultProxy::start(&server, Certificate::Good, vec![(Listing, When::Always, away)]).unwrap();
    let fetch = Fetch::through(&proxy, &repository).var("WORKFLOW_ALLOWED_HOSTS", "127.0.0.1");
    assert!(fetch.run().expect(HostNotAllowed).contains("redirects to https://localhost:1/x"));
}

#[test]
fn rejects_each_bad_certificate_at_once() {
    let (server, repository) = plain_http_server();
    let cases = [
        (Certificate::Expired, "has expired; it must be renewed"),
        (Certificate::OtherName, "is not for 127.0.0.1"),
        (Certificate::Good, "not trusted here; add the CA certificate as ca.crt"),
    ];
    for_all(&cases, AT_A_TIME, |(certificate, expected)| {
        let proxy = FaultProxy::start(&server, *certificate, Vec::new()).unwrap();
        let mut fetch = Fetch::through(&proxy, &repository);
        if *certificate == Certificate::Good {
            fetch = Fetch::untrusting(&proxy.url(repository.url()));
        }
        let ended = fetch.run();
        let message = ended.expect(Exit::TlsFailed);
        assert!(message.contains(expected), "{message}");
        assert_eq!(ended.details().attempts, Some(1));
        assert!(proxy.requests().is_empty());
    });
}

#[test]
fn names_port_that_does_not_speak_tls() {
    let (server, repository) = plain_http_server();
    let faults = vec![(Connect, When::Always, Fault::status(400))];
    let proxy = FaultProxy::start(&server, Certificate::Good, faults).unwrap();
    let ended = Fetch::through(&proxy, &repository).run();
    let message = ended.expect(ServerError);
    assert!(message.contains("does not speak TLS; check scheme and port of the URL"), "{message}");
    assert_eq!(ended.details().attempts, Some(1));
}

/// A run that ends in `exit` because of another host, and the message.
struct Absence {
    url: String,
    vars: Vec<(&'static str, String)>,
    exit: Exit,
    expected: String,
    advice: &'static str,
}

#[test]
fn names_unreachable_host_after_retries() {
    let (server, repository) = plain_http_server();
    let wants_a_token = vec![(Listing, When::Always, Fault::status(401))];
    let wants_a_token = FaultProxy::start(&server, Certificate::Good, wants_a_token).unwrap();
    let fails =
        FaultProxy::start(&server, Certificate::None, vec![(Connect, When::Always, Fault::status(503))]);
    let fails = fails.unwrap();
    // A port that was free a moment ago, and a name that never resolves (RFC 6761).
    let gone = &TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let no_name = "no-such-host.invalid:3128";
    let git = |at: &str, expected: &str, advice| Absence {
        url: format!("https://{at}/r"),
        vars: Vec::new(),
        exit: ServerUnreachable,
        expected: format!("{at} {expected}"),
        advice,
    };
    let proxy = |scheme: &str, variable, at: &str, expected: &str| Absence {
        url: format!("{scheme}://h/r"),
        vars: vec![(variable, format!("http://me:pr0xys3cret@{at}"))],
        exit: ServerUnreachable,
        expected: format!("the proxy {at} {expected}"),
        advice: "check HTTPS_PROXY and HTTP_PROXY",
    };
    let platform = |at: &str, exit, expected: &str, advice| Absence {
        url: wants_a_token.url(repository.url()),
        vars: vec![
            ("SSL_CERT_FILE", wants_a_token.ca_file().to_string_lossy().into_owned()),
            ("WORKFLOW_GITLAB_HOSTS", "127.0.0.1".into()),
            ("BACKEND_API_URL", format!("http://{at}/api")),
            ("PROJECT_NAME", "proj".into()),
            ("SESSION_NAME", "sess".into()),
            ("BOT_TOKEN", "b0ts3cret".into()),
        ],
        exit,
        expected: format!("the platform could not provide one (gitlab): {at} {expected}"),
        advice,
    };
    let (refused, unknown) =
        ("cannot be reached: connection refused", "cannot be reached: its name does not resolve");
    let cases = [
        git(gone, refused, NAMES_THE_NETWORK),
        git(no_name, "does not resolve", CHECK_THE_URL),
        proxy("https", "HTTPS_PROXY", gone, refused),
        proxy("http", "HTTP_PROXY", gone, refused),
        proxy("https", "HTTPS_PROXY", no_name, unknown),
        platform(gone, ServerUnreachable, refused, NAMES_THE_NETWORK),
        platform(&fails.address().to_string(), ServerError, "responded with 503", TRY_LATER),
    ];
    for_all(&cases, AT_A_TIME, |Absence { url, vars, exit, expected, advice }| {
        let fetch = Fetch::untrusting(url).var("WORKFLOW_ALLOWED_SCHEMES", "https,http");
        let ended = vars.iter().fold(fetch, |fetch, (name, value)| fetch.var(name, value)).run();
        let message = ended.expect(*exit);
        assert!(message.contains(expected) && message.contains(advice), "`{expected}` is not in: {message}");
        let attempts = if expected.contains("not resolve") { 2 } else { ALL };
        assert_eq!(ended.details().attempts, Some(attempts), "{message}");
        assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
    });
}
