//! Verification against botocore's own signatures, and against each way to spoil one.

use super::*;
use http::{HeaderName, HeaderValue, Uri};
use proptest::prelude::*;
use serde_json::Value;

const VECTORS: &str = include_str!("../../../bedrock/vectors/sigv4.json");

/// A signed request that can be changed before it is verified.
struct Signed {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
    keys: HashMap<String, SecretString>,
    now: i64,
}

impl Signed {
    fn all() -> Vec<Self> {
        let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
        vectors.iter().map(Self::of).collect()
    }

    fn first() -> Self {
        Self::all().remove(0)
    }

    fn of(vector: &Value) -> Self {
        let text = |name: &str| vector[name].as_str().unwrap().to_owned();
        let uri: Uri = text("url").parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in vector["signed_headers"].as_object().unwrap() {
            headers.insert(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value.as_str().unwrap()).unwrap(),
            );
        }
        headers.insert("host", HeaderValue::from_str(uri.host().unwrap()).unwrap());
        Self {
            method: text("method").parse().unwrap(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            headers,
            body: text("body").into_bytes(),
            keys: HashMap::from([(text("access_key_id"), text("secret_access_key").into())]),
            now: parse_amz_date(&text("time")).unwrap(),
        }
    }

    fn verify(&self) -> Result<Verified, Refusal> {
        let request = Received {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            authority: None,
            body: &self.body,
        };
        verify(&request, &self.keys, None, self.now)
    }

    fn header(&mut self, name: &'static str, value: &str) {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }

    fn authorization(&self) -> String {
        self.headers["authorization"].to_str().unwrap().to_owned()
    }
}

#[test]
fn accepts_what_botocore_signed() {
    let all = Signed::all();
    assert!(all.len() >= 6);
    for signed in all {
        assert_eq!(
            signed.verify(),
            Ok(Verified::SigV4 {
                access_key_id: "AKIDEXAMPLE".to_owned(),
                region: "us-east-1".to_owned()
            }),
            "{}",
            signed.path
        );
    }
}

#[test]
fn one_changed_byte_anywhere_in_the_body_is_refused() {
    let signed = Signed::first();
    for at in 0..signed.body.len() {
        let mut changed = Signed::first();
        changed.body[at] ^= 1;
        assert_eq!(changed.verify().unwrap_err().name(), "InvalidSignatureException");
    }
}

#[test]
fn one_changed_byte_of_path_query_header_or_signature_is_refused() {
    let mut other = Signed::first();
    other.path = other.path.replace("sonnet", "sonneT");
    assert_eq!(other.verify().unwrap_err().name(), "InvalidSignatureException");

    let mut recoded = Signed::first();
    recoded.path = recoded.path.replace("%3A", ":");
    assert_eq!(recoded.verify().unwrap_err().name(), "InvalidSignatureException");

    let mut query = Signed::first();
    query.query = "a=b".to_owned();
    assert_eq!(query.verify().unwrap_err().name(), "InvalidSignatureException");

    let mut header = Signed::first();
    header.header("accept", "application/jsom");
    assert_eq!(header.verify().unwrap_err().name(), "InvalidSignatureException");

    let mut host = Signed::first();
    host.header("host", "127.0.0.1:4599");
    assert_eq!(host.verify().unwrap_err().name(), "InvalidSignatureException");

    let mut method = Signed::first();
    method.method = Method::PUT;
    assert_eq!(method.verify().unwrap_err().name(), "InvalidSignatureException");

    let mut signature = Signed::first();
    let value = signature.authorization();
    let last = if value.ends_with('0') { "1" } else { "0" };
    signature.header("authorization", &format!("{}{last}", &value[..value.len() - 1]));
    assert_eq!(signature.verify().unwrap_err().name(), "InvalidSignatureException");
}

#[test]
fn a_changed_session_token_is_refused_and_never_shown() {
    let mut signed =
        Signed::all().into_iter().find(|s| s.headers.contains_key("x-amz-security-token"));
    let signed = signed.as_mut().unwrap();
    signed.header("x-amz-security-token", "another-token");
    let refusal = signed.verify().unwrap_err();
    assert_eq!(refusal.name(), "InvalidSignatureException");
    assert!(!refusal.to_string().contains("another-token"));
}

#[test]
fn a_session_token_outside_the_signature_is_refused() {
    let mut signed = Signed::first();
    signed.header("x-amz-security-token", "smuggled");
    assert!(signed.verify().unwrap_err().to_string().contains("x-amz-security-token"));
}

#[test]
fn the_clock_may_be_five_minutes_off_and_no_more() {
    for (shift, good) in [(-300, true), (300, true), (-301, false), (301, false)] {
        let mut signed = Signed::first();
        signed.now += shift;
        assert_eq!(signed.verify().is_ok(), good, "{shift}");
    }
    let mut late = Signed::first();
    late.now += 600;
    let refusal = late.verify().unwrap_err().to_string();
    assert_eq!(
        refusal,
        "Signature expired: 20261123T120000Z is now earlier than 20261123T120500Z \
         (20261123T121000Z - 5 min.)"
    );
}

#[test]
fn each_lack_has_its_own_exception() {
    let mut none = Signed::first();
    none.headers.remove("authorization");
    assert_eq!(none.verify(), Err(Refusal::Missing));

    let mut stranger = Signed::first();
    stranger.keys.clear();
    assert_eq!(stranger.verify(), Err(Refusal::UnknownKey));

    for part in ["Credential", "SignedHeaders", "Signature"] {
        let mut cut = Signed::first();
        let value = cut.authorization();
        let start = value.find(&format!("{part}=")).unwrap() + part.len() + 1;
        let end = value[start..].find(',').map_or(value.len(), |at| start + at);
        cut.header("authorization", &format!("{}{}", &value[..start], &value[end..]));
        let refusal = cut.verify().unwrap_err();
        assert_eq!(refusal.name(), "IncompleteSignatureException");
        assert!(refusal.to_string().contains(part));
    }

    let mut undated = Signed::first();
    undated.headers.remove("x-amz-date");
    assert_eq!(undated.verify().unwrap_err().name(), "IncompleteSignatureException");

    let mut double = Signed::first();
    double.headers.append("authorization", HeaderValue::from_static("Bearer x"));
    assert_eq!(double.verify().unwrap_err().name(), "IncompleteSignatureException");

    let mut service = Signed::first();
    let value = service.authorization().replace("/bedrock/", "/s3/");
    service.header("authorization", &value);
    assert!(service.verify().unwrap_err().to_string().contains("correct service"));
}

#[test]
fn the_payload_hash_header_must_be_the_bodys() {
    let mut right = Signed::first();
    let hash = sha256_hex(&right.body);
    right.header("x-amz-content-sha256", &hash);
    assert!(right.verify().is_ok());
    for wrong in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"] {
        right.header("x-amz-content-sha256", wrong);
        assert_eq!(right.verify().unwrap_err().name(), "InvalidSignatureException");
    }
}

#[test]
fn the_authority_stands_for_a_missing_host() {
    let signed = Signed::first();
    let mut headers = signed.headers.clone();
    let host = headers.remove("host").unwrap();
    let request = Received {
        method: &signed.method,
        path: &signed.path,
        query: "",
        headers: &headers,
        authority: host.to_str().ok(),
        body: &signed.body,
    };
    assert!(verify(&request, &signed.keys, None, signed.now).is_ok());
}

#[test]
fn an_authority_signed_under_its_own_name_is_no_lesser() {
    let mut signed = Signed::first();
    let host = signed.headers.remove("host").unwrap();
    let authorization = signed.headers["authorization"].to_str().unwrap().to_owned();
    signed.header("authorization", &{
        let others = authorization.replace(";host;", ";");
        others.replace("SignedHeaders=", "SignedHeaders=:authority;")
    });
    let request = |authority| Received {
        method: &signed.method,
        path: &signed.path,
        query: "",
        headers: &signed.headers,
        authority,
        body: &signed.body,
    };
    // The name is part of what is signed, so this vector's signature is another's now; without an
    // authority it is not even looked at.
    let refused = |authority| {
        verify(&request(authority), &signed.keys, None, signed.now).unwrap_err().to_string()
    };
    assert!(
        refused(host.to_str().ok()).contains("does not match"),
        "{}",
        refused(host.to_str().ok())
    );
    assert!(refused(None).contains("must be a 'SignedHeader'"), "{}", refused(None));
}

#[test]
fn the_bearer_form_compares_whole_keys() {
    let key = SecretString::from("abc");
    let check = |value: &'static str| {
        let mut signed = Signed::first();
        signed.header("authorization", value);
        let request = Received {
            method: &signed.method,
            path: &signed.path,
            query: "",
            headers: &signed.headers,
            authority: None,
            body: b"",
        };
        verify(&request, &signed.keys, Some(&key), signed.now)
    };
    assert_eq!(check("Bearer abc"), Ok(Verified::Bearer));
    assert_eq!(check("Bearer abcd"), Err(Refusal::UnknownBearer));
    assert_eq!(check("Bearer ab"), Err(Refusal::UnknownBearer));
}

proptest! {
    #[test]
    fn no_authorization_header_panics(value in "[ -~]{0,80}", date in "[ -~]{0,20}") {
        let mut signed = Signed::first();
        signed.header("authorization", &format!("AWS4-HMAC-SHA256 {value}"));
        signed.header("x-amz-date", &date);
        prop_assert!(signed.verify().is_err());
    }
}
