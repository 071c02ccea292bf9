//! Removal of secrets from text that may be a URL.

/// Returns the text without what may be a secret.
///
/// In a URL that is everything before the last `@` of its authority. In a text that is not the URL of a repository it is
/// everything before the last `@`, and the contents of a query or a fragment.
#[must_use]
pub fn redacted(text: &str) -> String {
    if !text.contains(['@', '?', '#']) {
        return text.to_owned();
    }
    let (scheme, rest) = match text.find("://") {
        Some(at) => text.split_at(at + 3),
        None => ("", text),
    };
    // A password with a bare `/`, `?`, `#` or `\` ends the authority early: then the last `@` decides.
    let sound = !scheme.is_empty() && !rest.contains(['?', '#', '\\']) && ::url::Url::parse(text).is_ok();
    let end = if sound { rest.find('/').unwrap_or(rest.len()) } else { rest.len() };
    let shown = rest[..end].rfind('@').map_or(rest, |at| &rest[at + 1..]);
    // `[user@host:port]:path` stays readable.
    let scheme =
        if scheme.is_empty() && rest.starts_with('[') && shown.contains("]:") && !shown.starts_with('[') {
            "["
        } else {
            scheme
        };
    match shown.find(['?', '#']) {
        Some(at) => format!("{scheme}{}…", &shown[..=at]),
        None => format!("{scheme}{shown}"),
    }
}
