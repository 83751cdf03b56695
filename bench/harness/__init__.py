"""Parts of bench/run and bench/peers, one concern each:

binaries   what is measured: built here, or installed (nginx)
processes  starts and stops it all; CPU time and memory of processes
configs    the configs of the gateway and of nginx
workloads  requests: path, body, headers, what the answer must have
load       drives the load generator; checks that bytes pass unchanged
scene      what a row needs: upstream, proxies, gateways
rounds     interleaved rounds of several sides under one workload
translated requests whose answers are translated, and their check
rows       the rows of the table, each with its goal
apis       those of OpenAI's and Anthropic's APIs
peers      LiteLLM and Portkey
table      medians, spread, ratios; Markdown
"""
