//! AdmissionReview v1 as far as it is needed: body -> request, response -> body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde_json::{Value, json};
use workflow_contract::text;

use super::json;
use super::plan::Denial;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Most values in a body. As a tree each takes some 50 bytes or more, so that a body of the largest size with
/// nothing but small values would take all memory. Large pods have some 20,000.
const MAX_VALUES: usize = 500_000;

/// Errors of a body that is no AdmissionReview. The message is sent with status 400.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error("the body is not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the body is not an AdmissionReview: it has more than {MAX_VALUES} values")]
    TooManyValues,
    #[error("the body is not an AdmissionReview: `{0}` is of another type")]
    Shape(&'static str),
    #[error(
        "the body is `{kind}` of `{api_version}`; only AdmissionReview of admission.k8s.io/v1 is supported"
    )]
    Kind { kind: String, api_version: String },
    #[error("the AdmissionReview has no request with a uid")]
    NoRequest,
}

/// The request of a review. Unknown fields are ignored, absent ones are empty.
#[derive(Debug)]
pub struct Request(Value);

pub fn parse(body: &[u8]) -> Result<Request, ReviewError> {
    let is_separator = |byte: &&u8| matches!(byte, b',' | b'[' | b'{');
    if body.len() > MAX_VALUES && body.iter().filter(is_separator).count() > MAX_VALUES {
        return Err(ReviewError::TooManyValues);
    }
    let mut review: Value = serde_json::from_slice(body)?;
    if !review.is_object() {
        return Err(ReviewError::Shape("the body"));
    }
    let (api_version, kind) = (text_of(&review, "apiVersion")?, text_of(&review, "kind")?);
    if api_version != API_VERSION || kind != KIND {
        return Err(ReviewError::Kind {
            kind: text::sanitize(kind),
            api_version: text::sanitize(api_version),
        });
    }
    let request = review["request"].take();
    if request.is_null() {
        return Err(ReviewError::NoRequest);
    }
    if !request.is_object() {
        return Err(ReviewError::Shape("request"));
    }
    for field in ["operation", "namespace", "name", "subResource"] {
        text_of(&request, field)?;
    }
    if text_of(&request, "uid")?.is_empty() {
        return Err(ReviewError::NoRequest);
    }
    Ok(Request(request))
}

/// A field that is a string or absent.
fn text_of<'v>(object: &'v Value, field: &'static str) -> Result<&'v str, ReviewError> {
    match &object[field] {
        Value::Null => Ok(""),
        value => value.as_str().ok_or(ReviewError::Shape(field)),
    }
}

impl Request {
    /// Identifies the request; the response has the same.
    #[must_use]
    pub fn uid(&self) -> &str {
        json::text(&self.0, "uid")
    }

    /// Namespace of the object.
    #[must_use]
    pub fn namespace(&self) -> &str {
        json::text(&self.0, "namespace")
    }

    /// The object that is to be created; null on DELETE.
    #[must_use]
    pub fn object(&self) -> &Value {
        &self.0["object"]
    }

    /// Returns whether a pod is created. `dryRun` makes no difference, because admission has no side effect.
    #[must_use]
    pub fn creates_pod(&self) -> bool {
        let kind = &self.0["kind"];
        json::text(&self.0, "operation") == "CREATE"
            && ["group", "version", "kind"].map(|part| json::text(kind, part)) == ["", "v1", "Pod"]
            && json::text(&self.0, "subResource").is_empty()
            && self.object().is_object()
    }

    /// The pod's name, or the prefix of the one to be generated.
    #[must_use]
    pub fn pod_name(&self) -> &str {
        let metadata = &self.object()["metadata"];
        let names =
            [json::text(&self.0, "name"), json::text(metadata, "name"), json::text(metadata, "generateName")];
        names.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub struct AdmissionResponse {
    /// Changes of the pod.
    pub patch: Patch,
    /// Warnings that are shown to the pod's creator.
    pub warnings: Vec<String>,
    /// Set if the pod is denied.
    pub denial: Option<Denial>,
}

/// Returns the body of the response.
pub fn render(uid: &str, response: &AdmissionResponse) -> Result<Vec<u8>, serde_json::Error> {
    let mut rendered = json!({"uid": uid, "allowed": response.denial.is_none()});
    if let Some(denial) = &response.denial {
        rendered["status"] = json!({"code": denial.code, "message": denial.message});
    } else if !response.patch.is_empty() {
        rendered["patchType"] = json!("JSONPatch");
        rendered["patch"] = STANDARD.encode(serde_json::to_vec(&response.patch)?).into();
    }
    if !response.warnings.is_empty() {
        rendered["warnings"] = json!(response.warnings);
    }
    let mut review = json!({"apiVersion": API_VERSION, "kind": KIND});
    review["response"] = rendered;
    serde_json::to_vec(&review)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

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

    fn creates_pod(review: &Value) -> bool {
        parse(&serde_json::to_vec(review).unwrap()).unwrap().creates_pod()
    }

    #[test]
    fn reads_what_an_api_server_sends() {
        let body = serde_json::to_vec(&review()).unwrap();
        let request = parse(&body).unwrap();
        assert!(request.creates_pod());
        assert_eq!((request.uid(), request.namespace(), request.pod_name()), ("u", "n", "p-"));
    }

    #[test]
    fn recognizes_only_the_creation_of_a_v1_pod() {
        for (pointer, value) in [
            ("/request/operation", json!("UPDATE")),
            ("/request/kind/kind", json!("Deployment")),
            ("/request/kind/group", json!("x")),
            ("/request/kind/version", json!("v2")),
            ("/request/object", Value::Null),
        ] {
            let mut other = review();
            *other.pointer_mut(pointer).unwrap() = value;
            assert!(!creates_pod(&other), "{pointer}");
        }
        let mut other = review();
        other["request"]["subResource"] = json!("ephemeralcontainers");
        assert!(!creates_pod(&other));
        other["request"] = json!({"uid": "u"});
        assert!(!creates_pod(&other));
    }

    #[test]
    fn rejects_other_bodies_with_a_message() {
        let with = |change: fn(&mut Value)| {
            let mut other = review();
            change(&mut other);
            serde_json::to_vec(&other).unwrap()
        };
        let values = format!("[{}0]", "0,".repeat(MAX_VALUES)).into_bytes();
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes();
        for (body, words) in [
            (b"".to_vec(), "not an AdmissionReview"),
            (b"{".to_vec(), "not an AdmissionReview"),
            (b"\xff\xfe".to_vec(), "not an AdmissionReview"),
            (b"[]".to_vec(), "not an AdmissionReview"),
            (deep, "not an AdmissionReview"),
            (values, "more than 500000 values"),
            (with(|r| r["request"]["uid"] = json!(7)), "not an AdmissionReview: `uid`"),
            (
                with(|r| r["request"]["subResource"] = json!(["status"])),
                "not an AdmissionReview: `subResource`",
            ),
            (with(|r| r["request"] = json!([])), "not an AdmissionReview: `request`"),
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
    fn denial_has_uid_code_and_message_and_no_patch() {
        let denial = Some(Denial { code: 403, message: "no".into(), cause: "test" });
        let body = render("u", &AdmissionResponse { denial, ..AdmissionResponse::default() }).unwrap();
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
    fn admits_unchanged_pod_without_patch() {
        let body = render("u", &AdmissionResponse::default()).unwrap();
        let response = serde_json::from_slice::<Value>(&body).unwrap()["response"].take();
        assert_eq!(response, json!({"uid": "u", "allowed": true}));
    }

    #[test]
    fn encodes_patch_as_base64_of_rfc_6902() {
        let patch: Patch = serde_json::from_value(json!([{"op": "remove", "path": "/a"}])).unwrap();
        let body = render("u", &AdmissionResponse { patch, ..AdmissionResponse::default() }).unwrap();
        let response = serde_json::from_slice::<Value>(&body).unwrap()["response"].take();
        assert_eq!(response["patchType"], "JSONPatch");
        let ByteString(bytes) = serde_json::from_value(response["patch"].clone()).unwrap();
        assert_eq!(bytes, br#"[{"op":"remove","path":"/a"}]"#);
    }
}
