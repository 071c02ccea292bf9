//! Sanitizing of text from elsewhere for messages: one line, no control characters, truncated.

/// Maximum length of sanitized text (a ref name, a server's message), in bytes.
pub const SANITIZED_MAX: usize = 200;

/// Reports whether a character could break a line, hide text or reorder it in a terminal or a web page.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes control, line-breaking and direction-changing characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unprintable(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Truncates to at most `max` bytes, between characters, with `…` in place of what is cut.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    const MARK: char = '…';
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max.saturating_sub(MARK.len_utf8()));
    let mut out = text[..end].to_owned();
    if max >= MARK.len_utf8() {
        out.push(MARK);
    }
    out
}

/// Prepares text from elsewhere for a message: one line, at most [`SANITIZED_MAX`] bytes.
#[must_use]
pub fn sanitize(text: &str) -> String {
    cut(&one_line(text), SANITIZED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_characters_that_break_lines_or_reorder_text() {
        assert_eq!(one_line("a\nb\r\tc\0"), r"a\nb\r\tc\u{0}");
        assert_eq!(one_line("x\u{202e}y\u{2028}z\u{85}"), r"x\u{202e}y\u{2028}z\u{85}");
        assert_eq!(one_line("Größe ✓"), "Größe ✓");
    }

    #[test]
    fn cuts_between_characters_and_never_above_the_limit() {
        assert_eq!(cut("short", 10), "short");
        assert_eq!(cut("äääääää", 8), "ää…");
        for max in 0..20 {
            assert!(cut("ä→𝄞 some text that is long", max).len() <= max);
        }
        assert_eq!(sanitize(&"x".repeat(1000)).len(), SANITIZED_MAX);
    }
}
