//! Output of the demo: headings, and lines with the time since an act began.

use std::io::{self, Write};
use std::time::Duration;

pub(super) struct Screen<'a> {
    out: &'a mut (dyn Write + Send),
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a mut (dyn Write + Send)) -> Self {
        Self { out }
    }

    pub(super) fn heading(&mut self, text: &str) -> io::Result<()> {
        write!(self.out, "\n{text}\n\n")?;
        self.out.flush()
    }

    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "  {text}")?;
        self.out.flush()
    }

    /// Prints an event with the time since the part began.
    pub(super) fn at(&mut self, elapsed: Duration, text: &str) -> io::Result<()> {
        self.line(&format!("{:>6.2} s  {text}", elapsed.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_lines_with_times_of_any_length() {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out);
        screen.at(Duration::from_millis(40), "a").unwrap();
        screen.at(Duration::from_millis(12_345), "b").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "    0.04 s  a\n   12.35 s  b\n");
    }
}
