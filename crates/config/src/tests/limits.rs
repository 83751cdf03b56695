//! Quotas, limits, learning and hedging: what a file says of them, and what is wrong with it.

use std::time::Duration;

use super::{config, file, only_problem, problems};
use crate::{Balance, LimitKey, Limits, Priority, Quota};
use sluice_bedrock::Features;

const SHARED: &str = "
[targets.b]
model = 'm'
quota = 'q1'
[targets.a]
model = 'm'
quota = 'q0'
[targets.own]
model = 'n'
rpm = 50
tpm = 400000
output_burndown = 5
features = ['images', 'documents', 'video', 'audio', 'tools', 'thinking', 'prompt_caching']
[quotas.q1]
rpm = 10
[quotas.q0]
tpm = 20000
[[routes]]
models = ['m']
targets = ['a', 'b', 'own']
balance = 'headroom'
";

#[test]
fn quotas_keep_the_order_of_the_file_and_targets_point_at_them() {
    let config = config(SHARED);
    let [q1, q0] = config.quotas.as_slice() else { panic!("two quotas") };
    assert_eq!(q1, &Quota { name: "q1".into(), rpm: Some(10), ..Quota::default() });
    assert_eq!(q0, &Quota { name: "q0".into(), tpm: Some(20_000), ..Quota::default() });
    let [b, a, own] = config.targets.as_slice() else { panic!("three targets") };
    assert_eq!((b.quota, a.quota, own.quota), (Some(0), Some(1), None));
    assert_eq!((own.rpm, own.tpm, own.output_burndown), (Some(50), Some(400_000), Some(5)));
    assert_eq!((b.rpm, b.tpm, b.output_burndown), (None, None, None));
    let all: Features = Features::NAMES.into_iter().map(|(_, feature)| feature).collect();
    assert_eq!(own.features, Some(all));
    assert_eq!(config.routes[0].balance, Balance::Headroom);
    assert!(file(SHARED).unwrap().warnings.is_empty());
}

#[test]
fn a_target_may_have_a_day_of_its_own_and_one_that_it_shares() {
    let loaded = file(
        "[quotas.sonnet]
input_tpm = 1000
tpd = 9000
[quotas.account]
tpd = 50000
[targets.a]
model = 'm'
quota = 'sonnet'
daily_quota = 'account'
[targets.b]
model = 'n'
tpd = 700
output_tpm = 20
reserved_input_tpm = 100000
reserved_output_tpm = 10000
[targets.c]
model = 'o'
daily_quota = 'account'
[[routes]]
models = ['m']
targets = ['a', 'b', 'c']
",
    );
    let loaded = loaded.unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let [a, b, c] = loaded.config.targets.as_slice() else { panic!("three targets") };
    assert_eq!((a.quota, a.daily_quota, a.tpd), (Some(0), Some(1), None));
    assert_eq!((b.quota, b.daily_quota, b.tpd), (None, None, Some(700)));
    assert_eq!((b.input_tpm, b.output_tpm), (None, Some(20)));
    assert_eq!((b.reserved_input_tpm, b.reserved_output_tpm), (Some(100_000), Some(10_000)));
    assert_eq!((c.quota, c.daily_quota), (None, Some(1)));
    let [sonnet, account] = loaded.config.quotas.as_slice() else { panic!("two quotas") };
    assert_eq!((sonnet.input_tpm, sonnet.tpm, sonnet.tpd), (Some(1000), None, Some(9000)));
    assert_eq!((account.rpm, account.tpd), (None, Some(50_000)));
}

#[test]
fn a_quota_that_no_target_names_is_warned_about() {
    let warnings = file(&format!("{SHARED}[quotas.spare]\nrpm = 1")).unwrap().warnings;
    assert_eq!(warnings, ["no target draws on quota 'spare'"]);
}

#[test]
fn requests_do_not_wait_for_their_model_unless_the_config_says_so() {
    let route = "targets.a.model = 'm'\n[[routes]]\nmodels = ['m']\ntargets = ['a']\n";
    let waits = |keys: &str| config(&format!("{route}{keys}")).routes[0].wait_before_fallback;
    assert_eq!(waits(""), Duration::ZERO);
    assert_eq!(waits("wait_before_fallback = '45s'"), Duration::from_secs(45));
    assert_eq!(config("").legacy.wait_before_fallback, Duration::ZERO);
}

#[test]
fn a_wait_before_a_fallback_that_no_other_model_follows_is_warned_about() {
    let warned = |second: &str, keys: &str| {
        let text = format!(
            "targets.a.model = 'anthropic.claude-3-haiku-20240307-v1:0'\n\
             targets.b.model = '{second}'\n\
             [[routes]]\nmodels = ['*']\ntargets = ['a', 'b']\n{keys}"
        );
        let warnings = file(&text).unwrap().warnings;
        warnings.iter().any(|it| it.starts_with("routes[0].wait_before_fallback has no effect"))
    };
    let wait = "wait_before_fallback = '5s'";
    assert!(warned("eu.anthropic.claude-3-haiku-20240307-v1:0", wait));
    assert!(!warned("eu.anthropic.claude-3-haiku-20240307-v1:0", ""));
    assert!(!warned("anthropic.claude-3-5-sonnet-20240620-v1:0", wait));
}

#[test]
fn no_limit_stands_unless_it_is_set() {
    let limits = Limits {
        key: LimitKey::AccessKey,
        requests_per_second: None,
        burst: None,
        tokens_per_minute: None,
        max_concurrent: None,
        max_tracked_clients: 10_000,
    };
    assert_eq!(config("").limits, limits);
    assert_eq!(config("").queue.max_priority, Priority::High);
    assert_eq!(config("").fallback.unrouted_cooldown, Duration::from_secs(30));
}

#[test]
fn a_burst_is_the_rate_unless_it_is_set() {
    let burst = |keys: &str| config(&format!("[limits]\n{keys}")).limits.burst;
    assert_eq!(burst("requests_per_second = 7"), Some(7));
    assert_eq!(burst("requests_per_second = 7\nburst = 30"), Some(30));
    assert_eq!(burst("max_concurrent = 7"), None);
}

#[test]
fn clients_are_told_apart_by_key_address_or_header() {
    let key = |text: &str| config(&format!("[limits]\nkey = '{text}'")).limits.key;
    assert_eq!(key("access_key"), LimitKey::AccessKey);
    assert_eq!(key("ip"), LimitKey::Ip);
    assert_eq!(key("header:X-Team"), LimitKey::Header("x-team".parse().unwrap()));
}

#[test]
fn shares_may_be_whole_numbers_and_lie_in_their_range() {
    let config = config("[fallback]\neject_below_success_rate = 1\n[hedge]\nmax_share = 0.25");
    assert_eq!(config.fallback.eject_below_success_rate, 1.0);
    assert_eq!(config.hedge.max_share, 0.25);
    for (text, expected) in [
        ("[fallback]\neject_below_success_rate = 1.5", "must be from 0 to 1, not 1.5"),
        ("[fallback]\neject_below_success_rate = -1", "must be from 0 to 1, not -1"),
        ("[fallback]\neject_below_success_rate = nan", "must be from 0 to 1, not NaN"),
        ("[hedge]\nmax_share = 0.6", "hedge.max_share: must be from 0 to 0.5, not 0.6"),
        ("[hedge]\nmax_share = '5%'", "hedge.max_share: must be a number, not a string"),
        ("[hedge]\nmax_share = inf", "must be from 0 to 0.5, not inf"),
        ("[learning]\ndecrease = 1.0", "learning.decrease: must be from 0.1 to 0.95, not 1"),
        ("[learning]\nincrease = 0", "learning.increase: must be from 0.001 to 1, not 0"),
        ("[learning]\nfloor_rpm = 1.5", "must be an integer, not the number 1.5"),
    ] {
        only_problem(text, expected);
    }
}

#[test]
fn bad_quotas_and_limits_are_refused_where_they_stand() {
    for (text, expected) in [
        ("[quotas.q]", "quotas.q: needs a limit"),
        ("[quotas.q]\nrpm = 0", "quotas.q.rpm: must be from 1 to 10000000, not 0"),
        ("[quotas.q]\nrps = 1\ntpm = 1", "unknown key 'rps' in [quotas.q]; did you mean 'rpm'?"),
        ("[quotas.'a b']\nrpm = 1", "a quota's name is 1 to 64 letters"),
        ("[targets.a]\nmodel = 'm'\nrpm = 0", "targets.a.rpm: must be from 1 to"),
        ("[targets.a]\nmodel = 'm'\ntpm = 0", "targets.a.tpm: must be from 1 to"),
        ("[targets.a]\nmodel = 'm'\noutput_burndown = 101", "must be from 1 to 100, not 101"),
        ("[targets.a]\nmodel = 'm'\nquota = 'q'", "targets.a.quota: no quota is named 'q'"),
        (
            "[targets.a]\nmodel = 'm'\nquota = 'shard'\n[quotas.shared]\nrpm = 1",
            "targets.a.quota: no quota is named 'shard'; did you mean 'shared'?",
        ),
        (
            "[targets.a]\nmodel = 'm'\nquota = 'q'\ntpm = 5\n[quotas.q]\nrpm = 1",
            "targets.a.tpm: cannot stand beside quota",
        ),
        (
            "[targets.a]\nmodel = 'm'\nquota = 'q'\nrpm = 5\n[quotas.q]\nrpm = 1",
            "targets.a.rpm: cannot stand beside quota",
        ),
        (
            "[targets.a]\nmodel = 'm'\nquota = 'q'\ntpd = 5\n[quotas.q]\nrpm = 1",
            "targets.a.tpd: cannot stand beside quota",
        ),
        (
            "[targets.a]\nmodel = 'm'\ntpm = 5\noutput_tpm = 5",
            "targets.a.tpm: counts input and output together, and 'input_tpm' and 'output_tpm' count them apart",
        ),
        ("[quotas.q]\ntpm = 5\ninput_tpm = 5", "quotas.q.tpm: counts input and output together"),
        (
            "[targets.a]\nmodel = 'm'\ndaily_quota = 'q'\n[quotas.q]\ntpd = 5\nrpm = 1",
            "targets.a.daily_quota: counts tokens a day: name a quota with 'tpd' alone",
        ),
        (
            "[targets.a]\nmodel = 'm'\ndaily_quota = 'acount'\n[quotas.account]\ntpd = 5",
            "targets.a.daily_quota: no quota is named 'acount'; did you mean 'account'?",
        ),
        (
            "[targets.a]\nmodel = 'm'\nquota = 'q'\ndaily_quota = 'q'\n[quotas.q]\ntpd = 5",
            "targets.a.daily_quota: is the target's quota already",
        ),
        (
            "[targets.a]\nmodel = 'm'\nfeatures = ['tool']",
            "targets.a.features[0]: must be one of \"images\", \"documents\", \"video\", \
             \"audio\", \"tools\", \"thinking\", \"prompt_caching\", not \"tool\"; did you mean \
             'tools'?",
        ),
        (
            "targets.a.model = 'm'\n[[routes]]\nmodels = ['m']\ntargets = ['a']\nbalance = 'even'",
            "routes[0].balance: must be one of \"priority\", \"headroom\", \"latency\"",
        ),
        ("[fallback]\nunrouted_cooldown = '0s'", "unrouted_cooldown: must not be zero"),
        ("[fallback]\neject_min_requests = 0", "must be from 1 to 1000000, not 0"),
        (
            "[queue]\nmax_wait = '3s'\n[targets.a]\nmodel = 'm'\n[[routes]]\nmodels = ['m']\n\
             targets = ['a']\nwait_before_fallback = '4s'",
            "routes[0].wait_before_fallback: must not be longer than queue.max_wait, 3s",
        ),
        ("[legacy]\nwait_before_fallback = '1m'", "legacy.wait_before_fallback: must not be"),
        ("[queue]\nmax_priority = 'highest'", "queue.max_priority: must be one of"),
        ("[limits]\nkey = 'user'", "limits.key: must be \"access_key\", \"ip\" or \"header:NAME\""),
        ("[limits]\nkey = 'header:x team'", "limits.key: 'x team' is not the name of a header"),
        ("[limits]\nkey = 'header:X-Api-Key'", "limits.key: 'X-Api-Key' has a secret"),
        ("[limits]\nkey = 'header:'", "limits.key: '' is not the name of a header"),
        ("[limits]\nburst = 5", "limits.burst: needs 'requests_per_second' beside it"),
        ("[limits]\nrequests_per_second = 0", "must be from 1 to 1000000, not 0"),
        ("[limits]\ntokens_per_minute = 0", "limits.tokens_per_minute: must be from 1 to"),
        ("[limits]\nmax_concurrent = 0", "limits.max_concurrent: must be from 1 to"),
        ("[limits]\nmax_tracked_clients = 0", "limits.max_tracked_clients: must be from 1 to"),
        ("[learning]\nfloor_tpm = 0", "learning.floor_tpm: must be from 1 to"),
        ("[hedge]\nmax_input_tokens = 0", "hedge.max_input_tokens: must be from 1 to"),
    ] {
        only_problem(text, expected);
    }
}

#[test]
fn a_key_that_several_sections_have_is_not_sent_to_one_of_them() {
    let problems = problems("[log]\nenabled = true");
    assert!(problems[0].contains("unknown key 'enabled' in [log]; known: "), "{problems:?}");
}
