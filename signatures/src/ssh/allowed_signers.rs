//! OpenSSH's `allowed_signers` (ssh-keygen(1), ALLOWED SIGNERS), read strictly: a line that cannot be used is an error.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;
use workflow_contract::text;

use crate::error::SignersError;
use crate::pattern::list_matches;

/// Name of the list in config.yaml.
const SSH_SIGNERS: &str = "sshSigners";
const SSH_REVOKED_KEYS: &str = "sshRevokedKeys";

/// One line: who may sign with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSigner {
    pub line: usize,
    /// Comma-separated patterns.
    pub principals: String,
    /// True if the key signs certificates of signers instead of content.
    pub is_authority: bool,
    /// Comma-separated patterns; every namespace if absent.
    pub namespaces: Option<String>,
    /// Unix seconds, inclusive.
    pub valid_after: Option<i64>,
    /// Unix seconds, inclusive.
    pub valid_before: Option<i64>,
    pub key: KeyData,
}

impl AllowedSigner {
    /// Reports whether the key may sign in a namespace.
    pub fn allows(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|list| list_matches(list, namespace))
    }

    /// Returns why the key must not be used at this time, if so.
    pub fn objection(&self, time: i64) -> Option<String> {
        match (self.valid_after, self.valid_before) {
            (Some(after), _) if time < after => {
                Some(format!("is valid only after {}, and signed {}", date(after), date(time)))
            }
            (_, Some(before)) if time > before => {
                Some(format!("is valid only before {}, and signed {}", date(before), date(time)))
            }
            _ => None,
        }
    }
}

/// Parses `allowed_signers`.
///
/// # Errors
/// [`SignersError::Line`] with the number of the line, or [`SignersError::NoKey`].
pub fn parse(list: &str) -> Result<Vec<AllowedSigner>, SignersError> {
    let signers = lines(list, SSH_SIGNERS, signer)?;
    if signers.is_empty() { Err(SignersError::NoKey { list: SSH_SIGNERS }) } else { Ok(signers) }
}

/// Parses public keys, one a line, that are not trusted any more.
///
/// # Errors
/// [`SignersError::Line`] with the number of the line.
pub fn parse_revoked(list: &str) -> Result<Vec<KeyData>, SignersError> {
    lines(list, SSH_REVOKED_KEYS, |text, _| key(text))
}

fn lines<T>(
    list: &str,
    name: &'static str,
    parse: impl Fn(&str, usize) -> Result<T, String>,
) -> Result<Vec<T>, SignersError> {
    let numbered = list.lines().enumerate().map(|(at, text)| (at + 1, text.trim()));
    numbered
        .filter(|(_, text)| !text.is_empty() && !text.starts_with('#'))
        .map(|(line, text)| parse(text, line).map_err(|why| SignersError::Line { list: name, line, why }))
        .collect()
}

/// Parses `PRINCIPALS [OPTIONS] KIND KEY [COMMENT]`.
fn signer(text: &str, line: usize) -> Result<AllowedSigner, String> {
    let (principals, rest) = word(text)?;
    let principals = principals.trim_matches('"');
    if principals.is_empty() || rest.is_empty() {
        return Err("write PRINCIPALS, options if any, and a public key".to_owned());
    }
    let mut signer = AllowedSigner {
        line,
        principals: principals.to_owned(),
        is_authority: false,
        namespaces: None,
        valid_after: None,
        valid_before: None,
        // Replaced below.
        key: KeyData::Ed25519(ssh_key::public::Ed25519PublicKey([0; 32])),
    };
    let (first, after) = word(rest)?;
    let key_text = if is_key_kind(first) {
        rest
    } else {
        options(first, &mut signer)?;
        after
    };
    signer.key = key(key_text)?;
    if let (Some(after), Some(before)) = (signer.valid_after, signer.valid_before)
        && after >= before
    {
        return Err("its valid-after is not before its valid-before".to_owned());
    }
    Ok(signer)
}

/// Splits off the first word; white space within double quotes does not end it.
fn word(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return Ok((&text[..at], text[at..].trim_start())),
            _ => {}
        }
    }
    if quoted { Err("a quotation mark is not closed".to_owned()) } else { Ok((text, "")) }
}

fn is_key_kind(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start)) && !word.contains(['=', ','])
}

fn options(text: &str, signer: &mut AllowedSigner) -> Result<(), String> {
    let mut rest = text;
    while !rest.is_empty() {
        let end = end_of_option(rest);
        let (option, after) = rest.split_at(end);
        rest = after.strip_prefix(',').unwrap_or(after);
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, value.strip_prefix('"').and_then(|v| v.strip_suffix('"'))),
            None => (option, None),
        };
        let time = || {
            value
                .and_then(time_of)
                .ok_or_else(|| format!("{name} is not like \"20260131\" or \"202601311200Z\""))
        };
        match (name.to_ascii_lowercase().as_str(), value) {
            ("cert-authority", None) if option == name => signer.is_authority = true,
            ("namespaces", Some(list)) if signer.namespaces.is_none() => {
                signer.namespaces = Some(list.to_owned());
            }
            ("valid-after", Some(_)) if signer.valid_after.is_none() => signer.valid_after = Some(time()?),
            ("valid-before", Some(_)) if signer.valid_before.is_none() => signer.valid_before = Some(time()?),
            _ => {
                return Err(format!(
                    "the option `{}` is unknown, repeated or without a quoted value",
                    text::sanitize(option)
                ));
            }
        }
    }
    Ok(())
}

/// Returns where an option ends: at a comma outside of quotation marks.
fn end_of_option(text: &str) -> usize {
    let mut quoted = false;
    text.char_indices()
        .find(|(_, c)| {
            quoted ^= *c == '"';
            *c == ',' && !quoted
        })
        .map_or(text.len(), |(at, _)| at)
}

/// Parses `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, with or without `Z`: UTC in either case, as in a container.
fn time_of(text: &str) -> Option<i64> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    if !digits.bytes().all(|b| b.is_ascii_digit()) || ![8, 12, 14].contains(&digits.len()) {
        return None;
    }
    let padded = format!("{digits:0<14}");
    let time = DateTime::strptime("%Y%m%d%H%M%S", padded).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// Formats Unix seconds as a date and a time.
pub fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Parses `KIND KEY [COMMENT]`.
fn key(text: &str) -> Result<KeyData, String> {
    let mut words = text.split_ascii_whitespace();
    let (kind, data) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if kind.contains("-cert-v01@") {
        return Err(
            "it has a certificate; write the key of its CA, with the option cert-authority".to_owned()
        );
    }
    let key = PublicKey::from_openssh(&format!("{kind} {data}"))
        .map_err(|_| format!("`{}` and what follows is not a public key", text::sanitize(kind)))?;
    match key.key_data() {
        KeyData::Dsa(_) | KeyData::Other(_) => {
            Err(format!("keys of type {} are not supported", text::sanitize(kind)))
        }
        data => Ok(data.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn one(line: &str) -> AllowedSigner {
        parse(line).unwrap().remove(0)
    }

    #[test]
    fn reads_every_form_of_a_line() {
        let list = format!(
            "# comment\n\n  a@b {KEY} with a comment\n\"a b,*@c\" namespaces=\"git,file\" {KEY}\r\n\
             * cert-authority,valid-after=\"20260101\",valid-before=\"20260201120000Z\" {KEY}\n"
        );
        let signers = parse(&list).unwrap();
        assert_eq!(signers.iter().map(|s| s.line).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(signers[0].principals, "a@b");
        assert_eq!(
            (signers[1].principals.as_str(), signers[1].namespaces.as_deref()),
            ("a b,*@c", Some("git,file"))
        );
        assert!(signers[2].is_authority && !signers[1].is_authority);
        assert_eq!(
            (signers[2].valid_after, signers[2].valid_before),
            (Some(1_767_225_600), Some(1_769_947_200))
        );
    }

    #[test]
    fn rejects_lines_that_cannot_be_used_with_their_number() {
        for (line, why) in [
            (KEY, "write PRINCIPALS"),
            ("a@b", "write PRINCIPALS"),
            ("a@b ssh-ed25519 AAAA", "not a public key"),
            ("a@b ssh-dss AAAA", "not a public key"),
            (&format!("a@b no-such-option {KEY}"), "`no-such-option` is unknown"),
            (&format!("a@b namespaces=git {KEY}"), "without a quoted value"),
            (&format!("a@b namespaces=\"git {KEY}"), "not closed"),
            (&format!("a@b namespaces=\"a\",namespaces=\"b\" {KEY}"), "repeated"),
            (&format!("a@b cert-authority=\"x\" {KEY}"), "unknown"),
            (&format!("a@b valid-after=\"2026\" {KEY}"), "valid-after is not like"),
            (&format!("a@b valid-before=\"20261301\" {KEY}"), "valid-before is not like"),
            (&format!("a@b valid-after=\"20260201\",valid-before=\"20260101\" {KEY}"), "not before"),
            ("a@b ssh-ed25519-cert-v01@openssh.com AAAA", "certificate"),
        ] {
            let error = parse(&format!("# comment\n{line}\n")).unwrap_err().to_string();
            // The first line above is a key in place of principals.
            let expected = if line == KEY { "is unknown" } else { why };
            assert!(
                error.starts_with("line 2 of sshSigners: ") && error.contains(expected),
                "{line}: {error}"
            );
        }
        assert_eq!(parse("# none\n"), Err(SignersError::NoKey { list: "sshSigners" }));
        assert!(parse_revoked("").unwrap().is_empty());
        assert_eq!(parse_revoked(&format!("{KEY} x\n#\n")).unwrap().len(), 1);
    }

    #[test]
    fn objects_to_other_namespaces_and_times() {
        let signer =
            one(&format!("a namespaces=\"gi?\",valid-after=\"20260101\",valid-before=\"20260201\" {KEY}"));
        assert!(signer.allows("git") && !signer.allows("file"));
        let (first, last) = (1_767_225_600, 1_769_904_000);
        for (time, why) in [
            (first, None),
            (last, None),
            (first - 1, Some("is valid only after 2026-01-01T00:00:00Z, and signed 2025-12-31T23:59:59Z")),
            (last + 1, Some("is valid only before 2026-02-01T00:00:00Z, and signed 2026-02-01T00:00:01Z")),
        ] {
            assert_eq!(signer.objection(time).as_deref(), why);
        }
    }
}
