"""Parts of bench/soak, one concern each:

main         the command: arguments, one run, the verdict
stage        the processes: simulator, Redis, two gateways with a small disk each
configs      the configs of the gateways, which keep changing
requests     one request of each kind, made with dice
exchange     sends a request, reads the answer and judges whether it is whole
load         threads of clients, at a rate; conversations by kept responses
jobs         the legacy endpoints, and every accepted job until its end
both_ways    the bidirectional stream, by curl over HTTP/2
disturbance  faults, reloads, restarts of Redis, a full disk
samples      memory, descriptors, tasks and connections over time; their slopes
descriptors  what each open descriptor is
metrics      reads /metrics
ledger       pairs each attempt in the access logs with the simulator's entry for it
books        compares the books of clients, gateways, stores and simulator
report       the Markdown
"""
