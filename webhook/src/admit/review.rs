//! AdmissionReview v1, as far as it is needed: bytes -> request, answer -> bytes.
//!
//! The body is parsed once, into values that borrow from it. Kubernetes' own types are not used for
//! the pod, see `json`.

use std::borrow::Cow;

use json_patch::Patch;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use workflow_contract::text;

use super::json::{self, Json};
use super::plan::Refusal;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// A body that is no AdmissionReview. The sentence goes to the API server with status 400.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// No JSON, or of another shape.
    #[error("the body is not an AdmissionReview: {0}")]
    Malformed(String),
    /// Another kind or version.
    #[error(
        "the body is `{kind}` of `{api_version}`; only AdmissionReview of admission.k8s.io/v1 is understood"
    )]
    Kind {
        /// Its `kind`.
        kind: String,
        /// Its `apiVersion`.
        api_version: String,
    },
    /// Nothing is asked.
    #[error("the AdmissionReview has no request with a uid")]
    NoRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'b> {
    #[serde(borrow, default)]
    api_version: Cow<'b, str>,
    #[serde(borrow, default)]
    kind: Cow<'b, str>,
    #[serde(borrow)]
    request: Option<Request<'b>>,
}

/// What is asked. Unknown fields are ignored, absent ones are empty.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'b> {
    /// Identifies the request; the response carries it too.
    #[serde(borrow, default)]
    pub uid: Cow<'b, str>,
    #[serde(borrow, default)]
    kind: Kind<'b>,
    #[serde(borrow, default)]
    sub_resource: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    operation: Cow<'b, str>,
    /// Namespace of the object.
    #[serde(borrow, default)]
    pub namespace: Cow<'b, str>,
    /// Name of the object, empty while the API server is still to generate one.
    #[serde(borrow, default)]
    pub name: Cow<'b, str>,
    /// The object as it is to be created; null on DELETE.
    #[serde(borrow, default = "null", deserialize_with = "tree")]
    pub object: Json<'b>,
}

#[derive(Debug, Default, Deserialize)]
struct Kind<'b> {
    #[serde(borrow, default)]
    group: Cow<'b, str>,
    #[serde(borrow, default)]
    version: Cow<'b, str>,
    #[serde(borrow, default, rename = "kind")]
    name: Cow<'b, str>,
}

fn null<'b>() -> Json<'b> {
    Json::Null
}

/// The tree borrows for exactly as long as the input lives; a derive asks for less.
fn tree<'de: 'b, 'b, D: serde::Deserializer<'de>>(input: D) -> Result<Json<'b>, D::Error> {
    Json::deserialize(input)
}

/// Reads a body.
///
/// # Errors
/// [`ReviewError`] with a sentence for the answer.
pub fn parse(body: &[u8]) -> Result<Request<'_>, ReviewError> {
    let malformed = |error: &dyn std::error::Error| ReviewError::Malformed(text::foreign(&error.to_string()));
    // Checked once as a whole, and not again for each string in it.
    let body = std::str::from_utf8(body).map_err(|error| malformed(&error))?;
    let envelope: Envelope<'_> = serde_json::from_str(body).map_err(|error| malformed(&error))?;
    if envelope.api_version != API_VERSION || envelope.kind != KIND {
        return Err(ReviewError::Kind {
            kind: text::foreign(&envelope.kind),
            api_version: text::foreign(&envelope.api_version),
        });
    }
    envelope.request.filter(|request| !request.uid.is_empty()).ok_or(ReviewError::NoRequest)
}

impl Request<'_> {
    /// Whether a pod is being created. `dryRun` makes no difference: nothing is done but answering.
    #[must_use]
    pub fn creates_a_pod(&self) -> bool {
        let Kind { group, version, name } = &self.kind;
        self.operation == "CREATE"
            && (&**group, &**version, &**name) == ("", "v1", "Pod")
            && self.sub_resource.as_deref().unwrap_or_default().is_empty()
            && self.object.is_object()
    }

    /// The pod's name, or what it is to be generated from.
    #[must_use]
    pub fn pod_name(&self) -> &str {
        let metadata = json::get(&self.object, "metadata");
        let names = [&*self.name, json::text(metadata, "name"), json::text(metadata, "generateName")];
        names.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
    }
}

/// The answer to a request.
#[derive(Debug, Default)]
pub struct Answer {
    /// What is to change; nothing where empty.
    pub patch: Patch,
    /// Shown to whoever creates the pod.
    pub warnings: Vec<String>,
    /// Set where the pod is denied.
    pub refusal: Option<Refusal>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    api_version: &'a str,
    kind: &'a str,
    #[serde(rename = "response")]
    body: Body<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ByteString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    message: &'a str,
}

/// The body of the response.
///
/// # Errors
/// Never in practice: strings and JSON values always serialise.
pub fn render(uid: &str, answer: &Answer) -> Result<Vec<u8>, serde_json::Error> {
    let patch = match &answer.refusal {
        None if !answer.patch.is_empty() => Some(ByteString(serde_json::to_vec(&answer.patch)?)),
        _ => None,
    };
    serde_json::to_vec(&Response {
        api_version: API_VERSION,
        kind: KIND,
        body: Body {
            uid,
            allowed: answer.refusal.is_none(),
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
            status: answer.refusal.as_ref().map(|no| Status { code: no.code, message: &no.message }),
            warnings: &answer.warnings,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn review() -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "u",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "operation": "CREATE",
                "namespace": "n",
                "object": {"metadata": {"generateName": "p-"}},
                "oldObject": null,
                "options": {"unknown": true},
                "dryRun": true,
            },
        })
    }

    fn creates_a_pod(review: &Value) -> bool {
        parse(&serde_json::to_vec(review).unwrap()).unwrap().creates_a_pod()
    }

    #[test]
    fn reads_what_an_api_server_sends() {
        let body = serde_json::to_vec(&review()).unwrap();
        let request = parse(&body).unwrap();
        assert!(request.creates_a_pod());
        assert_eq!((&*request.uid, &*request.namespace, request.pod_name()), ("u", "n", "p-"));
    }

    #[test]
    fn only_the_creation_of_a_v1_pod_is_one() {
        for (pointer, value) in [
            ("/request/operation", json!("UPDATE")),
            ("/request/kind/kind", json!("Deployment")),
            ("/request/kind/group", json!("x")),
            ("/request/kind/version", json!("v2")),
            ("/request/object", Value::Null),
        ] {
            let mut other = review();
            *other.pointer_mut(pointer).unwrap() = value;
            assert!(!creates_a_pod(&other), "{pointer}");
        }
        let mut other = review();
        other["request"]["subResource"] = json!("ephemeralcontainers");
        assert!(!creates_a_pod(&other));
        other["request"] = json!({"uid": "u"});
        assert!(!creates_a_pod(&other));
    }

    #[test]
    fn rejects_what_is_no_review_with_a_sentence() {
        let with = |change: fn(&mut Value)| {
            let mut other = review();
            change(&mut other);
            serde_json::to_vec(&other).unwrap()
        };
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes();
        for (body, words) in [
            (b"".to_vec(), "not an AdmissionReview"),
            (b"{".to_vec(), "not an AdmissionReview"),
            (b"\xff\xfe".to_vec(), "not an AdmissionReview"),
            (b"[]".to_vec(), "not an AdmissionReview"),
            (deep, "not an AdmissionReview"),
            (with(|r| r["request"]["uid"] = json!(7)), "not an AdmissionReview"),
            (with(|r| r["kind"] = json!("Pod")), "`Pod` of"),
            (with(|r| r["apiVersion"] = json!("admission.k8s.io/v1beta1")), "v1beta1"),
            (with(|r| r["request"] = Value::Null), "no request"),
            (with(|r| r["request"]["uid"] = json!("")), "no request"),
        ] {
            let error = parse(&body).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_refusal_carries_uid_code_and_message_and_no_patch() {
        let refusal = Some(Refusal { code: 403, message: "no".into() });
        let body = render("u", &Answer { refusal, ..Answer::default() }).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "response": {"uid": "u", "allowed": false, "status": {"code": 403, "message": "no"}},
            })
        );
    }

    #[test]
    fn an_unchanged_pod_is_allowed_without_a_patch() {
        let body = render("u", &Answer::default()).unwrap();
        let response = serde_json::from_slice::<Value>(&body).unwrap()["response"].take();
        assert_eq!(response, json!({"uid": "u", "allowed": true}));
    }

    #[test]
    fn a_patch_is_base64_of_rfc_6902() {
        let patch = serde_json::from_value(json!([{"op": "remove", "path": "/a"}])).unwrap();
        let body = render("u", &Answer { patch, ..Answer::default() }).unwrap();
        let response = serde_json::from_slice::<Value>(&body).unwrap()["response"].take();
        assert_eq!(response["patchType"], "JSONPatch");
        let ByteString(bytes) = serde_json::from_value(response["patch"].clone()).unwrap();
        assert_eq!(bytes, br#"[{"op":"remove","path":"/a"}]"#);
    }
}
