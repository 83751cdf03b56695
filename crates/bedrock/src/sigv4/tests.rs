//! AWS's own test suite for signatures, botocore's vectors, and texts that are no claims.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

struct Signed {
    name: String,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    payload: PayloadHash,
    secret: String,
}

impl Signed {
    /// Whether the signature is right with the path in this form.
    fn verifies(&self, form: PathForm) -> bool {
        let authorization = self.headers["authorization"].to_str().unwrap();
        let claim = Authorization::parse(authorization).unwrap();
        let request = Received {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            authority: None,
        };
        let canonical = CanonicalHead::of(&request, claim.signed_headers).unwrap();
        let date = self.headers[DATE].to_str().unwrap();
        let hash = canonical.hash(form, self.payload.as_str());
        let to_sign = string_to_sign(date, &claim.scope, &hash);
        SigningKey::derive(&self.secret, &claim.scope).verifies(&to_sign, claim.signature)
    }
}

fn text(vector: &Value, key: &str) -> String {
    vector[key].as_str().unwrap().to_owned()
}

fn header(headers: &mut HeaderMap, name: &str, value: &str) {
    headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
}

/// The cases of AWS's suite that can come over HTTP as it is today, as signed requests: none with
/// folded header lines, and none that want dot segments or double slashes folded.
fn suite() -> Vec<Signed> {
    let vectors = include_str!("../../vectors/sigv4_suite.json");
    let vectors: Vec<Value> = serde_json::from_str(vectors).unwrap();
    let signed = vectors.iter().map(|vector| {
        let mut headers = HeaderMap::new();
        for pair in vector["headers"].as_array().unwrap() {
            header(&mut headers, pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        }
        Signed {
            name: text(vector, "name"),
            method: text(vector, "method").parse().unwrap(),
            path: text(vector, "path"),
            query: text(vector, "query"),
            headers,
            payload: PayloadHash::parse(&text(vector, "payload_hash")).unwrap(),
            secret: text(vector, "secret_access_key"),
        }
    });
    signed.collect()
}

fn botocore() -> Vec<Signed> {
    let vectors = include_str!("../../vectors/sigv4.json");
    let vectors: Vec<Value> = serde_json::from_str(vectors).unwrap();
    let signed = vectors.iter().map(|vector| {
        let uri: Uri = text(vector, "url").parse().unwrap();
        let mut headers = HeaderMap::new();
        header(&mut headers, "host", uri.host().unwrap());
        for (name, value) in vector["signed_headers"].as_object().unwrap() {
            headers.insert(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value.as_str().unwrap()).unwrap(),
            );
        }
        Signed {
            name: text(vector, "name"),
            method: text(vector, "method").parse().unwrap(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            headers,
            payload: PayloadHash::of(text(vector, "body").as_bytes()),
            secret: text(vector, "secret_access_key"),
        }
    });
    signed.collect()
}

#[test]
fn the_suite_and_botocores_vectors_verify() {
    let (suite, botocore) = (suite(), botocore());
    assert!(suite.len() >= 25 && botocore.len() >= 6);
    for signed in suite {
        let one_of = [PathForm::Encoded, PathForm::Verbatim];
        assert!(one_of.into_iter().any(|form| signed.verifies(form)), "{}", signed.name);
    }
    for signed in botocore {
        assert!(signed.verifies(PathForm::Encoded), "{}", signed.name);
        // A path that is not encoded once more is another path, if anything in it was encoded.
        assert!(!signed.verifies(PathForm::Verbatim), "{}", signed.name);
    }
}

#[test]
fn a_signature_is_its_own_and_in_lower_case() {
    let mut signed = botocore().remove(0);
    signed.secret.push('x');
    assert!(!signed.verifies(PathForm::Encoded));
    let mut signed = botocore().remove(0);
    let value = signed.headers["authorization"].to_str().unwrap().to_owned();
    let (claim, signature) = value.split_once("Signature=").unwrap();
    let shouted = format!("{claim}Signature={}", signature.to_uppercase());
    signed.headers.insert("authorization", HeaderValue::from_str(&shouted).unwrap());
    assert!(!signed.verifies(PathForm::Encoded));
}

#[test]
fn claims_are_read_whole_or_not_at_all() {
    let whole = "AWS4-HMAC-SHA256 Credential=AK/20261123/eu-west-1/bedrock/aws4_request,SignedHeaders=host;x-amz-date, Signature=ab";
    let claim = Authorization::parse(whole).unwrap();
    assert_eq!(
        (claim.access_key_id, claim.scope.region, claim.signature),
        ("AK", "eu-west-1", "ab")
    );
    assert!(claim.signs("host") && claim.signs("x-amz-date") && !claim.signs("x-amz"));
    assert_eq!(claim.scope.to_string(), "20261123/eu-west-1/bedrock/aws4_request");
    for (from, to, wrong) in [
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 ", Malformed::Algorithm),
        ("AWS4-HMAC-SHA256 ", "Basic ", Malformed::Algorithm),
        ("Signature=ab", "Signature=", Malformed::Lacks("Signature")),
        (", Signature=ab", "", Malformed::Lacks("Signature")),
        ("Credential=", "Other=", Malformed::Parameter),
        ("Signature=ab", "Signature=ab, Signature=ab", Malformed::Parameter),
        ("Signature=ab", "Signature", Malformed::Parameter),
        ("host;x-amz-date", "x-amz-date;host", Malformed::SignedHeaders),
        ("host;x-amz-date", "host;host;x-amz-date", Malformed::SignedHeaders),
        ("host;x-amz-date", "Host;x-amz-date", Malformed::SignedHeaders),
        ("AK/", "AK/more/", Malformed::Credential),
        ("AK/", "", Malformed::Credential),
        ("AK/", "/", Malformed::Credential),
    ] {
        assert_eq!(Authorization::parse(&whole.replace(from, to)), Err(wrong), "{to}");
    }
}

#[test]
fn names_of_signed_headers_are_in_lower_case_and_ascend() {
    for right in
        ["host", ":authority", ":authority;host;x-amz-date", "a;a-b;ab", "x!#$%&'*+.^_`|~1"]
    {
        assert_eq!(SignedHeaders::parse(right).map(SignedHeaders::as_str), Some(right));
    }
    for wrong in [
        "",
        ";",
        "host;",
        ";host",
        "host;;x",
        "host;host",
        "host;a;a",
        "x;host",
        "Host",
        "host;X-A",
        "host ",
        "host; x",
        "host,x",
        ":path",
        ":authority:",
        "h\u{f6}st",
        "a/b",
        "(a)",
        "a=b",
    ] {
        assert_eq!(SignedHeaders::parse(wrong), None, "{wrong}");
    }
    assert_eq!(SignedHeaders::parse(&format!("host;{}x-amz-date", "a;".repeat(15_000))), None);
}

#[test]
fn hashes_are_64_digits_in_lower_case() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(PayloadHash::of(b"").as_str(), empty);
    assert_eq!(PayloadHash::parse(empty), Some(PayloadHash::of(b"")));
    for wrong in ["", &empty[1..], &empty.to_uppercase(), &empty.replace('e', "g")] {
        assert_eq!(PayloadHash::parse(wrong), None, "{wrong}");
    }
    let mut pieces = PayloadHasher::new();
    pieces.update(b"he");
    pieces.update(b"llo");
    assert_eq!(pieces.finish(), PayloadHash::of(b"hello"));
}

proptest! {
    #[test]
    fn any_authorization_is_read_without_panic(value in "\\PC{0,80}") {
        let _ = Authorization::parse(&value);
        let _ = Authorization::parse(&format!("AWS4-HMAC-SHA256 {value}"));
    }

    #[test]
    fn any_request_has_a_canonical_form_or_lacks_a_header(
        path in "\\PC{0,40}", query in "\\PC{0,40}", signed in "[a-z:;]{0,20}",
    ) {
        let request = Received {
            method: &Method::POST,
            path: &path,
            query: &query,
            headers: &HeaderMap::new(),
            authority: Some("h"),
        };
        if let Some(signed) = SignedHeaders::parse(&signed) {
            let _ = CanonicalHead::of(&request, signed);
        }
    }

    /// What is hashed as it is made is what would be shown, whatever its length.
    #[test]
    fn the_hash_is_that_of_the_text(
        path in "/[a-z:%/]{0,40}",
        query in "[a-c=&%2]{0,60}",
        values in proptest::collection::vec("[ a-z]{0,1500}", 0..5),
    ) {
        let mut headers = HeaderMap::new();
        for (index, value) in values.iter().enumerate() {
            header(&mut headers, &format!("x-{}", index % 3), value);
        }
        let names: Vec<_> = (0..values.len().min(3)).map(|index| format!("x-{index}")).collect();
        let names = [vec!["host".to_owned()], names].concat().join(";");
        let signed = SignedHeaders::parse(&names).unwrap();
        let request = Received {
            method: &Method::POST,
            path: &path,
            query: &query,
            headers: &headers,
            authority: Some("h"),
        };
        let head = CanonicalHead::of(&request, signed).unwrap();
        let text = canonical_text(&request, signed, "payload").unwrap();
        prop_assert_eq!(head.hash(PathForm::Encoded, "payload"), PayloadHash::of(text.as_bytes()));
        let line = text.split('\n').nth(1).unwrap();
        prop_assert_eq!(head.has_one_form(), line == path);
        let verbatim = text.replacen(line, &path, 1);
        let verbatim = PayloadHash::of(verbatim.as_bytes());
        prop_assert_eq!(head.hash(PathForm::Verbatim, "payload"), verbatim);
    }
}
