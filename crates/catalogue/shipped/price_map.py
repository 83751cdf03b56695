"""Reads the price map of litellm: which model and place a key means, and its row in the catalogue."""

import re

from format_rules import GEOGRAPHIES, without_geography

REGION = re.compile(r"^[a-z]{2}(-gov)?-[a-z]+-\d$")

MODES = {
    "chat": "chat", "responses": "chat", "embedding": "embedding", "rerank": "rerank",
    "image_generation": "image_generation", "image_edit": "image_edit", "realtime": "realtime",
    "completion": "chat",
}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

# The map's name of a feature, and the catalogue's.
FEATURES = {
    "supports_vision": "images",
    "supports_pdf_input": "documents",
    "supports_video_input": "video",
    "supports_audio_input": "audio",
    "supports_function_calling": "tools",
    "supports_reasoning": "thinking",
    "supports_prompt_caching": "prompt_caching",
    "supports_native_structured_output": "structured_output",
    "supports_output_config": "effort",
    "supports_tool_choice": "tool_choice",
    "supports_forced_tool_use": "forced_tool_use",
    "supports_parallel_tool_use_config": "parallel_tool_control",
    "supports_response_schema": "json_schema",
    "supports_sampling_params": "sampling",
    "supports_assistant_prefill": "assistant_prefill",
    "supports_computer_use": "computer_use",
    "supports_adaptive_thinking": "adaptive_thinking",
    "thinking_always_on": "thinking_always_on",
    "thinking_on_by_default": "thinking_by_default",
    "supports_legacy_thinking": "legacy_thinking",
    "supports_mid_conversation_system": "mid_conversation_system",
    "supports_system_messages": "system",
    "supports_tool_search": "tool_search",
    "supports_web_search": "web_search",
    "supports_anthropic_compaction": "compaction",
    "supports_audio_output": "audio_output",
    "supports_image_input": "image_input",
    "supports_embedding_image_input": "embedding_images",
    "bedrock_converse_supports_strict_tools": "strict_tools",
    "supports_bedrock_converse_tool_result_images": "tool_result_images",
    "supports_bedrock_native_structured_output": "converse_json_schema",
    "supports_bedrock_runtime_chat_completions_response_format": "chat_completions_response_format",
    "supports_bedrock_runtime_chat_completions_tools_with_reasoning":
        "chat_completions_tools_with_reasoning",
    "supports_bedrock_runtime_chat_completions_inline_reasoning":
        "chat_completions_inline_reasoning",
}
SURFACES = {"/v1/chat/completions": "chat_completions", "/v1/responses": "responses",
            "/v1/messages": "messages"}
PRICE = re.compile(
    r"^(?P<what>input_cost_per_token|output_cost_per_token|cache_read_input_token_cost"
    r"|cache_creation_input_token_cost)(?P<hour>_above_1hr)?(_above_(?P<band>\d+)k_tokens)?"
    r"(_(?P<tier>flex|priority|batches))?$")
PRICE_NAMES = {
    "input_cost_per_token": "input", "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write_5m",
}


def place_of(key, facts):
    """The endpoint, base id, geography (`-` without profile) and region of a key of the map, or None."""
    provider = str(facts.get("litellm_provider", ""))
    if "alias_of" in facts or not provider.startswith("bedrock"):
        return None
    endpoint, region, parts = "runtime", None, key.split("/")
    if parts[0] in ("bedrock", "bedrock_mantle"):
        endpoint = "mantle" if parts[0] == "bedrock_mantle" else "runtime"
        parts = parts[1:]
    elif provider == "bedrock_mantle":
        return None
    if len(parts) == 2 and REGION.match(parts[0]):
        region = parts.pop(0)
    if len(parts) != 1:
        return None  # Terms of commitment, image sizes, other platforms.
    geography, base = "-", parts[0]
    for prefix in GEOGRAPHIES:
        if base.startswith(prefix + "."):
            geography, base = prefix, base[len(prefix) + 1:]
            break
    if not re.match(r"^[a-z0-9]+\.[a-z0-9][a-z0-9.:-]*$", base):
        return None  # Names without provider, names of other platforms.
    return endpoint, base, geography, region


def number(usd_per_token):
    per_million = round(usd_per_token * 1e6, 8)
    return int(per_million) if per_million == int(per_million) else per_million


def prices_of(facts):
    tiers = {}
    for key, value in facts.items():
        found = PRICE.match(key)
        if not found or not isinstance(value, (int, float)):
            continue
        name = PRICE_NAMES[found["what"]]
        if found["hour"]:
            if name != "cache_write_5m":
                continue
            name = "cache_write_1h"
        tier = {"batches": "batch", None: "standard"}.get(found["tier"], found["tier"])
        price = tiers.setdefault(tier, {})
        if found["band"]:
            price = price.setdefault("above", {}).setdefault(found["band"] + "000", {})
        price[name] = number(value)
    return tiers


def features_of(facts, base, mode):
    features = {name: bool(facts[key]) for key, name in FEATURES.items()
                if isinstance(facts.get(key), bool)}
    converse_schema = facts.get("supports_bedrock_native_structured_output")
    if facts.get("supports_max_reasoning_effort"):
        features["effort"] = True
    if features.get("structured_output") and "strict_tools" not in features:
        features["strict_tools"] = True
    if converse_schema:
        features["structured_output"] = True
    if facts.get("supports_bedrock_native_structured_output_by_default"):
        features["converse_json_schema"] = True
    if mode == "chat":
        if features.get("tool_choice"):
            features.setdefault("forced_tool_use", True)
        if features.get("images") and base.startswith(("anthropic.claude-", "amazon.nova-")):
            features.setdefault("tool_result_images", True)
    return features


def efforts_of(facts, base):
    if "reasoning_effort_levels" in facts:
        return [level for level in EFFORTS if level in facts["reasoning_effort_levels"]]
    flag = lambda level: facts.get(f"supports_{level}_reasoning_effort")
    if base.startswith("anthropic.claude-"):
        if not (facts.get("supports_output_config") or flag("max")):
            return None
        levels = {"low", "medium", "high"}
    elif base.startswith("openai.gpt-oss"):
        return ["low", "medium", "high"]
    elif base.startswith("openai.gpt-"):
        levels = {"low", "medium", "high"} | (set() if flag("none") is False else {"none"})
    elif base.startswith(("xai.grok-", "amazon.nova-2-lite", "amazon.nova-2-pro")):
        levels = {"low", "medium", "high"}
    else:
        return None
    levels |= {level for level in ("minimal", "xhigh", "max") if flag(level)}
    ceiling = facts.get("bedrock_output_config_effort_ceiling", "max")
    return [level for level in EFFORTS[:EFFORTS.index(ceiling) + 1] if level in levels]


def surfaces_of(facts, endpoint, base, mode):
    listed = [SURFACES[it] for it in facts.get("supported_endpoints", []) if it in SURFACES]
    if endpoint == "mantle":
        if base.startswith("anthropic."):
            return ["count_tokens", "messages"]
        return sorted(set(listed)) or ["chat_completions"]
    counter = facts.get("token_count_model", {})
    counts = counter.get("litellm_provider") == "bedrock"
    surfaces = ["invoke_model"]
    if mode == "chat":
        surfaces.append("converse")
        if counts:
            surfaces.append("count_tokens")
        if efforts_of(facts, base) and base.startswith("anthropic.claude-"):
            surfaces.append("messages")
    return surfaces + sorted(set(listed))


def row_of(facts, endpoint, base):
    mode = MODES[facts["mode"]]
    row = {"mode": mode, "surfaces": surfaces_of(facts, endpoint, base, mode)}
    if endpoint == "mantle" and not base.startswith("anthropic."):
        row["path_prefix"] = "/openai/v1" if facts.get("use_openai_responses_path") else "/v1"
    for ours, theirs in (("max_input_tokens", "max_input_tokens"),
                         ("max_output_tokens", "max_output_tokens"),
                         ("min_cache_tokens", "prompt_cache_min_tokens"),
                         ("embedding_dimensions", "output_vector_size")):
        if isinstance(facts.get(theirs), int) and facts[theirs] > 0:
            row[ours] = facts[theirs]
    if mode not in ("chat", "realtime"):
        row.pop("max_output_tokens", None)
    row["features"] = features_of(facts, base, mode)
    efforts = efforts_of(facts, base) if mode == "chat" else None
    if efforts:
        row["effort_levels"] = efforts
    counter = facts.get("token_count_model")
    if counter:
        _, model = without_geography(counter["model"])
        where = "mantle" if counter["litellm_provider"] == "bedrock_mantle" else "runtime"
        row["count_tokens_with"] = {"endpoint": where, "model": model}
    # Days without a page of AWS as their source are the providers' earliest ones, not retirements.
    if facts.get("deprecation_date") and facts.get("deprecation_source"):
        row["retires"] = facts["deprecation_date"]
    prices = prices_of(facts)
    if prices:
        row["prices"] = prices
    return row
