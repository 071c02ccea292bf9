//! The newest sessions whose workflow failed, each with the reason and message of its condition.

use workflow_contract::text::cut;

use super::Verdict;
use crate::cli::check::evidence::FailedSession;

/// How many are shown.
const SHOWN: usize = 10;
/// Longest message shown, in bytes; the session has the whole of it.
const MESSAGE: usize = 400;

/// `failed` is newest first. A session that needs a restart runs as its user left it; that is no failure.
pub fn sessions(failed: &[FailedSession], restarts: &[String]) -> Vec<Verdict> {
    if failed.is_empty() {
        let restarts = match restarts {
            [] => String::new(),
            [first, ..] => format!(
                "; {} need a restart to get the workflow that was chosen while they ran (RestartRequired), such as {first}",
                restarts.len()
            ),
        };
        return vec![Ok(format!("no session's workflow failed{restarts}"))];
    }
    let line = |FailedSession { session, reason, message, .. }: &FailedSession| {
        Err(format!("{session}: {reason}: {}", cut(message.lines().next().unwrap_or_default(), MESSAGE)))
    };
    let mut lines: Vec<Verdict> = failed.iter().take(SHOWN).map(line).collect();
    if let more @ 1.. = failed.len().saturating_sub(SHOWN) {
        lines
            .push(Err(format!("and {more} older ones; kubectl get agenticsessions -A -o yaml has them all")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(count: usize) -> Vec<FailedSession> {
        let one = |index| FailedSession {
            session: format!("team/s{index}"),
            reason: "RefNotFound".to_owned(),
            message: format!("{}\nsecond line", "no such branch ".repeat(40)),
            since: None,
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn each_is_a_line_that_fails_and_many_are_cut_and_counted() {
        assert!(sessions(&[], &[])[0].is_ok());
        for (count, lines) in [(1, 1), (SHOWN, SHOWN), (SHOWN + 7, SHOWN + 1)] {
            let said = sessions(&failed(count), &[]);
            assert_eq!(said.len(), lines);
            assert!(said.iter().all(Result::is_err));
        }
        let said = sessions(&failed(SHOWN + 7), &[]).pop().unwrap().unwrap_err();
        assert!(said.starts_with("and 7 older ones"), "{said}");
    }

    #[test]
    fn a_line_names_session_and_reason_and_is_bounded() {
        let said = sessions(&failed(1), &[]).pop().unwrap().unwrap_err();
        assert!(said.starts_with("team/s0: RefNotFound: no such branch"), "{said}");
        assert!(said.len() < MESSAGE + 60 && !said.contains("second"), "{said}");
    }

    #[test]
    fn sessions_that_need_a_restart_are_no_failure() {
        let lines = sessions(&[], &["team/a".to_owned(), "team/b".to_owned()]);
        let line = lines[0].as_ref().unwrap();
        assert!(line.contains("2 need a restart") && line.contains("team/a"), "{line}");
    }
}
