//! OpenAI's SDKs on Claude and Nova, and on GPT for comparison.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn openais_sdks_find_the_same_api_on_claude_nova_and_gpt() {
    let bench = Bench::that_keeps_responses().await;
    for script in ["openai_sdk.py", "openai_sdk.mjs"] {
        let done = bench.run(script, "/v1").await;
        let loops = ["tool_loop", "streamed_tool_loop"];
        went_through(&done, &loops, "claude nova nova2 gpt oss");
        let others = ["image", "parsed", "response_loop", "response_parsed"];
        went_through(&done, &others, "claude nova gpt");
        went_through(&done, &["thinking_loop", "response_thinking_loop"], "claude claude4");
        went_through(&done, &["kept_response_loop"], "claude claude4 nova nova2");
        went_through(&done, &["errors"], "claude nova");
    }
    for family in ["claude", "claude4", "nova", "nova2"] {
        bench.called_only_by(family, &["Converse", "ConverseStream"]);
    }
}
