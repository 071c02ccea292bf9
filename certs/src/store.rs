//! The Secret's data and the state, one from the other. No I/O.
//!
//! `tls.crt`, `tls.key` and `ca.crt` stand there as in any issuer's Secret, so that the same eyes and
//! tools read them; `ca.key` and `next-ca.key` sign; `rotation.json` says which authority of `ca.crt`
//! plays which part, by key identifier.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use workflow_contract::Secret;

use crate::facts::{self, FactsError};
use crate::load::{self, LoadError};
use crate::pair::Pair;
use crate::state::{Issued, Next, Retired, State};

/// Key of the served certificate.
pub const CERTIFICATE: &str = "tls.crt";
/// Key of the served certificate's private key.
pub const KEY: &str = "tls.key";
/// Key of the bundle of authorities.
pub const AUTHORITIES: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const NEXT_AUTHORITY_KEY: &str = "next-ca.key";
const ROTATION: &str = "rotation.json";

/// Data of a Secret.
pub type Data = BTreeMap<String, ByteString>;

/// Why a Secret's data is no state.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A key is absent.
    #[error("the key `{0}` is missing")]
    Missing(&'static str),
    /// A value is no text.
    #[error("the value of `{0}` is not text")]
    NotText(&'static str),
    /// The parts that authorities play can't be read.
    #[error("the value of `rotation.json` can't be read: {0}")]
    Rotation(String),
    /// An authority that plays a part is not in the bundle.
    #[error("no certificate in `ca.crt` has the key identifier {0}")]
    Unknown(String),
    /// Certificate and key do not fit.
    #[error("the pair of `{0}` can't be used")]
    Pair(&'static str, #[source] LoadError),
    /// A certificate can't be read.
    #[error("a certificate can't be read")]
    Facts(#[from] FactsError),
}

#[derive(Serialize, Deserialize)]
struct Rotation {
    current: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<NextPart>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<RetiredPart>,
}

#[derive(Serialize, Deserialize)]
struct NextPart {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct RetiredPart {
    id: String,
    until: Timestamp,
}

/// The data under which a state is kept.
///
/// # Errors
/// [`StoreError::Rotation`], should the parts not serialize.
pub fn encode(state: &State) -> Result<Data, StoreError> {
    let rotation = Rotation {
        current: state.current.facts.key_id.clone(),
        next: state
            .next
            .as_ref()
            .map(|next| NextPart { id: next.authority.facts.key_id.clone(), published: next.published }),
        retired: state
            .retired
            .iter()
            .map(|retired| RetiredPart { id: retired.key_id.clone(), until: retired.until })
            .collect(),
    };
    let rotation =
        serde_json::to_string(&rotation).map_err(|error| StoreError::Rotation(error.to_string()))?;
    let mut data = Data::new();
    let mut put = |key: &str, text: &str| data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
    put(CERTIFICATE, &state.leaf.pair.certificate);
    put(KEY, state.leaf.pair.key.expose());
    put(AUTHORITIES, &state.bundle());
    put(AUTHORITY_KEY, state.current.pair.key.expose());
    if let Some(next) = &state.next {
        put(NEXT_AUTHORITY_KEY, next.authority.pair.key.expose());
    }
    put(ROTATION, &rotation);
    Ok(data)
}

/// The state that a Secret's data holds. Each pair is checked to belong together, so that nothing
/// half-edited is taken for a state.
///
/// # Errors
/// [`StoreError`] with the key that is wrong; never its value.
pub fn decode(data: &Data) -> Result<State, StoreError> {
    let rotation: Rotation = serde_json::from_str(text(data, ROTATION)?)
        .map_err(|error| StoreError::Rotation(error.to_string()))?;
    let bundle = Bundle::read(text(data, AUTHORITIES)?)?;
    let next = match rotation.next {
        None => None,
        Some(part) => Some(Next {
            authority: pair(NEXT_AUTHORITY_KEY, bundle.find(&part.id)?, text(data, NEXT_AUTHORITY_KEY)?)?,
            published: part.published,
        }),
    };
    let mut retired = Vec::new();
    for part in rotation.retired {
        let certificate = bundle.find(&part.id)?.to_owned();
        retired.push(Retired { certificate, key_id: part.id, until: part.until });
    }
    Ok(State {
        current: pair(AUTHORITY_KEY, bundle.find(&rotation.current)?, text(data, AUTHORITY_KEY)?)?,
        leaf: pair(KEY, text(data, CERTIFICATE)?, text(data, KEY)?)?,
        next,
        retired,
    })
}

fn text<'a>(data: &'a Data, key: &'static str) -> Result<&'a str, StoreError> {
    let bytes = data.get(key).ok_or(StoreError::Missing(key))?;
    std::str::from_utf8(&bytes.0).map_err(|_| StoreError::NotText(key))
}

fn pair(name: &'static str, certificate: &str, key: &str) -> Result<Issued, StoreError> {
    let pair = Pair { certificate: certificate.to_owned(), key: Secret::new(key) };
    load::matching(&pair).map_err(|error| StoreError::Pair(name, error))?;
    Ok(Issued::new(pair)?)
}

/// The authorities of `ca.crt`, each as PEM of its own.
struct Bundle(Vec<(String, String)>);

impl Bundle {
    fn read(pem: &str) -> Result<Self, FactsError> {
        const END: &str = "-----END CERTIFICATE-----";
        let blocks = pem.split_inclusive(END).filter(|block| block.contains(END));
        let all: Result<Vec<_>, FactsError> =
            blocks.map(|block| Ok((facts::first(block)?.key_id, format!("{}\n", block.trim())))).collect();
        Ok(Self(all?))
    }

    fn find(&self, id: &str) -> Result<&str, StoreError> {
        let found = self.0.iter().find(|(key_id, _)| key_id == id);
        found.map(|(_, pem)| pem.as_str()).ok_or_else(|| StoreError::Unknown(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotate::{Action, Lifetimes, apply};

    fn state(actions: &[Action]) -> State {
        let now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        let names = ["localhost".to_owned()];
        let mut state = None;
        for action in actions {
            state = Some(apply(*action, state.as_ref(), &names, now, &Lifetimes::default()).unwrap());
        }
        state.unwrap()
    }

    #[test]
    fn every_state_comes_back_as_it_was_stored() {
        use Action::{AddNext, MarkPublished, Promote, Start};
        let stories: [&[Action]; 5] = [
            &[Start],
            &[Start, AddNext],
            &[Start, AddNext, MarkPublished],
            &[Start, AddNext, MarkPublished, Promote],
            &[Start, AddNext, MarkPublished, Promote, AddNext],
        ];
        for story in stories {
            let state = state(story);
            let back = decode(&encode(&state).unwrap()).unwrap();
            assert_eq!(back.bundle(), state.bundle(), "{story:?}");
            assert_eq!(back, state, "{story:?}");
        }
    }

    #[test]
    fn rejects_data_that_was_damaged_and_names_the_key() {
        let good = encode(&state(&[Action::Start, Action::AddNext])).unwrap();
        let other = encode(&state(&[Action::Start])).unwrap();
        for key in good.keys() {
            let mut without = good.clone();
            without.remove(key);
            let error = decode(&without).unwrap_err();
            assert!(matches!(&error, StoreError::Missing(name) if *name == key), "{key}: {error}");

            let mut mixed = good.clone();
            mixed.insert(key.clone(), other.get(key).cloned().unwrap_or_default());
            assert!(decode(&mixed).is_err() || key == ROTATION, "{key} of another Secret");
        }
    }

    #[test]
    fn a_retired_authority_leaves_no_key_behind() {
        let before = state(&[Action::Start, Action::AddNext, Action::MarkPublished]);
        let now = before.leaf.facts.not_before;
        let names = ["localhost".to_owned()];
        let after = apply(Action::Promote, Some(&before), &names, now, &Lifetimes::default()).unwrap();
        let old = before.current.pair.key.expose().lines().nth(1).unwrap();
        for value in encode(&after).unwrap().values() {
            assert!(!String::from_utf8_lossy(&value.0).contains(old));
        }
    }
}
