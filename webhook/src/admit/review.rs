//! AdmissionReview v1, as far as it is needed: bytes -> request, answer -> bytes.
//!
//! The body is read once and stays what it is, see `json_index`. The answer is written into one buffer.

use workflow_contract::text;

use super::patch::Patch;
use super::plan::Refusal;
use json_index::{Base64, Document, Json, JsonError, ToJson, object};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// How every response begins.
const RESPONSE: &[u8] = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"#;

/// Bytes of a response beside its patch, mostly.
const ROOM: usize = 256;

/// A body that is no AdmissionReview. The message goes to the API server with status 400.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// No text.
    #[error("the body is not an AdmissionReview: {0}")]
    Encoding(#[from] std::str::Utf8Error),
    /// No JSON.
    #[error("the body is not an AdmissionReview: {0}")]
    Json(#[from] JsonError),
    /// JSON of another shape.
    #[error("the body is not an AdmissionReview: `{0}` is not what it should be")]
    Shape(&'static str),
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

/// What is asked. Unknown fields are ignored, absent ones are empty.
#[derive(Debug)]
pub struct Request<'b> {
    document: Document<'b>,
    /// Where the request is in it.
    place: usize,
}

/// Reads a body.
///
/// # Errors
/// [`ReviewError`] with a message for the answer.
pub fn parse(body: &[u8]) -> Result<Request<'_>, ReviewError> {
    let document = Document::read(std::str::from_utf8(body)?)?;
    let review = document.root();
    if !review.is_object() {
        return Err(ReviewError::Shape("the body"));
    }
    let (api_version, kind) = (text_of(review, "apiVersion")?, text_of(review, "kind")?);
    if api_version != API_VERSION || kind != KIND {
        return Err(ReviewError::Kind {
            kind: text::sanitize(kind),
            api_version: text::sanitize(api_version),
        });
    }
    let request = review.get("request");
    if request.is_null() {
        return Err(ReviewError::NoRequest);
    }
    if !request.is_object() {
        return Err(ReviewError::Shape("request"));
    }
    for field in ["operation", "namespace", "name", "subResource"] {
        text_of(request, field)?;
    }
    if text_of(request, "uid")?.is_empty() {
        return Err(ReviewError::NoRequest);
    }
    let place = request.place();
    Ok(Request { document, place })
}

/// A field that is a text, or absent.
fn text_of<'d>(object: Json<'d>, field: &'static str) -> Result<&'d str, ReviewError> {
    let value = object.get(field);
    if value.is_null() {
        return Ok("");
    }
    value.as_str().ok_or(ReviewError::Shape(field))
}

impl Request<'_> {
    fn fields(&self) -> Json<'_> {
        self.document.at(self.place)
    }

    /// Identifies the request; the response carries it too.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.fields().text("uid")
    }

    /// Namespace of the object.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.fields().text("namespace")
    }

    /// The object as it is to be created; null on DELETE.
    #[must_use]
    pub fn object(&self) -> Json<'_> {
        self.fields().get("object")
    }

    /// Whether a pod is being created. `dryRun` makes no difference: nothing is done but answering.
    #[must_use]
    pub fn creates_a_pod(&self) -> bool {
        let kind = self.fields().get("kind");
        self.fields().text("operation") == "CREATE"
            && ["group", "version", "kind"].map(|part| kind.text(part)) == ["", "v1", "Pod"]
            && self.fields().text("subResource").is_empty()
            && self.object().is_object()
    }

    /// The pod's name, or what it is to be generated from.
    #[must_use]
    pub fn pod_name(&self) -> &str {
        let metadata = self.object().get("metadata");
        let names = [self.fields().text("name"), metadata.text("name"), metadata.text("generateName")];
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

/// The body of the response.
#[must_use]
pub fn render(uid: &str, answer: &Answer) -> Vec<u8> {
    let patch = answer.patch.as_bytes();
    let mut out = Vec::with_capacity(ROOM + patch.len().div_ceil(3) * 4);
    out.extend_from_slice(RESPONSE);
    uid.to_json(&mut out);
    if let Some(refusal) = &answer.refusal {
        out.extend_from_slice(br#","allowed":false,"status":"#);
        object(&mut out, |members| {
            members.add("code", &i64::from(refusal.code));
            members.add("message", &*refusal.message);
        });
    } else {
        out.extend_from_slice(br#","allowed":true"#);
        if !patch.is_empty() {
            out.extend_from_slice(br#","patchType":"JSONPatch","patch":"#);
            Base64(patch).to_json(&mut out);
        }
    }
    if !answer.warnings.is_empty() {
        out.extend_from_slice(br#","warnings":"#);
        answer.warnings[..].to_json(&mut out);
    }
    out.extend_from_slice(b"}}");
    out
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::{Value, json};

    use super::super::patch::{Ops, Path};
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
        assert_eq!((request.uid(), request.namespace(), request.pod_name()), ("u", "n", "p-"));
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
    fn a_refusal_carries_uid_code_and_message_and_no_patch() {
        let refusal = Some(Refusal { code: 403, message: "no".into(), cause: "test" });
        let body = render("u", &Answer { refusal, ..Answer::default() });
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
        let body = render("u", &Answer::default());
        let response = serde_json::from_slice::<Value>(&body).unwrap()["response"].take();
        assert_eq!(response, json!({"uid": "u", "allowed": true}));
    }

    #[test]
    fn a_patch_is_base64_of_rfc_6902() {
        let mut ops = Ops::default();
        ops.remove(Path::ROOT.below("a"));
        let patch = ops.into_patch();
        let body = render("u", &Answer { patch, ..Answer::default() });
        let response = serde_json::from_slice::<Value>(&body).unwrap()["response"].take();
        assert_eq!(response["patchType"], "JSONPatch");
        let ByteString(bytes) = serde_json::from_value(response["patch"].clone()).unwrap();
        assert_eq!(bytes, br#"[{"op":"remove","path":"/a"}]"#);
    }
}
