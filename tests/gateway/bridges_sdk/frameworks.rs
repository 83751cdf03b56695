//! LangChain and LiteLLM as clients.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn langchain_and_litellm_find_the_same_apis_on_claude_nova_and_gpt() {
    // LangChain asks for one call at a time where it makes the model call a function, which Nova can't promise.
    let bench =
        Bench::start_with(|config| config.set("apis.drop_parameters", vec!["parallel_tool_calls"]))
            .await;
    let done = bench.run("frameworks.py", "").await;
    went_through(&done, &["langchain_openai", "langchain_openai_responses"], "claude nova gpt");
    went_through(&done, &["langchain_anthropic", "litellm_anthropic"], "nova gpt");
    went_through(&done, &["litellm_openai", "litellm_responses"], "claude nova");
    went_through(&done, &["langchain_openai", "litellm_openai"], "claude4");
    for family in ["claude", "nova"] {
        bench.called_only_by(family, &["Converse", "ConverseStream"]);
    }
}
