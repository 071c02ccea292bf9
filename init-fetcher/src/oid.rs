//! Object ids as the protocol writes them.

pub use git2::Oid;

/// Reads 40 hexadecimal digits.
pub fn parse(text: &[u8]) -> Option<Oid> {
    let text = std::str::from_utf8(text).ok()?;
    let full = text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if full { Oid::from_str(text).ok() } else { None }
}

/// The first twelve digits, as people quote them.
pub fn short(oid: Oid) -> String {
    let mut text = oid.to_string();
    text.truncate(12);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_ids_are_read() {
        let full = "0123456789abcdef0123456789abcdef01234567";
        let oid = parse(full.as_bytes()).unwrap();
        assert_eq!(oid.to_string(), full);
        assert_eq!(short(oid), "0123456789ab");
        for text in ["", "0123", &full[1..], "x123456789abcdef0123456789abcdef01234567"] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
