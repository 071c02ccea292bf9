//! Encodes the rotation state as the data of a Secret, and decodes it.
//!
//! `tls.crt`, `tls.key` and `ca.crt` are as in the Secret of any issuer, so that the usual tools read them; `ca.key` and
//! `next-ca.key` sign; `rotation.json` records the role of each CA in `ca.crt`, by key identifier.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use workflow_contract::Secret;

use crate::cert::{self, CertError, CertInfo, Pair};
use crate::rotation::{Issued, NextCa, RetiredCa, State};

/// Key of the serving certificate's chain.
pub const CERTIFICATE: &str = "tls.crt";
/// Key of the serving certificate's private key.
pub const KEY: &str = "tls.key";
/// Key of the CA bundle.
pub const CA_BUNDLE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const NEXT_CA_KEY: &str = "next-ca.key";
const ROTATION: &str = "rotation.json";

/// The data of a Secret.
pub type Data = BTreeMap<String, ByteString>;

/// A reason why the data of a Secret is not a rotation state. It names a key and never a value.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the key `{0}` is missing")]
    Missing(&'static str),
    #[error("the value of `{0}` is not text")]
    NotText(&'static str),
    #[error("the value of `rotation.json` can't be read: {0}")]
    Rotation(String),
    #[error("no certificate in `ca.crt` has the key identifier {0}")]
    UnknownCa(String),
    #[error("the pair of `{0}` can't be used")]
    Pair(&'static str, #[source] CertError),
    #[error("a certificate of `ca.crt` can't be read")]
    Bundle(#[from] CertError),
}

#[derive(Serialize, Deserialize)]
struct Roles {
    current: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<NextRole>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<RetiredRole>,
}

#[derive(Serialize, Deserialize)]
struct NextRole {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct RetiredRole {
    id: String,
    until: Timestamp,
}

pub fn encode(state: &State) -> Result<Data, serde_json::Error> {
    let next = state.next.as_ref();
    let retired = state.retired.iter();
    let roles = Roles {
        current: state.ca.info.key_id.clone(),
        next: next.map(|next| NextRole { id: next.ca.info.key_id.clone(), published: next.published }),
        retired: retired.map(|ca| RetiredRole { id: ca.key_id.clone(), until: ca.until }).collect(),
    };
    let roles = serde_json::to_string(&roles)?;
    let mut data = Data::new();
    let mut put = |key: &str, text: &str| data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
    put(CERTIFICATE, &state.serving.pair.certificate);
    put(KEY, state.serving.pair.key.expose());
    put(CA_BUNDLE, &state.bundle());
    put(CA_KEY, state.ca.pair.key.expose());
    if let Some(next) = next {
        put(NEXT_CA_KEY, next.ca.pair.key.expose());
    }
    put(ROTATION, &roles);
    Ok(data)
}

/// Decodes a state and checks that each key belongs to its certificate, so that half-edited data is rejected.
pub fn decode(data: &Data) -> Result<State, DecodeError> {
    let roles: Roles = serde_json::from_str(text(data, ROTATION)?)
        .map_err(|error| DecodeError::Rotation(error.to_string()))?;
    let bundle = CaCertificates::parse(text(data, CA_BUNDLE)?)?;
    let next = match roles.next {
        None => None,
        Some(NextRole { id, published }) => {
            Some(NextCa { ca: pair(NEXT_CA_KEY, bundle.find(&id)?, text(data, NEXT_CA_KEY)?)?, published })
        }
    };
    let mut retired = Vec::new();
    for RetiredRole { id, until } in roles.retired {
        retired.push(RetiredCa { certificate: bundle.find(&id)?.to_owned(), key_id: id, until });
    }
    Ok(State {
        ca: pair(CA_KEY, bundle.find(&roles.current)?, text(data, CA_KEY)?)?,
        serving: pair(KEY, text(data, CERTIFICATE)?, text(data, KEY)?)?,
        next,
        retired,
    })
}

fn text<'a>(data: &'a Data, key: &'static str) -> Result<&'a str, DecodeError> {
    let bytes = data.get(key).ok_or(DecodeError::Missing(key))?;
    std::str::from_utf8(&bytes.0).map_err(|_| DecodeError::NotText(key))
}

fn pair(name: &'static str, certificate: &str, key: &str) -> Result<Issued, DecodeError> {
    let pair = Pair { certificate: certificate.to_owned(), key: Secret::new(key) };
    cert::certified_key(&pair).map_err(|error| DecodeError::Pair(name, error))?;
    Issued::new(pair).map_err(|error| DecodeError::Pair(name, error))
}

/// The CA certificates of `ca.crt` with their key identifiers, each in PEM.
struct CaCertificates(Vec<(String, String)>);

impl CaCertificates {
    fn parse(pem: &str) -> Result<Self, CertError> {
        const END: &str = "-----END CERTIFICATE-----";
        let blocks = pem.split_inclusive(END).filter(|block| block.contains(END));
        let all: Result<Vec<_>, CertError> = blocks
            .map(|block| Ok((CertInfo::from_pem(block)?.key_id, format!("{}\n", block.trim()))))
            .collect();
        Ok(Self(all?))
    }

    fn find(&self, id: &str) -> Result<&str, DecodeError> {
        let found = self.0.iter().find(|(key_id, _)| key_id == id);
        found.map(|(_, pem)| pem.as_str()).ok_or_else(|| DecodeError::UnknownCa(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::{Action, Lifetimes, apply};

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
    fn every_state_survives_encoding() {
        use Action::{AddNext, MarkPublished, Promote, Start};
        let sequences: [&[Action]; 5] = [
            &[Start],
            &[Start, AddNext],
            &[Start, AddNext, MarkPublished],
            &[Start, AddNext, MarkPublished, Promote],
            &[Start, AddNext, MarkPublished, Promote, AddNext],
        ];
        for sequence in sequences {
            let state = state(sequence);
            let back = decode(&encode(&state).unwrap()).unwrap();
            assert_eq!(back.bundle(), state.bundle(), "{sequence:?}");
            assert_eq!(back, state, "{sequence:?}");
        }
    }

    #[test]
    fn rejects_damaged_data_and_names_the_key() {
        let good = encode(&state(&[Action::Start, Action::AddNext])).unwrap();
        let other = encode(&state(&[Action::Start])).unwrap();
        for key in good.keys() {
            let mut without = good.clone();
            without.remove(key);
            let error = decode(&without).unwrap_err();
            assert!(matches!(&error, DecodeError::Missing(name) if *name == key), "{key}: {error}");

            let mut mixed = good.clone();
            mixed.insert(key.clone(), other.get(key).cloned().unwrap_or_default());
            assert!(decode(&mixed).is_err() || key == ROTATION, "{key} of another Secret");
        }
    }

    #[test]
    fn the_key_of_a_retired_ca_is_removed() {
        let before = state(&[Action::Start, Action::AddNext, Action::MarkPublished]);
        let now = before.serving.info.not_before;
        let names = ["localhost".to_owned()];
        let after = apply(Action::Promote, Some(&before), &names, now, &Lifetimes::default()).unwrap();
        let old = before.ca.pair.key.expose().lines().nth(1).unwrap();
        for value in encode(&after).unwrap().values() {
            assert!(!String::from_utf8_lossy(&value.0).contains(old));
        }
    }
}
