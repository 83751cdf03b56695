//! The events of a bidirectional stream, as the AWS library signs them.

use aws_sigv4::event_stream::{sign_empty_message, sign_message};
use aws_smithy_types::event_stream::Message;

use super::*;
use crate::bedrock::sigv4::{BadEvent, EventChain};

const DAY: Duration = Duration::from_secs(86_400);

/// What the AWS library signs events by.
struct Signer {
    secret: &'static str,
    region: &'static str,
    last: String,
}

impl Signer {
    fn sign(&mut self, event: Option<&[u8]>, at: SystemTime) -> Message {
        let identity = Credentials::new(ID, self.secret, None, None, "test").into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name("bedrock")
            .time(at)
            .settings(())
            .build()
            .unwrap();
        let signed = match event {
            Some(event) => sign_message(&Message::new(event.to_vec()), &self.last, &params),
            None => sign_empty_message(&self.last, &params),
        };
        let (message, signature) = signed.unwrap().into_parts();
        self.last = signature;
        message
    }
}

/// A stream's chain, and who signs its events.
fn opened(region: &'static str) -> (EventChain, Signer) {
    let plan = Plan {
        path: "/model/amazon.nova-sonic-v1%3A0/invoke-with-bidirectional-stream".to_owned(),
        declared: Declared::Events,
        region,
        ..Plan::simple()
    };
    let signed = plan.signed(ID, SECRET, now());
    let authorization = signed.authorization();
    let (_, last) = authorization.split_once("Signature=").unwrap();
    let signer = Signer { secret: SECRET, region, last: last.to_owned() };
    match authenticator(&auth(), None).authenticate(&signed.head, None, now()) {
        Ok(AuthOutcome::Client(_, PendingAuth::Events(chain))) => (*chain, signer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_are_taken_as_they_were_signed_also_over_midnight() {
    let (mut chain, mut signer) = opened("eu-west-1");
    for (index, at) in [now(), now(), now() + DAY, now() + 20 * DAY].into_iter().enumerate() {
        let payload = format!("event {index}");
        let frame = signer.sign(Some(payload.as_bytes()), at);
        let event = chain.verify(&frame).unwrap().unwrap();
        assert_eq!(**event.payload(), *payload.as_bytes());
    }
    let end = signer.sign(None, now());
    assert_eq!(chain.verify(&end), Ok(None));
}

#[test]
fn an_omitted_added_moved_or_changed_event_breaks_the_chain() {
    type Change = fn(&mut Vec<Message>);
    let changes: [(Change, BadEvent); 8] = [
        (|frames| drop(frames.remove(0)), BadEvent::Mismatch),
        (|frames| frames.swap(0, 1), BadEvent::Mismatch),
        (|frames| frames.insert(1, frames[0].clone()), BadEvent::Mismatch),
        (|frames| frames.insert(0, Message::new("event")), BadEvent::NoDate),
        (|frames| frames[1] = without(&frames[1], ":date"), BadEvent::NoDate),
        (|frames| frames[1] = without(&frames[1], ":chunk-signature"), BadEvent::NoSignature),
        (
            |frames| {
                let mut payload = frames[1].payload().to_vec();
                payload[12] ^= 1;
                frames[1] = with_payload(&frames[1], payload);
            },
            BadEvent::Mismatch,
        ),
        (|frames| frames[1] = with_payload(&frames[1], vec![]), BadEvent::Mismatch),
    ];
    for (index, (change, expected)) in changes.into_iter().enumerate() {
        let (mut chain, mut signer) = opened("us-east-1");
        let mut frames = vec![
            signer.sign(Some(b"one"), now()),
            signer.sign(Some(b"two"), now()),
            signer.sign(None, now()),
        ];
        change(&mut frames);
        let bad = frames.iter().find_map(|frame| chain.verify(frame).err());
        assert_eq!(bad, Some(expected), "{index}");
    }
}

#[test]
fn another_key_or_region_is_refused() {
    let (mut chain, signer) = opened("us-east-1");
    let mut stranger = Signer { secret: "another-secret-0123456", ..signer };
    let frame = stranger.sign(Some(b"one"), now());
    assert_eq!(chain.verify(&frame), Err(BadEvent::Mismatch));
    let (mut chain, signer) = opened("us-east-1");
    let mut elsewhere = Signer { region: "eu-west-1", ..signer };
    let frame = elsewhere.sign(Some(b"one"), now());
    assert_eq!(chain.verify(&frame), Err(BadEvent::Mismatch));
}

fn with_payload(frame: &Message, payload: Vec<u8>) -> Message {
    let mut changed = Message::new(payload);
    for header in frame.headers() {
        changed = changed.add_header(header.clone());
    }
    changed
}

/// The frame less a header.
fn without(frame: &Message, name: &str) -> Message {
    let mut changed = Message::new(frame.payload().clone());
    for header in frame.headers().iter().filter(|it| it.name().as_str() != name) {
        changed = changed.add_header(header.clone());
    }
    changed
}
