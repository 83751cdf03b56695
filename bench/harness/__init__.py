"""Parts of the scripts in bench, one concern each:

binaries     what is measured: built here, or installed (nginx)
install      installs peers in a cache directory
processes    starts and stops it all; CPU time and memory of processes
configs      the configs of the gateway and of nginx
workloads    requests: path, body, headers, what the answer must have
load         drives the load generator; checks that bytes pass unchanged
scene        what a row needs: upstream, proxies, gateways
rounds       interleaved rounds of several sides under one workload
translated   requests whose answers are translated, and their check
rows         the rows of the table, each with its goal
everything   the row of everything on, against the bare proxy, nginx and Envoy
envoy        Envoy: installation, config, proof that it signs and limits
apis         the rows of OpenAI's and Anthropic's APIs
crowd        the row of many streams at once
first_answer the row from a clone to the first answer
peers        LiteLLM and Portkey
plan         which rows there are, and which of them are long
callgrind    counts instructions
instructions those of a request
layout       the functions that lie side by side in the binary
table        medians, spread, ratios; Markdown
report       what a run prints
"""
