use serde_json::{Value, json};

use super::*;

const SONNET: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";
const OPUS: &str = "anthropic.claude-opus-4-1-20250805-v1:0";
const APPLICATION: &str =
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";

fn target(model: &str) -> Target {
    Target {
        name: "a".to_owned(),
        model: model.to_owned(),
        region: "us-east-1".to_owned(),
        ..Target::default()
    }
}

fn model(id: &str, types: &[&str]) -> Value {
    json!({ "modelId": id, "inferenceTypesSupported": types })
}

fn profile(id: &str, regions: &[&str]) -> Value {
    let base = id.split_once('.').unwrap().1;
    let arn = |region| format!("arn:aws:bedrock:{region}::foundation-model/{base}");
    let models: Vec<Value> =
        regions.iter().map(|region| json!({ "modelArn": arn(region) })).collect();
    json!({ "inferenceProfileId": id, "models": models })
}

fn snapshot(models: Vec<Value>, profiles: Vec<Value>) -> Snapshot {
    Snapshot {
        models: Some(serde_json::from_value(Value::from(models)).unwrap()),
        profiles: Some(serde_json::from_value(Value::from(profiles)).unwrap()),
        ..Snapshot::default()
    }
}

#[track_caller]
fn missing_of(target: &Target, snapshot: &Snapshot) -> (String, Option<String>) {
    match resolve(target, snapshot, &Catalogue::shipped()) {
        Resolved::Missing(finding) => {
            assert_eq!(
                (finding.severity, finding.path().as_str()),
                (Severity::Error, "targets.a.model")
            );
            let paste = finding.paste.first().map(|(_, value)| value.as_str().unwrap().to_owned());
            (finding.message, paste)
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn called(target: &Target, snapshot: &Snapshot) -> Called {
    match resolve(target, snapshot, &Catalogue::shipped()) {
        Resolved::Model(called) => called,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_profile_only_model_used_bare_is_told_with_the_nearest_profile() {
    let profiles = vec![
        profile(&format!("global.{SONNET}"), &["us-east-1", ""]),
        profile(&format!("us.{SONNET}"), &["us-east-1", "us-west-2"]),
    ];
    let account = snapshot(vec![model(SONNET, &["INFERENCE_PROFILE"])], profiles);
    let (message, paste) = missing_of(&target(SONNET), &account);
    let us = format!("us.{SONNET}");
    assert_eq!(
        message,
        format!("in us-east-1 '{SONNET}' is called by an inference profile only: use '{us}'")
    );
    assert_eq!(paste.as_deref(), Some(us.as_str()));
    // In a region without a profile of its own geography, the global one.
    let elsewhere = Target { region: "sa-east-1".to_owned(), ..target(SONNET) };
    let global = snapshot(
        vec![model(SONNET, &["INFERENCE_PROFILE"])],
        vec![profile(&format!("global.{SONNET}"), &[""])],
    );
    assert_eq!(missing_of(&elsewhere, &global).1, Some(format!("global.{SONNET}")));
    let provisioned = snapshot(vec![model(SONNET, &["PROVISIONED"])], Vec::new());
    let (message, paste) = missing_of(&target(SONNET), &provisioned);
    assert!(message.ends_with("needs provisioned throughput") && paste.is_none(), "{message}");
}

#[test]
fn a_model_or_profile_that_the_region_does_not_have_is_told() {
    let account = snapshot(vec![model("amazon.nova-lite-v1:0", &["ON_DEMAND"])], Vec::new());
    let (message, paste) = missing_of(&target("amazon.nova-pro-v1:0"), &account);
    assert_eq!(message, "AWS has no model 'amazon.nova-pro-v1:0' in us-east-1");
    assert_eq!(paste, None);
    let us = format!("us.{SONNET}");
    let account = snapshot(Vec::new(), vec![profile(&us, &["us-east-1", "us-west-2"])]);
    let (message, paste) = missing_of(&target(&format!("eu.{SONNET}")), &account);
    assert!(message.starts_with("AWS has no inference profile 'eu."), "{message}");
    assert_eq!(paste.as_ref(), Some(&us));
    let arn = format!("arn:aws:bedrock:us-east-1:123456789012:inference-profile/{us}");
    let by_arn = called(&target(&arn), &account);
    assert_eq!(by_arn, Called { base: SONNET.to_owned(), scope: Scope::CrossRegion });
    // A retired model is not in the list any more.
    let next = "us.anthropic.claude-opus-4-5-20251101-v1:0";
    let account = snapshot(Vec::new(), vec![profile(next, &["us-east-1"])]);
    let (message, paste) = missing_of(&target(OPUS), &account);
    assert!(message.contains("it may be retired: use 'us."), "{message}");
    assert_eq!(paste.as_deref(), Some(next));
}

#[test]
fn nothing_is_concluded_from_a_list_that_was_not_read() {
    let unread = Snapshot::default();
    for (model, scope) in [
        (SONNET.to_owned(), Scope::OnDemand),
        (format!("us.{SONNET}"), Scope::CrossRegion),
        (format!("global.{SONNET}"), Scope::Global),
    ] {
        let wanted = Called { base: SONNET.to_owned(), scope };
        assert_eq!(called(&target(&model), &unread), wanted);
    }
    assert!(matches!(
        resolve(&target(APPLICATION), &unread, &Catalogue::shipped()),
        Resolved::Unknown(None)
    ));
    let custom = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc";
    assert!(matches!(
        resolve(&target(custom), &unread, &Catalogue::shipped()),
        Resolved::Unknown(Some(_))
    ));
}

#[test]
fn the_model_behind_an_application_profile_is_compared_with_base_model() {
    let of = |regions: &[&str]| {
        let profile = serde_json::from_value(profile(&format!("us.{SONNET}"), regions)).unwrap();
        Snapshot {
            described: [(APPLICATION.to_owned(), Some(profile))].into(),
            ..Snapshot::default()
        }
    };
    for (regions, scope) in [
        (vec!["us-east-1"], Scope::OnDemand),
        (vec!["us-east-1", "us-west-2"], Scope::CrossRegion),
        (vec!["us-east-1", ""], Scope::Global),
    ] {
        assert_eq!(called(&target(APPLICATION), &of(&regions)).scope, scope);
    }
    let account = of(&["us-east-1"]);
    let today = Date::parse("2026-11-29").unwrap();
    let said = |base_model: Option<&str>| {
        let base_model = base_model.map(str::to_owned);
        let target = Target { base_model, ..target(APPLICATION) };
        findings(&target, &called(&target, &account), &account, (&Catalogue::shipped(), today))
    };
    assert_eq!(said(Some(SONNET)), []);
    for (named, words) in [(None, "without it Sluice does not know"), (Some(OPUS), "is 'anthropic")]
    {
        let found = said(named);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.contains(words), "{found:?}");
        assert_eq!(found[0].paste, [("base_model", SONNET.into())]);
    }
    let gone = Snapshot { described: [(APPLICATION.to_owned(), None)].into(), ..account };
    let (message, _) = missing_of(&target(APPLICATION), &gone);
    assert_eq!(message, "the account has no such inference profile in us-east-1");
}

#[test]
fn a_model_that_is_not_enabled_is_an_error_and_a_missing_agreement_a_warning() {
    let said = |availability: Value| {
        let availability = serde_json::from_value(availability).unwrap();
        let mut account = snapshot(vec![model(SONNET, &["ON_DEMAND"])], Vec::new());
        account.availability.insert(SONNET.to_owned(), Some(availability));
        let target = target(SONNET);
        let today = Date::parse("2026-11-29").unwrap();
        let found =
            findings(&target, &called(&target, &account), &account, (&Catalogue::shipped(), today));
        found.first().map(|finding| finding.severity)
    };
    assert_eq!(said(json!({})), None);
    assert_eq!(
        said(json!({
            "agreementAvailability": { "status": "AVAILABLE" },
            "authorizationStatus": "AUTHORIZED",
            "entitlementAvailability": "AVAILABLE",
            "regionAvailability": "AVAILABLE",
        })),
        None
    );
    for (availability, severity) in [
        (json!({ "authorizationStatus": "NOT_AUTHORIZED" }), Severity::Error),
        (json!({ "entitlementAvailability": "NOT_AVAILABLE" }), Severity::Error),
        (json!({ "regionAvailability": "NOT_AVAILABLE" }), Severity::Error),
        (json!({ "agreementAvailability": { "status": "PENDING" } }), Severity::Warning),
        (json!({ "agreementAvailability": { "status": "NOT_AVAILABLE" } }), Severity::Warning),
    ] {
        assert_eq!(said(availability.clone()), Some(severity), "{availability}");
    }
}

#[test]
fn the_end_of_a_model_is_told_with_a_successor_that_the_account_has() {
    let next = "us.anthropic.claude-opus-4-5-20251101-v1:0";
    let said = |status: &str, end: Option<&str>, has_next: bool| {
        let mut listed = model(OPUS, &["ON_DEMAND"]);
        listed["modelLifecycle"] = json!({ "status": status, "endOfLifeTime": end });
        let profiles = has_next.then(|| profile(next, &["us-east-1"])).into_iter().collect();
        let account = snapshot(vec![listed], profiles);
        let target = target(OPUS);
        let today = Date::parse("2026-11-29").unwrap();
        let found =
            findings(&target, &called(&target, &account), &account, (&Catalogue::shipped(), today));
        found.first().map(|it| (it.severity, it.message.clone(), it.paste.len()))
    };
    assert_eq!(said("ACTIVE", None, true), None);
    assert_eq!(said("ACTIVE", Some("2028-01-01T00:00:00Z"), true), None);
    let (severity, message, paste) = said("LEGACY", Some("2027-01-08T00:00:00Z"), true).unwrap();
    assert_eq!((severity, paste), (Severity::Warning, 1));
    let wanted =
        format!("AWS retires '{OPUS}' in 40 days, on 2027-01-08: use '{next}', its successor");
    assert_eq!(message, wanted);
    let (severity, message, paste) = said("LEGACY", Some("2026-11-29T00:00:00Z"), false).unwrap();
    assert_eq!((severity, paste), (Severity::Error, 0));
    assert_eq!(message, format!("AWS retired '{OPUS}' on 2026-11-29"));
    let (severity, message, _) = said("LEGACY", None, false).unwrap();
    assert_eq!(severity, Severity::Warning);
    assert!(message.ends_with("it names no end yet"), "{message}");
    let soon = said("ACTIVE", Some("2026-12-09T00:00:00Z"), false).unwrap();
    assert!(soon.1.contains("in 10 days"), "{soon:?}");
}
