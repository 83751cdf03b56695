//! Clients that are known by the certificate of their connection.

use crate::auth::ClientCertificate;

use super::*;

fn certificate(subject: &str, names: &[&str]) -> ClientCertificate {
    let common_name = subject.strip_prefix("CN=").and_then(|rest| rest.split(',').next());
    ClientCertificate {
        subject: subject.to_owned(),
        common_name: common_name.map(|name| format!("CN:{name}")),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// team-a with a key pair and certificates, and team-b with a certificate alone.
fn authenticator() -> Authenticator {
    let pair =
        KeyPair { access_key_id: ID.to_owned(), secret_access_key: SECRET.into(), expires: None };
    let client = |name: &str, keys, certificates: &[&str]| config::ClientConfig {
        name: name.to_owned(),
        keys,
        certificates: certificates.iter().map(|name| (*name).to_owned()).collect(),
        ..config::ClientConfig::default()
    };
    let clients = [
        client("team-a", vec![pair], &["CN=a,O=Example", "URI:spiffe://example.com/a"]),
        client("team-b", vec![], &["CN:b", "DNS:b.example.com"]),
    ];
    authenticator_of(&clients, &auth(), None)
}

fn authenticate(
    head: &request::Parts,
    certificate: Option<&ClientCertificate>,
) -> Result<(String, Credential), AuthError> {
    let outcome = authenticator().authenticate(head, certificate, now())?;
    match outcome {
        AuthOutcome::Client(known, PendingAuth::Nothing) => {
            Ok((known.client.name.to_string(), known.credential))
        }
        AuthOutcome::Pending(pending) => {
            let known = authenticator().verify_signature(&pending, &PayloadHash::of(b"{}"))?;
            Ok((known.client.name.to_string(), known.credential))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_identifies_its_client_by_one_of_its_names() {
    let (head, ()) = Request::new(()).into_parts();
    let by = |name: &str| Ok((name.to_owned(), Credential::Certificate));
    for (subject, names, expected) in [
        ("CN=a,O=Example", &[][..], by("team-a")),
        ("", &["DNS:other", "URI:spiffe://example.com/a"], by("team-a")),
        ("CN=b", &[], by("team-b")),
        ("CN=b,O=Whatever", &[], by("team-b")),
        ("CN=x", &["DNS:b.example.com"], by("team-b")),
        // The subject comes first.
        ("CN=a,O=Example", &["DNS:b.example.com"], by("team-a")),
        ("CN=a", &[], Err(AuthError::Missing)),
        ("CN=a,O=Other", &["DNS:a.example.com"], Err(AuthError::Missing)),
        ("", &[], Err(AuthError::Missing)),
    ] {
        let certificate = certificate(subject, names);
        assert_eq!(authenticate(&head, Some(&certificate)), expected, "{subject} {names:?}");
        let unsigned = authenticator().authenticate_unsigned(&head, Some(&certificate), now());
        let name = unsigned.map(|client| client.unwrap().name.to_string());
        assert_eq!(name, expected.map(|(name, _)| name), "{subject} {names:?}");
    }
    assert_eq!(authenticate(&head, None), Err(AuthError::Missing));
}

#[test]
fn beside_a_certificate_only_a_signature_by_an_unknown_key_is_ignored() {
    let b = certificate("CN=b", &[]);
    let signed = |id, secret| Plan::simple().signed(id, secret, now()).head;
    let stranger = signed("AKIDSTRANGER", "a-secret-that-nobody-knows");
    assert_eq!(
        authenticate(&stranger, Some(&b)),
        Ok(("team-b".to_owned(), Credential::Certificate))
    );
    assert_eq!(authenticate(&stranger, None), Err(SignatureError::UnknownKey.into()));
    // Who shows two things is who the signature says, if it is right.
    assert_eq!(
        authenticate(&signed(ID, SECRET), Some(&b)),
        Ok(("team-a".to_owned(), Credential::KeyPair))
    );
    let forged = signed(ID, "a-secret-that-nobody-knows");
    assert_eq!(authenticate(&forged, Some(&b)), Err(SignatureError::Mismatch.into()));
    let (mut head, ()) = Request::new(()).into_parts();
    head.headers.insert("authorization", HeaderValue::from_static("Bearer a-key-that-nobody-has"));
    assert_eq!(authenticate(&head, Some(&b)), Err(AuthError::UnknownKey));
    head.headers.insert("authorization", HeaderValue::from_static("Basic x"));
    assert!(authenticate(&head, Some(&b)).is_err());
}
