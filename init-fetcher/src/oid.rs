//! Object ids, which carry the hash algorithm of their repository.

pub use git2::{ObjectFormat, Oid};

/// Reads a full id: 40 (SHA-1) or 64 (SHA-256) hexadecimal digits.
pub fn parse(text: &[u8]) -> Option<Oid> {
    let format =
        [ObjectFormat::Sha1, ObjectFormat::Sha256].into_iter().find(|f| text.len() == 2 * size(*f))?;
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    Oid::from_str_ext(text, format).ok()
}

/// Bytes of an id.
pub fn size(format: ObjectFormat) -> usize {
    match format {
        ObjectFormat::Sha1 => 20,
        ObjectFormat::Sha256 => 32,
    }
}

/// The id that no object has.
pub fn zero(format: ObjectFormat) -> Oid {
    match format {
        ObjectFormat::Sha1 => Oid::ZERO_SHA1,
        ObjectFormat::Sha256 => Oid::ZERO_SHA256,
    }
}

/// The first twelve digits, for people.
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
        let long = format!("{full}{}", &full[..24]);
        let oid = parse(long.as_bytes()).unwrap();
        assert_eq!((oid.to_string(), oid.object_format()), (long, ObjectFormat::Sha256));
        for text in ["", "0123", &full[1..], "x123456789abcdef0123456789abcdef01234567"] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
