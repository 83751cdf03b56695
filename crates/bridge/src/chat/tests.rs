#[test]
fn chat_is_translated() {}
