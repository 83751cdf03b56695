use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn model(id: &str) -> ListedModel {
    ListedModel {
        id: id.to_owned(),
        owner: "anthropic".to_owned(),
        created: Date::parse("2026-11-30").unwrap(),
        context_window: Some(200_000),
        max_output_tokens: None,
        retires_on: None,
    }
}

fn models(count: usize) -> Vec<ListedModel> {
    (0..count).map(|number| model(&format!("m{number}"))).collect()
}

fn page(count: usize, query: &str) -> Result<Value, PageError> {
    let body = list_body(Dialect::Anthropic, models(count).into_iter(), query)?;
    Ok(serde_json::from_slice(&body).unwrap())
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect()
}

#[test]
fn openai_clients_get_the_whole_list() {
    let body = list_body(Dialect::OpenAi, models(30).into_iter(), "limit=1").unwrap();
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(list["object"], "list");
    assert_eq!(ids(&list).len(), 30);
    assert_eq!(
        list["data"][0],
        json!({
            "id": "m0", "object": "model", "created": 1_795_996_800, "owned_by": "anthropic",
            "context_window": 200_000,
        })
    );
}

#[test]
fn anthropic_clients_get_a_page() {
    let list = page(30, "").unwrap();
    assert_eq!(ids(&list).len(), DEFAULT_PAGE);
    assert_eq!(
        (&list["has_more"], &list["first_id"], &list["last_id"]),
        (&json!(true), &json!("m0"), &json!("m19"))
    );
    assert_eq!(
        list["data"][0],
        json!({
            "type": "model", "id": "m0", "display_name": "m0", "lifecycle": "active",
            "created_at": "2026-11-30T00:00:00Z", "max_input_tokens": 200_000,
        })
    );
    let empty = page(0, "").unwrap();
    assert_eq!(empty, json!({"data": [], "has_more": false, "first_id": null, "last_id": null}));
}

#[test]
fn a_model_that_ends_says_when() {
    let ending = ListedModel { retires_on: Date::parse("2027-03-01"), ..model("m") };
    let of = |dialect| serde_json::from_slice::<Value>(&model_body(dialect, &ending)).unwrap();
    assert_eq!(of(Dialect::OpenAi)["shutdown_date"], "2027-03-01");
    assert_eq!(of(Dialect::Anthropic)["lifecycle"], "deprecated");
    assert_eq!(of(Dialect::Anthropic)["retires_at"], "2027-03-01T00:00:00Z");
}

#[test]
fn pages_follow_one_another_in_both_directions() {
    let list = page(5, "limit=2&after_id=m1").unwrap();
    assert_eq!((ids(&list), &list["has_more"]), (vec!["m2", "m3"], &json!(true)));
    let list = page(5, "limit=2&after_id=m3").unwrap();
    assert_eq!((ids(&list), &list["has_more"]), (vec!["m4"], &json!(false)));
    let list = page(5, "after_id=m4").unwrap();
    assert_eq!((ids(&list), &list["has_more"]), (vec![], &json!(false)));
    let list = page(5, "before_id=m3&limit=2").unwrap();
    assert_eq!((ids(&list), &list["has_more"]), (vec!["m1", "m2"], &json!(true)));
    let list = page(5, "limit=2&before_id=m1").unwrap();
    assert_eq!((ids(&list), &list["has_more"]), (vec!["m0"], &json!(false)));
}

#[test]
fn a_wrong_query_is_refused_with_its_parameter() {
    for limit in ["0", "1001", "-1", "many"] {
        assert_eq!(page(5, &format!("limit={limit}")), Err(PageError::Limit), "{limit}");
    }
    assert_eq!(page(5, "after_id=m1&before_id=m2"), Err(PageError::TwoEnds));
    let unknown = |parameter| Err(PageError::UnknownId { parameter });
    assert_eq!(page(5, "after_id=x"), unknown("after_id"));
    assert_eq!(page(5, "before_id=x"), unknown("before_id"));
    assert_eq!(ids(&page(5, "after_id=%6D3&beta=true&limit=").unwrap()), ["m4"]);
}

#[test]
fn a_list_is_bounded() {
    let body = list_body(Dialect::OpenAi, models(MAX_LISTED + 10).into_iter(), "").unwrap();
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(ids(&list).len(), MAX_LISTED);
}

proptest! {
    #[test]
    fn pages_together_are_the_list(count in 0usize..60, limit in 1usize..25) {
        let (mut seen, mut query) = (Vec::new(), format!("limit={limit}"));
        loop {
            let list = page(count, &query).unwrap();
            seen.extend(ids(&list).into_iter().map(str::to_owned));
            if list["has_more"] == false {
                break;
            }
            query = format!("limit={limit}&after_id={}", list["last_id"].as_str().unwrap());
        }
        let all: Vec<String> = models(count).into_iter().map(|model| model.id).collect();
        prop_assert_eq!(seen, all);
    }

    #[test]
    fn no_query_makes_it_panic(query in "\\PC{0,40}", limit in "(limit|after_id|before_id)=\\PC{0,9}") {
        _ = page(5, &query);
        _ = page(5, &format!("{query}&{limit}"));
    }
}
