use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn ids() -> ResponseIds {
    ResponseIds::with_secret(b"a secret of thirty-two bytes or more")
}

fn place() -> Place {
    Place::of("sol", "us-east-1", Endpoint::Runtime)
}

fn client(name: &str) -> Owner {
    let kind = CallerKind::Removed(Arc::from(name));
    Owner::of(&Caller { kind, access_key_id: None })
}

fn anonymous(key: &str) -> Owner {
    let kind = CallerKind::Anonymous(Arc::from(key));
    Owner::of(&Caller { kind, access_key_id: None })
}

fn opened(sealed: &str, owner: Owner) -> Result<String, ResponseIdError> {
    let found = ids().open(sealed, owner, |it| (it == place()).then_some(()));
    found.map(|found| found.id)
}

#[test]
fn an_id_leads_back_to_its_place_and_the_upstreams_id() {
    let sealed = ids().seal(place(), client("a"), "resp_0123").unwrap();
    assert!(sealed.starts_with(PREFIX), "{sealed}");
    assert!(!sealed.contains("0123"));
    let found = ids().open(&sealed, client("a"), Some).unwrap();
    assert_eq!(found, StoredResponse { place: place(), id: "resp_0123".to_owned() });
}

#[test]
fn the_same_response_has_the_same_id_for_the_same_client_at_the_same_place() {
    let seal = |place, owner, id| ids().seal(place, owner, id).unwrap();
    let first = seal(place(), client("a"), "resp_1");
    assert_eq!(first, seal(place(), client("a"), "resp_1"));
    assert_ne!(first, seal(place(), client("b"), "resp_1"));
    assert_ne!(first, seal(place(), client("a"), "resp_2"));
    let elsewhere = Place::of("sol", "us-west-2", Endpoint::Runtime);
    assert_ne!(first, seal(elsewhere, client("a"), "resp_1"));
}

#[test]
fn another_client_gets_the_answer_for_an_unknown_id() {
    let sealed = ids().seal(place(), client("a"), "resp_1").unwrap();
    let others = opened(&sealed, client("b")).unwrap_err();
    assert_eq!(others, ResponseIdError::OtherClient);
    assert_eq!(others.message(&sealed), ResponseIdError::Malformed.message(&sealed));
    // An anonymous caller may choose the name of a client as its key.
    assert_eq!(opened(&sealed, anonymous("a")), Err(ResponseIdError::OtherClient));
    let sealed = ids().seal(place(), anonymous("a"), "resp_1").unwrap();
    assert_eq!(opened(&sealed, anonymous("a")), Ok("resp_1".to_owned()));
    assert_eq!(opened(&sealed, client("a")), Err(ResponseIdError::OtherClient));
}

#[test]
fn a_target_that_was_renamed_or_moved_is_another_place() {
    for moved in [
        Place::of("luna", "us-east-1", Endpoint::Runtime),
        Place::of("sol", "us-east-2", Endpoint::Runtime),
        Place::of("sol", "us-east-1", Endpoint::Mantle),
        Place::of("solu", "s-east-1", Endpoint::Runtime),
    ] {
        let sealed = ids().seal(moved, client("a"), "resp_1").unwrap();
        assert_eq!(opened(&sealed, client("a")), Err(ResponseIdError::UnknownPlace));
    }
}

#[test]
fn ids_of_another_secret_are_unknown() {
    for other in [ResponseIds::random(), ResponseIds::with_secret(b"another secret of many bytes")]
    {
        let sealed = other.seal(place(), client("a"), "resp_1").unwrap();
        assert_eq!(opened(&sealed, client("a")), Err(ResponseIdError::Malformed));
    }
}

#[test]
fn the_longest_id_of_an_upstream_fits_and_a_longer_one_is_refused() {
    let sealed = ids().seal(place(), client("a"), &"x".repeat(MAX_UPSTREAM)).unwrap();
    assert!(sealed.len() <= MAX_SEALED, "{}", sealed.len());
    assert_eq!(opened(&sealed, client("a")).unwrap().len(), MAX_UPSTREAM);
    for id in ["", &"x".repeat(MAX_UPSTREAM + 1)] {
        assert_eq!(ids().seal(place(), client("a"), id), Err(SealError));
    }
}

#[test]
fn a_long_id_is_not_repeated_whole() {
    let message = ResponseIdError::Malformed.message(&"x".repeat(100_000));
    assert!(message.len() < 600);
}

proptest! {
    #[test]
    fn every_id_opens_as_it_was_sealed(
        target in "\\PC{0,80}",
        region in "[a-z0-9-]{0,20}",
        name in "\\PC{0,40}",
        id in "\\PC{1,60}",
    ) {
        let place = Place::of(&target, &region, Endpoint::Mantle);
        let sealed = ids().seal(place, client(&name), &id).unwrap();
        prop_assert!(sealed.len() <= MAX_SEALED);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        prop_assert!(sealed.bytes().all(is_plain), "{sealed}");
        let found = ids().open(&sealed, client(&name), Some).unwrap();
        prop_assert_eq!(found, StoredResponse { place, id });
    }

    #[test]
    fn no_changed_id_opens(at in 0usize..200, to in "[A-Za-z0-9_=.-]") {
        let sealed = ids().seal(place(), client("a"), "resp_0123456789").unwrap();
        let at = at % sealed.len();
        let mut changed = sealed.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != sealed);
        prop_assert_eq!(opened(&changed, client("a")), Err(ResponseIdError::Malformed));
        let shorter = sealed.get(..at).unwrap();
        prop_assert_eq!(opened(shorter, client("a")), Err(ResponseIdError::Malformed));
    }

    #[test]
    fn no_text_opens_or_makes_it_panic(text in "(resp_)?\\PC{0,600}") {
        prop_assert_eq!(opened(&text, client("a")), Err(ResponseIdError::Malformed));
    }
}
