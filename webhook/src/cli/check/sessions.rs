//! The newest sessions whose workflow failed, each with the reason and message of its condition.

use anyhow::Context;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use workflow_contract::condition::{WORKFLOW_RECONCILED, reason};
use workflow_contract::text::cut;

use super::result::CheckResult;
use crate::session::AgenticSession;
use crate::status::condition::is_own_reason;

/// Objects per page of a list.
const PAGE: u32 = 500;
const SHOWN: usize = 10;
/// Longest message shown, in bytes; the session has all of it.
const MESSAGE: usize = 400;

/// A session with a condition of ours that is False.
#[derive(Debug)]
pub struct Unsuccessful {
    /// `NAMESPACE/NAME`.
    session: String,
    reason: String,
    message: String,
    since: Option<Timestamp>,
}

/// Lists the sessions with a condition of ours that is False, newest first.
pub async fn read(client: &Client) -> anyhow::Result<Vec<Unsuccessful>> {
    let api: Api<AgenticSession> = Api::all(client.clone());
    let mut found = Vec::new();
    let read = for_each(&api, ListParams::default(), "sessions", |session: AgenticSession| {
        found.extend(unsuccessful(&session));
    });
    match read.await {
        // The platform is not installed (yet). By code: for an unknown kind the API server sends no Status.
        Err(error) if matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 404) => {
        }
        read => read?,
    }
    found.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.session.cmp(&b.session)));
    Ok(found)
}

fn unsuccessful(session: &AgenticSession) -> Option<Unsuccessful> {
    let considered = session.metadata.deletion_timestamp.is_none() && !session.opted_out();
    let condition = session.condition(WORKFLOW_RECONCILED).filter(|_| considered)?;
    let reason = condition.reason.as_deref().unwrap_or_default();
    (condition.status == "False" && is_own_reason(reason)).then(|| Unsuccessful {
        session: full_name(session),
        reason: reason.to_owned(),
        message: condition.message.clone().unwrap_or_default(),
        since: condition.last_transition_time,
    })
}

/// Judges the sessions, newest first. One that needs a restart runs as its user left it; that is no failure.
pub fn judge(sessions: &[Unsuccessful]) -> Vec<CheckResult> {
    let (restarts, failed): (Vec<&Unsuccessful>, Vec<_>) =
        sessions.iter().partition(|session| session.reason == reason::RESTART_REQUIRED);
    if failed.is_empty() {
        let restarts = restarts.first().map_or(String::new(), |Unsuccessful { session, .. }| {
            format!(
                "; {} need a restart to get the workflow that was chosen while they ran (RestartRequired), such as {session}",
                restarts.len()
            )
        });
        return vec![Ok(format!("no session's workflow failed{restarts}"))];
    }
    let line = |Unsuccessful { session, reason, message, .. }: &&Unsuccessful| {
        Err(format!("{session}: {reason}: {}", cut(message.lines().next().unwrap_or_default(), MESSAGE)))
    };
    let mut lines: Vec<CheckResult> = failed.iter().take(SHOWN).map(line).collect();
    if let more @ 1.. = failed.len().saturating_sub(SHOWN) {
        lines
            .push(Err(format!("and {more} older ones; kubectl get agenticsessions -A -o yaml has them all")));
    }
    lines
}

pub fn full_name(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// Reads all objects page by page without keeping them.
pub async fn for_each<K>(
    api: &Api<K>,
    params: ListParams,
    kind: &str,
    mut take: impl FnMut(K),
) -> anyhow::Result<()>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut params = params.limit(PAGE);
    loop {
        let page = api.list(&params).await.with_context(|| format!("failed to list {kind}"))?;
        let next = page.metadata.continue_.filter(|token| !token.is_empty());
        page.items.into_iter().for_each(&mut take);
        let Some(next) = next else { return Ok(()) };
        params.continue_token = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(count: usize, reason: &str) -> Vec<Unsuccessful> {
        let one = |index| Unsuccessful {
            session: format!("team/s{index}"),
            reason: reason.to_owned(),
            message: format!("{}\nsecond line", "no such branch ".repeat(40)),
            since: None,
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn each_failure_is_a_line_and_many_are_cut_and_counted() {
        assert!(judge(&[])[0].is_ok());
        for (count, lines) in [(1, 1), (SHOWN, SHOWN), (SHOWN + 7, SHOWN + 1)] {
            let verdicts = judge(&sessions(count, "RefNotFound"));
            assert_eq!(verdicts.len(), lines);
            assert!(verdicts.iter().all(Result::is_err));
        }
        let last = judge(&sessions(SHOWN + 7, "RefNotFound")).pop().unwrap().unwrap_err();
        assert!(last.starts_with("and 7 older ones"), "{last}");
    }

    #[test]
    fn a_line_names_session_and_reason_and_is_bounded() {
        let line = judge(&sessions(1, "RefNotFound")).pop().unwrap().unwrap_err();
        assert!(line.starts_with("team/s0: RefNotFound: no such branch"), "{line}");
        assert!(line.len() < MESSAGE + 60 && !line.contains("second"), "{line}");
    }

    #[test]
    fn sessions_that_need_a_restart_are_no_failure() {
        let line = judge(&sessions(2, "RestartRequired")).pop().unwrap().unwrap();
        assert!(line.contains("2 need a restart") && line.contains("team/s0"), "{line}");
    }
}
