//! Entry point: arguments and environment in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    // Values that are not UTF-8 must not count as unset: U+FFFD stays in them, and they are rejected.
    let lookup = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    ExitCode::from(init_fetcher::main(&arguments, &lookup))
}
