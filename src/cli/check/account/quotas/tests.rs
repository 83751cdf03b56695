use super::*;

const SONNET: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";
const PER_DAY: &str = "Model invocation max tokens per day for Anthropic Claude Sonnet 4.5 V1 (doubled for cross-region calls)";

fn quota(name: &str, value: f64, default: f64) -> Quota {
    Quota { name: name.to_owned(), value, default: Some(default) }
}

fn cross(unit: &str, value: f64) -> Quota {
    let name = format!("Cross-region model inference {unit} for Anthropic Claude Sonnet 4.5 V1");
    quota(&name, value, value)
}

fn account(quotas: Vec<Quota>) -> Snapshot {
    Snapshot { quotas: Some(quotas), ..Snapshot::default() }
}

fn called(scope: Scope) -> Called {
    Called { base: SONNET.to_owned(), scope }
}

fn target(name: &str) -> Target {
    Target { name: name.to_owned(), model: format!("us.{SONNET}"), ..Target::default() }
}

fn config(text: &str) -> Config {
    Config::from_toml(text, "config.toml", &config::Env::default()).unwrap().config
}

/// What is found for a target `a` that calls by a profile of a geography.
fn found(target: Target, quotas: Vec<Quota>) -> Vec<Finding> {
    findings(&config(""), &[(&target, called(Scope::CrossRegion))], &account(quotas))
}

#[test]
fn the_quotas_of_a_scope_are_its_own() {
    let account = account(vec![
        quota("On-demand model inference tokens per minute for Claude Sonnet 4.5", 10.0, 10.0),
        cross("tokens per minute", 20.0),
        cross("requests per minute", 2.0),
        cross("tokens per minute 1M Context Length", 1.0),
        quota(
            "Global cross-region model inference tokens per minute for Claude Sonnet 4.5",
            30.0,
            30.0,
        ),
        quota(
            "Cross-region model inference tokens per minute for Anthropic Claude Sonnet 4 V1",
            99.0,
            99.0,
        ),
        quota(PER_DAY, 1000.0, 1000.0),
    ]);
    let of = |scope, unit| quotas_of(&called(scope), &account).values.get(&unit).copied();
    assert_eq!(of(Scope::OnDemand, Unit::TokensPerMinute), Some(10));
    assert_eq!(of(Scope::CrossRegion, Unit::TokensPerMinute), Some(20));
    assert_eq!(of(Scope::CrossRegion, Unit::RequestsPerMinute), Some(2));
    assert_eq!(of(Scope::Global, Unit::TokensPerMinute), Some(30));
    assert_eq!(of(Scope::Global, Unit::RequestsPerMinute), None);
    assert_eq!(of(Scope::OnDemand, Unit::TokensPerDay), Some(1000));
    assert_eq!(of(Scope::CrossRegion, Unit::TokensPerDay), Some(2000));
    assert_eq!(of(Scope::Global, Unit::TokensPerDay), None);
}

#[test]
fn tokens_per_day_are_not_doubled_where_aws_has_granted_more_per_minute() {
    let name = "Cross-region model inference tokens per minute for Claude Sonnet 4.5";
    let account = account(vec![quota(name, 500.0, 200.0), quota(PER_DAY, 1000.0, 1000.0)]);
    let values = quotas_of(&called(Scope::CrossRegion), &account).values;
    assert_eq!(values.get(&Unit::TokensPerDay), Some(&1000));
}

#[test]
fn quotas_that_contradict_one_another_are_told_and_not_chosen_among() {
    let other = quota(
        "Cross-region model inference tokens per minute for Anthropic Claude Sonnet 4.5",
        7.0,
        7.0,
    );
    let found = found(target("a"), vec![cross("tokens per minute", 9.0), other.clone()]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].severity, found[0].kind), (Severity::Note, "quota_unknown"));
    assert!(found[0].message.contains(&other.name), "{found:?}");
    // The same value under two names is one value.
    let same = vec![cross("tokens per minute", 7.0), other];
    assert_eq!(quotas_of(&called(Scope::CrossRegion), &account(same)).values.len(), 1);
}

#[test]
fn quotas_that_differ_are_told_with_the_line_to_paste() {
    let account = || vec![cross("requests per minute", 100.0), cross("tokens per minute", 5000.0)];
    let of = |rpm, tpm| found(Target { rpm, tpm, ..target("a") }, account());
    assert_eq!(of(Some(100), Some(5000)), []);
    let said = of(Some(200), Some(4000));
    let told: Vec<(String, Severity, i64)> = said
        .iter()
        .map(|it| (it.path(), it.severity, it.paste[0].1.as_integer().unwrap()))
        .collect();
    let rpm = ("targets.a.rpm".to_owned(), Severity::Warning, 100);
    let tpm = ("targets.a.tpm".to_owned(), Severity::Warning, 5000);
    assert_eq!(told, [rpm, tpm]);
    assert!(said[0].message.contains("AWS throttles what is above that"), "{said:?}");
    assert!(said[1].message.contains("the rest is not used"), "{said:?}");
    // A quota that is not set is learned.
    let unset = of(None, None);
    assert!(unset.iter().all(|it| it.severity == Severity::Note && it.paste.len() == 1));
}

#[test]
fn a_quota_that_the_account_does_not_have_is_noted() {
    let target = Target { rpm: Some(5), tpm: Some(9), ..target("a") };
    let said = found(target, vec![cross("tokens per minute", 9.0)]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((said[0].severity, said[0].path().as_str()), (Severity::Note, "targets.a.rpm"));
    let none = found(Target { rpm: Some(5), ..self::target("a") }, Vec::new());
    assert_eq!(none.len(), 1);
    assert_eq!(none[0].message, format!("no quota of the account names '{SONNET}'"));
}

#[test]
fn a_quota_of_nothing_is_an_error() {
    let per_day = quota(PER_DAY, 0.0, 1000.0);
    let said = found(target("a"), vec![cross("tokens per minute", 0.0), per_day]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((said[0].severity, said[0].kind), (Severity::Error, "quota_empty"));
    let words = "quota of tokens per minute and of tokens per day";
    assert!(said[0].message.contains(words), "{said:?}");
}

#[test]
fn a_shared_quota_is_compared_once_and_one_of_different_models_is_told() {
    let config = config("[quotas.q]\ntpm = 100\n");
    let user = |name| Target { quota: Some(0), ..target(name) };
    let (one, two) = (user("a"), user("b"));
    let account = account(vec![cross("tokens per minute", 5000.0)]);
    let both = |scope| [(&one, called(Scope::CrossRegion)), (&two, called(scope))];
    let said = findings(&config, &both(Scope::CrossRegion), &account);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].path(), "quotas.q.tpm");
    assert_eq!(said[0].paste, [("tpm", 5000.into())]);
    let said = findings(&config, &both(Scope::OnDemand), &account);
    let path = said.iter().find(|it| it.severity == Severity::Warning).map(Finding::path);
    assert_eq!(path.as_deref(), Some("quotas.q"), "{said:?}");
}

#[test]
fn quotas_of_models_that_no_list_has_are_told_by_name() {
    let name = |model| format!("On-demand model inference tokens per minute for {model}");
    let quotas = ["Claude Sonnet 4.5", "Somebody New 9", "Amazon Nova Lite"];
    let mut account = account(quotas.map(|model| quota(&name(model), 1.0, 1.0)).to_vec());
    let nova =
        serde_json::json!([{ "modelId": "amazon.nova-lite-v1:0", "modelName": "Nova Lite" }]);
    account.models = Some(serde_json::from_value(nova).unwrap());
    assert_eq!(unmatched_names(&[called(Scope::OnDemand)], &account), ["Somebody New 9"]);
    let all = quota(ALL_MODELS, 5.0, 5.0);
    account.quotas = Some(vec![all.clone()]);
    assert_eq!(over_all_models(&account).collect::<Vec<_>>(), [&all]);
}

const ALL_MODELS: &str = "Model invocation max tokens per day for all models";

#[test]
fn tokens_per_day_over_all_models_are_a_quota_that_the_targets_share() {
    let account = account(vec![cross("tokens per minute", 9.0), quota(ALL_MODELS, 700.0, 700.0)]);
    let said = |config: &Config, target: &Target| {
        let found = findings(config, &[(target, called(Scope::CrossRegion))], &account);
        let told = found.iter().map(|it| (it.path(), it.paste.clone()));
        told.collect::<Vec<_>>()
    };
    let one = Target { tpm: Some(9), region: "us-east-1".to_owned(), ..target("a") };
    let quota: (String, Vec<(&str, toml::Value)>) =
        ("quotas.all-models-us-east-1".to_owned(), vec![("tpd", 700.into())]);
    let named = "all-models-us-east-1".into();
    let own = ("targets.a.daily_quota".to_owned(), vec![("daily_quota", named)]);
    assert_eq!(said(&config(""), &one), [quota, own]);
    let drawing = Target { daily_quota: Some(0), ..one };
    let differs = ("quotas.q.tpd".to_owned(), vec![("tpd", 700.into())]);
    assert_eq!(said(&config("[quotas.q]\ntpd = 600"), &drawing), [differs]);
    assert_eq!(said(&config("[quotas.q]\ntpd = 700"), &drawing), []);
}

#[test]
fn tokens_per_day_that_a_days_minutes_cannot_use_up_are_not_asked_for() {
    let of = |per_day: f64| {
        let quotas = vec![cross("tokens per minute", 10.0), quota(PER_DAY, per_day, 0.0)];
        let target = Target { tpm: Some(10), ..target("a") };
        found(target, quotas).iter().map(Finding::path).collect::<Vec<_>>()
    };
    assert_eq!(of(7200.0), Vec::<String>::new(), "twice that is ten for each minute");
    assert_eq!(of(7199.0), ["targets.a.tpd"]);
}

#[test]
fn input_and_output_of_mantle_have_quotas_of_their_own() {
    let name =
        |way| format!("[bedrock-mantle endpoint] {way} tokens per minute for Claude Sonnet 4.5");
    let account = account(vec![
        quota(&name("Input"), 200.0, 200.0),
        quota(&name("Output"), 20.0, 20.0),
        cross("tokens per minute", 9.0),
    ]);
    let target = Target { input_tpm: Some(100), output_tpm: Some(20), ..target("a") };
    let said = findings(&config(""), &[(&target, called(Scope::Mantle))], &account);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].paste, [("input_tpm", 200.into())]);
}
