//! `verify` in config.yaml: rules for signed repositories, each checked as a whole while it is decoded.

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_saphyr::Spanned;
use workflow_contract::verify::{MAX_SIGNERS, RepositoryPattern, Require, Signers, VerifyRule};
use workflow_signatures::{SignersError, TrustedKeys};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    repositories: Vec<Spanned<String>>,
    require: Spanned<Require>,
    ssh_signers: Option<Spanned<String>>,
    ssh_revoked_keys: Option<Spanned<String>>,
    openpgp_keys: Option<Spanned<String>>,
}

/// Rules in order. A pattern that an earlier rule takes, and lists without a usable key, are errors.
pub(super) fn rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<VerifyRule>, D::Error> {
    let mut rules = Vec::new();
    for rule in Option::<Vec<Rule>>::deserialize(deserializer)?.unwrap_or_default() {
        let rule =
            rule.check(&rules).map_err(|(line, why)| D::Error::custom(format!("line {line}: {why}")))?;
        rules.push(rule);
    }
    Ok(rules)
}

impl Rule {
    /// Returns the rule, or the line and the reason of the first error.
    fn check(self, earlier: &[VerifyRule]) -> Result<VerifyRule, (u64, String)> {
        let require = self.require.value;
        let at = self.require.referenced.line();
        if self.repositories.is_empty() {
            return Err((at, "a rule needs `repositories`; `*` means all".to_owned()));
        }
        let repositories = self.repositories.iter().map(|text| pattern(text, require, earlier));
        let repositories = repositories.collect::<Result<_, _>>()?;
        let text =
            |list: &Option<Spanned<String>>| list.as_ref().map(|text| text.value.clone()).unwrap_or_default();
        let signers = Signers {
            require,
            ssh_signers: text(&self.ssh_signers),
            ssh_revoked_keys: text(&self.ssh_revoked_keys),
            openpgp_keys: text(&self.openpgp_keys),
        };
        let lists = [&self.ssh_signers, &self.ssh_revoked_keys, &self.openpgp_keys];
        let line_of_list = || lists.into_iter().flatten().next().map_or(at, |list| list.referenced.line());
        if require == Require::None && lists.into_iter().any(Option::is_some) {
            return Err((line_of_list(), "a rule with `require: none` takes no keys".to_owned()));
        }
        if require != Require::None {
            TrustedKeys::parse(&signers).map_err(|error| self.place(error, at))?;
        }
        let length = signers.to_json().len();
        if length > MAX_SIGNERS {
            return Err((
                line_of_list(),
                format!("the keys of one rule have {length} bytes, more than {MAX_SIGNERS}"),
            ));
        }
        Ok(VerifyRule { repositories, signers })
    }

    /// Returns the line of the file that an error is about; `at` if it is about the rule.
    fn place(&self, error: SignersError, at: u64) -> (u64, String) {
        let start = |list: &Option<Spanned<String>>| list.as_ref().map_or(at, |text| text.referenced.line());
        match error {
            SignersError::Line { list, line, why } => {
                let list = if list == "sshSigners" { &self.ssh_signers } else { &self.ssh_revoked_keys };
                (start(list) + u64::try_from(line).unwrap_or(1) - 1, why)
            }
            SignersError::OpenPgp { .. } => (start(&self.openpgp_keys), error.to_string()),
            SignersError::NoKey { .. } | SignersError::NoSigners => (at, error.to_string()),
        }
    }
}

fn pattern(
    text: &Spanned<String>,
    require: Require,
    earlier: &[VerifyRule],
) -> Result<RepositoryPattern, (u64, String)> {
    let line = text.referenced.line();
    let pattern = RepositoryPattern::parse(text.value.trim()).map_err(|error| (line, error.to_string()))?;
    match earlier.iter().position(|rule| rule.shadows(&pattern, require)) {
        Some(number) => Err((line, format!("`{pattern}` never applies: rule {} matches first", number + 1))),
        None => Ok(pattern),
    }
}

#[cfg(test)]
mod tests {
    use workflow_contract::verify::Require;

    use crate::config::parse;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn reads_rules_in_order_and_finds_the_one_that_applies() {
        let config = parse(&format!(
            "verify:
  - repositories: ['https://github.com/acme/*', 'git@git.corp:acme/*']
    require: commit
    sshSigners: |
      # who may sign
      alice@example.com namespaces=\"git\" {KEY}
  - repositories: ['*']
    require: none
"
        ))
        .unwrap();
        assert_eq!(config.verify.len(), 2);
        let signers = config.signers("https://GitHub.com/Acme/flow");
        assert!(signers.starts_with(r#"{"require":"commit","sshSigners":"#), "{signers}");
        assert_eq!(config.signers("https://github.com/other/flow"), "");
        assert_eq!(config.verify[1].signers.require, Require::None);
        assert!(parse("verify:\n").unwrap().verify.is_empty());
    }

    #[test]
    fn rejects_rules_that_cannot_work_with_the_line() {
        let good = format!("require: commit, sshSigners: \"a {KEY}\"");
        for (rules, line, why) in [
            (format!("- {{repositories: [], {good}}}"), 2, "needs `repositories`"),
            (format!("- {{repositories: [github.com/x], {good}}}"), 2, "not a pattern"),
            (format!("- {{repositories: ['https://h/*/x'], {good}}}"), 2, "only at its end"),
            (format!("- {{{good}}}"), 2, "repositories"),
            ("- {repositories: ['*'], require: all}".to_owned(), 2, "all"),
            ("- {repositories: ['*'], require: commit}".to_owned(), 2, "neither sshSigners nor openpgpKeys"),
            (format!("- {{repositories: ['*'], {good}, keys: x}}"), 2, "keys"),
            ("- {repositories: ['*'], require: none, sshSigners: x}".to_owned(), 2, "takes no keys"),
            (format!("- {{repositories: ['*'], {good}}}\n- {{repositories: [\n    'https://h/x'], require: none}}"), 4, "`https://h/x` never applies: rule 1"),
            ("- repositories: ['*']\n  require: tag\n  sshSigners: |\n    # no key\n".to_owned(), 3, "sshSigners holds no key"),
            ("- repositories: ['*']\n  require: tag\n  sshSigners: |\n    # comment\n    a ssh-ed25519 AAAA\n".to_owned(), 6, "is not a public key"),
            ("- repositories: ['*']\n  require: tag\n  openpgpKeys: |\n    -----BEGIN PGP PUBLIC KEY BLOCK-----\n    xx\n".to_owned(), 5, "a key block is damaged"),
            (format!("- repositories: ['*']\n  require: tag\n  sshSigners: |\n    a {KEY} {}", "x".repeat(100_000)), 5, "bytes, more than"),
        ] {
            let indented = rules.replace('\n', "\n  ");
            let error = parse(&format!("verify:\n  {indented}")).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}")) && error.contains(why), "{rules}: {error}");
            assert!(!error.contains(KEY), "{error}");
        }
    }

    #[test]
    fn keys_that_count_no_more_are_reported_and_not_rejected() {
        let rule = format!(
            "verify:\n  - repositories: ['*']\n    require: tag\n    sshSigners: |\n      a valid-before=\"20260201\" {KEY}\n"
        );
        let config = parse(&rule).unwrap();
        let february = 1_769_904_000;
        assert_eq!(config.key_warnings(february - 1), [""; 0]);
        assert_eq!(
            config.key_warnings(february + 1),
            ["verify, rule 1: line 1 of sshSigners: the key of a expired on 2026-02-01T00:00:00Z"]
        );
    }
}
