//! Entry point: arguments and environment in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    ExitCode::from(init_fetcher::main(&arguments, &|name| std::env::var(name).ok()))
}
