//! Reads `.gitmodules`, in the syntax of git's configuration files. Nothing is included or expanded.

use std::collections::HashMap;

use super::{TreeError, name};

/// Largest file that is read, in bytes.
pub const MAX_SIZE: u64 = 1 << 20;

/// A file that git could not read either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of `.gitmodules` is malformed; correct it in the repository")]
pub struct Malformed {
    line: usize,
}

/// Reasons for not knowing what to fetch for a submodule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmoduleError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the repository's `.gitmodules` has no url for it; add it there")]
    NoUrl,
    #[error("the repository's `.gitmodules` is larger than {} bytes", MAX_SIZE)]
    TooLarge,
    #[error("it is never checked out (`update = none` in `.gitmodules`)")]
    NeverUpdated,
    #[error("its name contains that of the submodule `{other}`, so that one would be inside the other")]
    Nested { other: String },
}

/// A submodule as it is listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    pub name: String,
    pub path: String,
    pub url: String,
    /// True if it is never checked out (`update = none`).
    pub never_updated: bool,
}

impl Module {
    /// Checks that the name can be a path below `.git/modules`.
    ///
    /// # Errors
    /// [`TreeError::Unsafe`].
    pub fn check_name(&self) -> Result<(), TreeError> {
        let is_unsafe = |part: &str| name::unsafe_reason(part.as_bytes()).is_some();
        if self.name.contains(char::is_control) || self.name.split(['/', '\\']).any(is_unsafe) {
            let path = super::shown(self.name.as_bytes());
            return Err(TreeError::Unsafe { what: "a submodule of that name", path });
        }
        Ok(())
    }
}

/// Lists the submodules. Of values that are given more than once, the last one counts.
///
/// # Errors
/// [`Malformed`] with the line.
pub fn parse(bytes: &[u8]) -> Result<Vec<Module>, Malformed> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut parser = Parser { bytes, at: 0, line: 1 };
    let mut modules: Vec<Module> = Vec::new();
    let mut positions = HashMap::new();
    let mut current = None;
    while let Some(byte) = parser.next() {
        match byte {
            b'#' | b';' => parser.skip_comment(),
            b'[' => {
                let section = parser.section().ok_or(Malformed { line: parser.line })?;
                current = match section {
                    Section::Submodule(name) => Some(*positions.entry(name.clone()).or_insert_with(|| {
                        modules.push(Module { name, ..Module::default() });
                        modules.len() - 1
                    })),
                    Section::Other => None,
                };
            }
            byte if byte.is_ascii_whitespace() => {}
            byte if byte.is_ascii_alphabetic() => {
                let line = parser.line;
                let (key, value) = parser.variable(byte).ok_or(Malformed { line })?;
                if let Some(module) = current.and_then(|at: usize| modules.get_mut(at)) {
                    set(module, &key, value);
                }
            }
            _ => return Err(Malformed { line: parser.line }),
        }
    }
    Ok(modules)
}

fn set(module: &mut Module, key: &str, value: String) {
    match key {
        "path" => module.path = value,
        "url" => module.url = value,
        "update" => module.never_updated = value == "none",
        _ => {}
    }
}

enum Section {
    /// With the submodule's name.
    Submodule(String),
    Other,
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl Parser<'_> {
    /// Returns the next byte, a line break always as `\n`.
    fn next(&mut self) -> Option<u8> {
        let mut byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte == b'\r' && self.bytes.get(self.at) == Some(&b'\n') {
            self.at += 1;
            byte = b'\n';
        }
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    fn skip_comment(&mut self) {
        while self.next().is_some_and(|byte| byte != b'\n') {}
    }

    /// Reads a header after its `[`.
    fn section(&mut self) -> Option<Section> {
        let mut name = String::new();
        loop {
            match self.next()? {
                // The old form, `[submodule.NAME]`, in lower case.
                b']' => {
                    let name = name.strip_prefix("submodule.").map(str::to_owned);
                    return Some(name.map_or(Section::Other, Section::Submodule));
                }
                byte if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' => {
                    name.push(byte.to_ascii_lowercase().into());
                }
                b' ' | b'\t' => break,
                _ => return None,
            }
        }
        loop {
            match self.next()? {
                b' ' | b'\t' => {}
                b'"' => break,
                _ => return None,
            }
        }
        let mut subsection = Vec::new();
        loop {
            match self.next()? {
                b'\n' => return None,
                b'"' => break,
                b'\\' => match self.next()? {
                    b'\n' => return None,
                    byte => subsection.push(byte),
                },
                byte => subsection.push(byte),
            }
        }
        if self.next()? != b']' {
            return None;
        }
        let subsection = String::from_utf8(subsection).ok().filter(|_| name == "submodule");
        Some(subsection.map_or(Section::Other, Section::Submodule))
    }

    /// Reads a variable whose first byte is given; the key in lower case.
    fn variable(&mut self, first: u8) -> Option<(String, String)> {
        let mut key = String::from(char::from(first.to_ascii_lowercase()));
        let mut ended = false;
        loop {
            match self.next() {
                // Without a value it is a boolean, and none of ours is.
                None | Some(b'\n') => return Some((key, String::new())),
                Some(b'=') => break,
                Some(b' ' | b'\t') => ended = true,
                Some(byte) if !ended && (byte.is_ascii_alphanumeric() || byte == b'-') => {
                    key.push(byte.to_ascii_lowercase().into());
                }
                Some(_) => return None,
            }
        }
        let value = self.value()?;
        // Neither URLs nor paths that are not UTF-8 can be delivered.
        Some((key, String::from_utf8(value).unwrap_or_default()))
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        let mut quoted = false;
        // Length without white space at the end, which does not count outside of quotes.
        let mut length = 0;
        loop {
            match self.next() {
                None | Some(b'\n') if quoted => return None,
                None | Some(b'\n') => break,
                Some(b'#' | b';') if !quoted => {
                    self.skip_comment();
                    break;
                }
                Some(b'"') => {
                    quoted = !quoted;
                    length = value.len();
                }
                Some(b'\\') => {
                    match self.next() {
                        Some(b'\n') => continue,
                        Some(b'n') => value.push(b'\n'),
                        Some(b't') => value.push(b'\t'),
                        Some(b'b') => value.push(8),
                        Some(byte @ (b'"' | b'\\')) => value.push(byte),
                        _ => return None,
                    }
                    length = value.len();
                }
                Some(byte) if byte.is_ascii_whitespace() && !quoted => {
                    if !value.is_empty() {
                        value.push(byte);
                    }
                }
                Some(byte) => {
                    value.push(byte);
                    length = value.len();
                }
            }
        }
        value.truncate(length);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn module(name: &str, path: &str, url: &str) -> Module {
        Module { name: name.into(), path: path.into(), url: url.into(), never_updated: false }
    }

    const TEXT: &str = "# comment\n[core]\n\tpath = x\n[submodule \"a\"]\n\tpath = libs/a ; comment\r\n\turl = ../a.git\n\
        \tbranch = main\n[Submodule \"b \\\"c\\\" \\d\"] PATH = \"b  #c\" \n url=https://h/\\\n  x\n\n[submodule \"a\"]\nurl \
        = \" ./y\"   \n[submodule.Old]\npath=o\n[submodule \"n\"] update = none\n ignore\n";

    #[test]
    fn lists_submodules() {
        let modules = parse(TEXT.as_bytes()).unwrap();
        let mut none = module("n", "", "");
        none.never_updated = true;
        let expected = [
            module("a", "libs/a", " ./y"),
            module("b \"c\" d", "b  #c", "https://h/  x"),
            module("old", "o", ""),
            none,
        ];
        assert_eq!(modules, expected);
        assert_eq!(parse(b"").unwrap(), []);
    }

    #[test]
    fn values_are_those_that_git_reads() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gitmodules");
        std::fs::write(&file, TEXT).unwrap();
        let read = |key: &str| {
            let output = Command::new("git").arg("config").arg("-f").arg(&file).args(["--get", key]).output();
            let text = String::from_utf8(output.unwrap().stdout).unwrap();
            text.strip_suffix('\n').unwrap_or(&text).to_owned()
        };
        for module in parse(TEXT.as_bytes()).unwrap() {
            assert_eq!(module.path, read(&format!("submodule.{}.path", module.name)));
            assert_eq!(module.url, read(&format!("submodule.{}.url", module.name)));
        }
    }

    #[test]
    fn malformed_files_are_rejected_with_the_line() {
        for text in [
            "[submodule \"a]\n",
            "[submodule \"a\" x]\n",
            "[submodule\n",
            "[sub/module]\n",
            "=x\n",
            "[submodule \"a\"]\n\turl = \"x\n",
            "[submodule \"a\"]\n\turl = \\x\n",
            "[submodule \"a\"]\n\tu rl = x\n",
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.line <= 3, "{text:?}: {error}");
        }
        assert!(parse(b"\n\n=x").unwrap_err().to_string().contains("line 3"));
    }

    #[test]
    fn unsafe_names_are_rejected() {
        for name in ["", "..", "a/../b", "../x", ".git", "a/.GIT/hooks", "a//b", "a\\..\\b", "a\nb", "/a"] {
            assert!(module(name, "a", "b").check_name().is_err(), "{name:?}");
        }
        assert!(module("libs/a b", "a", "b").check_name().is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_in_a_list_or_an_error(text in "(\\[submodule \"|[a\"\\\\ =#;\\n\\r\\[\\].é]|url|path){0,40}") {
            if let Ok(modules) = parse(text.as_bytes()) {
                proptest::prop_assert!(modules.iter().map(|m| m.path.len() + m.url.len()).sum::<usize>() <= text.len());
            }
        }
    }
}
