//! lighttpd's configuration as text: pure, so that each rule can be read and tested without a server.

use std::fmt::Write as _;
use std::path::Path;

use crate::git::HERMETIC;
use crate::settings::{Rule, Settings};

/// The files of one server, all below its temporary directory.
pub(crate) struct Layout<'a> {
    /// Directory that holds everything.
    pub(crate) root: &'a Path,
    /// `git http-backend`, absolute.
    pub(crate) backend: &'a Path,
}

impl Layout<'_> {
    /// The server's certificate.
    pub(crate) const CERTIFICATE: &'static str = "tls.crt";
    pub(crate) const KEY: &'static str = "tls.key";
    /// Bare repositories, by URL path.
    pub(crate) const REPOSITORIES: &'static str = "repositories";
    /// Where request bodies are spooled; also the document root, which nothing is served from.
    pub(crate) const SPOOL: &'static str = "spool";

    /// The file of rule number `index`: a user list, or a ready response.
    pub(crate) fn rule_file(index: usize, rule: &Rule) -> Option<String> {
        match rule {
            Rule::Password { .. } => Some(format!("rule-{index}.users")),
            Rule::ProtocolV0 => None,
            // The ending makes it a CGI that `cat` prints: headers and body as they stand in the file.
            Rule::Response { .. } => Some(format!("rule-{index}.response")),
        }
    }

    fn file(&self, name: &str) -> String {
        format!("\"{}/{name}\"", self.root.display())
    }
}

/// The content of [`Layout::rule_file`].
pub(crate) fn rule_text(rule: &Rule) -> String {
    match rule {
        Rule::Password { user, password } => format!("{user}:{password}\n"),
        Rule::ProtocolV0 => String::new(),
        Rule::Response { status, headers, body } => {
            let mut text = format!("Status: {status}\r\n");
            for (name, value) in headers {
                let _ = write!(text, "{name}: {value}\r\n");
            }
            text + "\r\n" + body
        }
    }
}

/// The whole configuration. The listening socket is handed over by the starter (socket activation), so that no other
/// process can take the port between choosing and binding it.
pub(crate) fn configuration(settings: &Settings, port: u16, layout: &Layout<'_>) -> String {
    let mut text = String::from(
        "server.modules = ( \"mod_setenv\", \"mod_auth\", \"mod_authn_file\", \"mod_alias\", \"mod_cgi\", \"mod_openssl\" )\n\
         server.systemd-socket-activation = \"enable\"\n\
         server.stream-response-body = 1\n",
    );
    let mut line = |setting: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{setting}");
    };
    line(format_args!("server.bind = \"{}\"", settings.address));
    line(format_args!("server.port = {port}"));
    line(format_args!("server.document-root = {}", layout.file(Layout::SPOOL)));
    line(format_args!("server.upload-dirs = ( {} )", layout.file(Layout::SPOOL)));
    if settings.tls {
        line(format_args!("ssl.engine = \"enable\""));
        line(format_args!("ssl.pemfile = {}", layout.file(Layout::CERTIFICATE)));
        line(format_args!("ssl.privkey = {}", layout.file(Layout::KEY)));
    }
    line(format_args!("setenv.add-environment = ("));
    for (name, value) in HERMETIC {
        line(format_args!("  \"{name}\" => \"{value}\","));
    }
    line(format_args!("  \"GIT_PROJECT_ROOT\" => {},", layout.file(Layout::REPOSITORIES)));
    line(format_args!("  \"GIT_HTTP_EXPORT_ALL\" => \"1\" )"));
    // Every path is "below" the program, which finds the repository in PATH_INFO.
    line(format_args!("alias.url = ( \"/\" => \"{}/\" )", layout.backend.display()));
    line(format_args!("cgi.assign = ( \".response\" => \"/bin/cat\", \"\" => \"\" )"));
    for (index, (directory, rule)) in settings.rules.iter().enumerate() {
        let file = Layout::rule_file(index, rule).map(|name| layout.file(&name)).unwrap_or_default();
        let inside = match rule {
            Rule::Password { .. } => format!(
                "auth.backend = \"plain\"\n  auth.backend.plain.userfile = {file}\n  \
                 auth.require = ( \"\" => ( \"method\" => \"basic\", \"realm\" => \"git\", \"require\" => \"valid-user\" ) )"
            ),
            // A header set to nothing is taken away.
            Rule::ProtocolV0 => "setenv.set-request-header = ( \"Git-Protocol\" => \"\" )".to_owned(),
            Rule::Response { .. } => format!("alias.url = ( \"/\" => {file} + \"/\" )"),
        };
        line(format_args!("$HTTP[\"url\"] =^ \"/{directory}/\" {{\n  {inside}\n}}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(settings: &Settings) -> String {
        let layout =
            Layout { root: Path::new("/t"), backend: Path::new("/usr/lib/git-core/git-http-backend") };
        configuration(settings, 4321, &layout)
    }

    #[test]
    fn binds_one_address_over_tls() {
        let text = text(&Settings::default());
        assert!(text.contains("server.bind = \"127.0.0.1\"\nserver.port = 4321\n"), "{text}");
        assert!(text.contains("ssl.engine = \"enable\"\nssl.pemfile = \"/t/tls.crt\""), "{text}");
    }

    #[test]
    fn leaves_tls_out_for_plain_http() {
        assert!(!text(&Settings::default().plain_http()).contains("ssl.engine"));
    }

    #[test]
    fn keeps_the_users_git_configuration_out() {
        let text = text(&Settings::default());
        for (name, value) in HERMETIC {
            assert!(text.contains(&format!("\"{name}\" => \"{value}\"")), "{text}");
        }
    }

    #[test]
    fn applies_rules_to_their_directory_only() {
        let settings = Settings::default().password("private", "user", "word").protocol_v0("v0").response(
            "busy",
            503,
            &[],
            "busy",
        );
        let text = text(&settings);
        let (global, rules) = text.split_once("$HTTP").unwrap();
        assert!(!global.contains("auth.require") && !global.contains("Git-Protocol"), "{global}");
        assert!(rules.contains("=^ \"/private/\" {\n  auth.backend = \"plain\"\n  auth.backend.plain.userfile = \"/t/rule-0.users\""));
        assert!(rules.contains("=^ \"/v0/\" {\n  setenv.set-request-header"));
        assert!(rules.contains("=^ \"/busy/\" {\n  alias.url = ( \"/\" => \"/t/rule-2.response\" + \"/\" )"));
    }

    #[test]
    fn writes_password_to_the_user_file_only() {
        let settings = Settings::default().password("private", "user", "word");
        assert!(!text(&settings).contains("word"));
        assert_eq!(rule_text(&settings.rules[0].1), "user:word\n");
    }

    #[test]
    fn writes_responses_as_cgi_output() {
        let rule = Rule::Response {
            status: 503,
            headers: vec![("Retry-After".to_owned(), "1".to_owned())],
            body: "busy\n".to_owned(),
        };
        assert_eq!(rule_text(&rule), "Status: 503\r\nRetry-After: 1\r\n\r\nbusy\n");
    }
}
