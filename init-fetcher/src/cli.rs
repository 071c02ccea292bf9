//! The command line: there is none but `--help` and `--version`. Everything is in the environment, where
//! secrets do not show in a list of processes.

use workflow_contract::text;

/// The work that the arguments request.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// No arguments: deliver.
    Deliver,
    /// Print this and end.
    Print(String),
    /// Print this error and end.
    Reject(String),
}

/// Reads the arguments, without the program's name. Pure.
pub fn read(arguments: &[String]) -> Invocation {
    match arguments {
        [] => Invocation::Deliver,
        [only] if matches!(only.as_str(), "--help" | "-h" | "help") => Invocation::Print(help()),
        [only] if matches!(only.as_str(), "--version" | "-V") => {
            Invocation::Print(format!("init-fetcher {}\n", env!("CARGO_PKG_VERSION")))
        }
        [first, ..] => Invocation::Reject(format!(
            "init-fetcher takes no argument `{}`: everything is set by environment variables, see --help",
            text::sanitize(first)
        )),
    }
}

fn help() -> String {
    format!("init-fetcher {}\n{HELP}", env!("CARGO_PKG_VERSION"))
}

const HELP: &str = "\
Puts a git repository, or a directory of it, on disk: verified, and published in one step.

Usage: WORKFLOW_GIT_URL=https://host/owner/repository.git init-fetcher

It takes no arguments. Environment variables (empty counts as unset):

  WORKFLOW_GIT_URL          repository: https://, ssh:// or user@host:path, http:// where allowed.
                            Userinfo in it is used for its host only and shown nowhere. Required
  WORKFLOW_BRANCH           a branch; else a tag; else a full commit id; or refs/..., HEAD [main]
  WORKFLOW_PATH             directory inside the repository [the whole repository]
  WORKFLOW_ROOT             published to <root>/<last part of the URL without .git>
                            [/workspace/workflows]
  WORKFLOW_TIMEOUT          wall-clock limit for everything, such as 90s [120s]
  WORKFLOW_MAX_BYTES        limit on what is received and on what is written [512Mi]
  WORKFLOW_MAX_FILES        limit on the number of files [100000]
  WORKFLOW_ALLOWED_HOSTS    exact names or *.suffix, comma-separated [all]
  WORKFLOW_ALLOWED_SCHEMES  comma-separated [https,ssh]
  WORKFLOW_SIGNERS          who must have signed the commit or tag, as JSON: require (commit, tag or
                            either), sshSigners, sshRevokedKeys, openpgpKeys [no signature]
  WORKFLOW_CREDENTIALS_DIR  a mounted Secret: username and password, bearerToken, tls.crt and
                            tls.key, used only for the exact hosts in its key hosts
                            (comma-separated); ssh-privatekey and known_hosts; ca.crt
  GITHUB_TOKEN              for WORKFLOW_GITHUB_HOSTS [github.com] and nowhere else
  GITLAB_TOKEN              for WORKFLOW_GITLAB_HOSTS [gitlab.com] and nowhere else
  WORKFLOW_GITHUB_HOSTS, WORKFLOW_GITLAB_HOSTS
                            exact hosts, comma-separated
  BACKEND_API_URL, PROJECT_NAME, SESSION_NAME, BOT_TOKEN
                            the platform's token endpoint, used if a host demands a token and
                            none is set
  SSL_CERT_FILE, SSL_CERT_DIR
                            CA certificates, added to the built-in ones, as are ca.crt
                            above and /etc/pki/tls/certs/ca-bundle.crt
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY
                            as everywhere, lower case too; http://, https:// and socks5://,
                            for ssh as well
  WORKFLOW_TERMINATION_LOG  where the termination message goes [/dev/termination-log]
  LOG_FORMAT                text or json; logs go to stderr [text]

Exit codes: 0 delivered; 10 a setting is malformed; 11 host or scheme not allowed; 20 access denied;
21 no such repository; 22 no such branch, tag or commit; 23 no such directory; 30 server unreachable;
31 TLS failed; 32 ssh host key unknown or changed; 33 server error; 34 time limit; 40 too large;
41 unsafe content; 42 signature not trusted; 50 volume full; 51 volume not writable; 70 internal
error; 143 ended by SIGTERM.
";

#[cfg(test)]
mod tests {
    use super::*;
    use workflow_contract::{Exit, env};

    fn of(arguments: &[&str]) -> Invocation {
        read(&arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn no_argument_means_deliver() {
        assert_eq!(of(&[]), Invocation::Deliver);
    }

    #[test]
    fn rejects_unknown_arguments_with_a_message() {
        for arguments in [&["--verbose"][..], &["https://h/r"], &["--help", "x"]] {
            let Invocation::Reject(message) = of(arguments) else { panic!("{arguments:?}") };
            assert!(message.contains("--help"), "{message}");
        }
    }

    #[test]
    fn help_names_every_variable_and_exit_code() {
        let Invocation::Print(help) = of(&["--help"]) else { panic!("no help") };
        for name in [
            env::WORKFLOW_GIT_URL,
            env::WORKFLOW_BRANCH,
            env::WORKFLOW_PATH,
            env::WORKFLOW_ROOT,
            env::WORKFLOW_TIMEOUT,
            env::WORKFLOW_MAX_BYTES,
            env::WORKFLOW_MAX_FILES,
            env::WORKFLOW_ALLOWED_HOSTS,
            env::WORKFLOW_ALLOWED_SCHEMES,
            env::WORKFLOW_SIGNERS,
            env::WORKFLOW_CREDENTIALS_DIR,
            env::WORKFLOW_GITHUB_HOSTS,
            env::WORKFLOW_GITLAB_HOSTS,
            env::WORKFLOW_TERMINATION_LOG,
            env::LOG_FORMAT,
            env::GITHUB_TOKEN,
            env::GITLAB_TOKEN,
            env::BACKEND_API_URL,
            env::PROJECT_NAME,
            env::SESSION_NAME,
            env::BOT_TOKEN,
            env::SSL_CERT_FILE,
            env::SSL_CERT_DIR,
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "NO_PROXY",
        ] {
            assert!(help.contains(name), "{name}");
        }
        for exit in Exit::ALL {
            assert!(help.contains(&format!("{} ", exit.code())), "{exit}");
        }
        for default in [
            env::default::ROOT,
            env::default::TIMEOUT,
            env::default::MAX_BYTES,
            env::default::ALLOWED_SCHEMES,
        ] {
            assert!(help.contains(&format!("[{default}]")), "{default}");
        }
    }
}
