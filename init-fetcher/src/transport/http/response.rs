//! Responses to requests: git protocol, and the messages of all others.

use std::io::{self, Cursor, Read};
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use ureq::http::HeaderMap;
use url::Url;
use workflow_contract::text;

use super::client::HttpResponse;
use super::error::broken;
use super::redirect::host_of;
use crate::protocol::pktline::server_message;
use crate::retry::parse_retry_after;
use crate::transport::TransportError;

/// Bytes that are read to recognize a response: more than an object id and what follows it.
const PEEKED: usize = 80;
/// Bytes that are read of a response to quote it.
const QUOTED: u64 = 8 << 10;

/// Body of a response, with its content encoding undone.
pub type Body = Box<dyn Read>;

/// Returns the body of a response that is git protocol. The content type is not compared: git accepts any.
pub fn open(response: HttpResponse, at: &Url) -> Result<Body, TransportError> {
    let host = host_of(at);
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let mut body = decoded(response, &host)?;
    if status != 200 {
        return Err(failed(status, &headers, host, body));
    }
    let peeked = peek(&mut body).map_err(|error| broken(&error, "at the start of a response"))?;
    match recognize(&peeked) {
        // Nothing at all under git's own content type is a response that ended early.
        BodyKind::Git => Ok(Box::new(Cursor::new(peeked).chain(body))),
        BodyKind::Empty if content_type(&headers).starts_with("application/x-git-") => Ok(body),
        BodyKind::Dumb => {
            let why = "only the smart HTTP protocol is supported, and it serves files (dumb HTTP)".into();
            Err(TransportError::NotGit { host, why })
        }
        BodyKind::Empty | BodyKind::Other => {
            let quoted = quoted(&headers, Box::new(Cursor::new(peeked).chain(body)));
            let kind = content_type(&headers);
            let kind =
                if kind.is_empty() { "no content type".into() } else { server_message(kind.as_bytes()) };
            Err(TransportError::NotGit { host, why: format!("it sent {kind}{quoted}") })
        }
    }
}

/// Undoes a content encoding that was not requested.
fn decoded(response: HttpResponse, host: &str) -> Result<Body, TransportError> {
    let encoding = header(response.headers(), "content-encoding").trim().to_ascii_lowercase();
    let body = response.into_body().into_reader();
    match encoding.as_str() {
        "" | "identity" => Ok(Box::new(body)),
        "gzip" | "x-gzip" => Ok(Box::new(MultiGzDecoder::new(body))),
        other => {
            let why =
                format!("it sent Content-Encoding: {} although none was requested", text::sanitize(other));
            Err(TransportError::NotGit { host: host.to_owned(), why })
        }
    }
}

fn failed(status: u16, headers: &HeaderMap, host: String, body: Body) -> TransportError {
    // A date is by the server's clock.
    let now = httpdate::parse_http_date(header(headers, "date")).unwrap_or_else(|_| SystemTime::now());
    let after = parse_retry_after(header(headers, "retry-after"), now);
    let mut words = quoted(headers, body);
    // Many pages only repeat the status.
    if words.trim_start_matches(": ").starts_with(&status.to_string()) {
        words = words.replacen(&format!("{status} "), "", 1);
    }
    match status {
        404 | 410 => TransportError::NotFound { host, words },
        _ => TransportError::Status { host, status, words, after },
    }
}

/// Returns the message in a response after `: `; empty if it has none.
pub fn quoted_response(response: HttpResponse) -> String {
    let headers = response.headers().clone();
    decoded(response, "").map_or_else(|_| String::new(), |body| quoted(&headers, body))
}

fn quoted(headers: &HeaderMap, body: Body) -> String {
    let mut bytes = Vec::new();
    // Bytes that cannot be read are not quoted.
    let _ = body.take(QUOTED).read_to_end(&mut bytes);
    let words = server_message(message_in(&content_type(headers), &bytes).as_bytes());
    let words = words.trim_end_matches('.');
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

/// Extracts the words of a response: an `ERR` line, a JSON message, a page's title, or plain text.
pub fn message_in(content_type: &str, bytes: &[u8]) -> String {
    let body = String::from_utf8_lossy(bytes);
    if let Some(words) = err_line(bytes) {
        return words;
    }
    let start = body.trim_start().to_ascii_lowercase();
    if content_type == "text/html" || start.starts_with("<!doctype") || start.starts_with("<html") {
        return of_page(&body);
    }
    if content_type.contains("json") {
        return json_message(bytes).unwrap_or_default();
    }
    if content_type == "text/plain" { body.trim().to_owned() } else { String::new() }
}

/// The words of an `ERR` line, wherever it is among pkt-lines.
fn err_line(bytes: &[u8]) -> Option<String> {
    let at = bytes.windows(4).position(|part| part == b"ERR ")?;
    let length = std::str::from_utf8(bytes.get(at.checked_sub(4)?..at)?).ok()?;
    let length = usize::from_str_radix(length, 16).ok()?.checked_sub(8)?;
    let words = &bytes[at + 4..];
    Some(String::from_utf8_lossy(&words[..length.min(words.len())]).trim().to_owned())
}

fn json_message(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let words = ["message", "error_description", "error", "detail"];
    words.iter().find_map(|name| value.get(name)?.as_str()).map(str::to_owned)
}

/// The title of a page and its text, without tags, scripts and styles.
fn of_page(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        text.push(' ');
        let tag = &rest[start..];
        let lower = tag.get(..8.min(tag.len())).unwrap_or_default().to_ascii_lowercase();
        let end = if lower.starts_with("<script") {
            tag.find("</script")
        } else if lower.starts_with("<style") {
            tag.find("</style")
        } else {
            None
        };
        let tag = &tag[end.unwrap_or(0)..];
        rest = tag.find('>').map_or("", |end| &tag[end + 1..]);
    }
    text.push_str(rest);
    let mut words: Vec<&str> = text.split_whitespace().collect();
    // A heading often repeats the title.
    let half = words.len() / 2;
    if half > 0 && words.len().is_multiple_of(2) && words[..half] == words[half..] {
        words.truncate(half);
    }
    words.join(" ").replace("&nbsp;", " ").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The content type without parameters, in lower case.
fn content_type(headers: &HeaderMap) -> String {
    let value = header(headers, "content-type");
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn peek(body: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut peeked = Vec::new();
    body.take(PEEKED as u64).read_to_end(&mut peeked).map(|_| peeked)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyKind {
    Git,
    /// A list of refs as a file: an id, a tab, a name.
    Dumb,
    Empty,
    Other,
}

fn recognize(start: &[u8]) -> BodyKind {
    let digits = start.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    match start.get(digits) {
        None if start.is_empty() => BodyKind::Empty,
        Some(b'\t') if matches!(digits, 40 | 64) => BodyKind::Dumb,
        _ if digits >= 4 => BodyKind::Git,
        _ => BodyKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_git_protocol_by_its_first_bytes() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        for (start, kind) in [
            ("001e# service=git-upload-pack\n0000", BodyKind::Git),
            ("000eversion 2\n", BodyKind::Git),
            ("0000", BodyKind::Git),
            (&format!("003f{id} refs/heads/main"), BodyKind::Git),
            (&format!("{id}\trefs/heads/main\n"), BodyKind::Dumb),
            (&format!("{id}{}\trefs/heads/main\n", &id[..24]), BodyKind::Dumb),
            ("", BodyKind::Empty),
            ("<!DOCTYPE html>", BodyKind::Other),
            ("abc", BodyKind::Other),
        ] {
            assert_eq!(recognize(start.as_bytes()), kind, "{start}");
        }
    }

    #[test]
    fn quotes_the_words_of_a_response() {
        for (kind, body, words) in [
            ("text/plain", "  no\n", "no"),
            (
                "application/x-git-upload-pack-result",
                "001dERR Internal server error",
                "Internal server error",
            ),
            (
                "application/x-git-upload-pack-advertisement",
                "001e# service=git-upload-pack\n00000021ERR the server is in maintenance",
                "the server is in maintena",
            ),
            (
                "text/html",
                "<html><head><title>Down</title><style>x{}</style></head><body>for <b>repair</b></body>",
                "Down for repair",
            ),
            ("", "<html><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1>", "502 Bad Gateway"),
            ("application/json", r#"{"message":"Not Found"}"#, "Not Found"),
            ("application/octet-stream", "\u{1}\u{2}", ""),
        ] {
            assert_eq!(message_in(kind, body.as_bytes()), words, "{kind}: {body}");
        }
    }
}
