//! Responses of HTTP servers that git understands although they are unusual, and the words of those that fail.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use common::{Ended, Fetch};
use flate2::Compression;
use flate2::write::GzEncoder;
use workflow_contract::Exit;

/// A response: what follows `HTTP/1.1 `, header lines, body.
type Response = (&'static str, &'static [&'static str], Vec<u8>);

/// Serves `info/refs`, `ls-refs` and `fetch` over plain http; gives the URL of a repository.
fn serve(responses: [Response; 3]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/acme/flow", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that has what it needs hangs up.
            let _ = response(&stream, &responses);
        }
    });
    url
}

fn response(mut stream: &TcpStream, responses: &[Response; 3]) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    let mut first = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if first.is_empty() {
            first.clone_from(&line);
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let fetch = body.windows(13).any(|part| part == b"command=fetch");
    let (status, headers, body) = &responses[usize::from(first.starts_with("POST")) + usize::from(fetch)];
    let headers: String = headers.iter().flat_map(|header| [*header, "\r\n"]).collect();
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())
}

fn run(responses: [Response; 3], branch: &str) -> Ended {
    Fetch::untrusting(&serve(responses))
        .branch(branch)
        .var("WORKFLOW_ALLOWED_SCHEMES", "http")
        .var("WORKFLOW_TIMEOUT", "3s")
        .run()
}

fn only(status: &'static str, headers: &'static [&'static str], body: &[u8]) -> [Response; 3] {
    let other = || ("404 Not Found", &[][..], Vec::new());
    [(status, headers, body.to_vec()), other(), other()]
}

/// The advertisement of an empty repository over protocol v0, as git before 2.41 sends it.
const EMPTY: &[u8] = b"001e# service=git-upload-pack\n00000000";

#[test]
fn accepts_git_protocol_under_any_content_type() {
    let types: [&'static [&'static str]; 6] = [
        &["Content-Type: application/x-git-upload-pack-advertisement"],
        &["Content-Type: application/x-git-upload-pack-advertisement; charset=utf-8"],
        &["Content-Type: Application/X-Git-Upload-Pack-Advertisement"],
        &["Content-Type: text/plain"],
        &["Content-Type: text/html"],
        &[],
    ];
    for headers in types {
        let ended = run(only("200 OK", headers, EMPTY), "main");
        assert!(ended.expect(Exit::RefNotFound).contains("the repository is empty"), "{}", ended.message);
    }
}

#[test]
fn decodes_gzip_that_was_not_requested_and_names_other_encodings() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(EMPTY).unwrap();
    let body = encoder.finish().unwrap();
    run(only("200 OK", &["Content-Encoding: gzip"], &body), "main").expect(Exit::RefNotFound);
    let ended = run(only("200 OK", &["Content-Encoding: br"], b"xxxxxxxx"), "main");
    assert!(ended.expect(Exit::ServerError).contains("Content-Encoding: br"), "{}", ended.message);
}

#[test]
fn rejects_dumb_http_at_once() {
    let refs = b"0123456789abcdef0123456789abcdef01234567\trefs/heads/main\n";
    let ended = run(only("200 OK", &["Content-Type: text/plain"], refs), "main");
    assert!(ended.expect(Exit::ServerError).contains("only the smart HTTP protocol is supported"));
    assert_eq!(ended.details().attempts, Some(1));
}

#[test]
fn quotes_messages_of_failing_servers() {
    let page = b"<html><head><title>Maintenance</title></head><body>back at noon</body></html>";
    let cases: [(&'static str, &'static [&'static str], &[u8], &str); 4] = [
        (
            "503 Service Unavailable",
            &["Content-Type: text/html; charset=utf-8"],
            page,
            "Maintenance back at noon",
        ),
        (
            "500 Internal Server Error",
            &["Content-Type: application/x-git-upload-pack-result"],
            b"000dERR broken",
            "broke",
        ),
        ("500 Internal Server Error", &["Content-Type: text/plain"], b"out of memory", "out of memory"),
        (
            "400 Bad Request",
            &["Content-Type: application/json"],
            b"{\"message\": \"no such thing\"}",
            "no such thing",
        ),
    ];
    for (status, headers, body, words) in cases {
        let ended = run(only(status, headers, body), "main");
        assert!(ended.expect(Exit::ServerError).contains(words), "{}", ended.message);
    }
}

#[test]
fn names_unlisted_commit_that_may_be_missing_after_server_error() {
    let capabilities = b"000eversion 2\n0013agent=JGit/7.1\n0012fetch=shallow\n0000";
    let failures: [(Response, &str); 2] = [
        (
            ("500 Internal Server Error", &[], b"001dERR Internal server error".to_vec()),
            "Internal server error",
        ),
        (("200 OK", &["Content-Type: application/x-git-upload-pack-result"], Vec::new()), "ended early"),
    ];
    for (failure, words) in failures {
        let responses: [Response; 3] =
            [("200 OK", &[], capabilities.to_vec()), ("200 OK", &[], b"0000".to_vec()), failure];
        let ended = run(responses, &"1".repeat(40));
        let message = ended.expect(Exit::ServerError);
        assert!(message.contains(words) && message.contains("it may not exist"), "{message}");
    }
}
