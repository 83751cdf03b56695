//! Anthropic's SDKs on Nova and GPT, and on a Claude that is called by InvokeModel.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn anthropics_sdks_find_the_same_api_on_nova_and_gpt() {
    let bench = Bench::start().await;
    for script in ["anthropic_sdk.py", "anthropic_sdk.mjs"] {
        let done = bench.run(script, "").await;
        went_through(&done, &["tool_loop", "streamed_tool_loop"], "nova nova2 gpt oss");
        went_through(&done, &["image", "parsed"], "nova gpt");
        went_through(&done, &["thinking"], "invoked");
        went_through(&done, &["errors"], "nova");
    }
    for family in ["nova", "nova2", "gpt", "oss"] {
        bench.called_only_by(family, &["Converse", "ConverseStream"]);
    }
    bench.called_only_by("invoked", &["InvokeModel", "InvokeModelWithResponseStream"]);
}
