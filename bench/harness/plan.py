"""Which rows there are, in the order of the table, and which of them only `--all` measures."""

from . import apis, crowd, everything, first_answer, peers, rows

ROWS = {
    "everything-on": everything.everything_on,
    "invoke-1k": rows.invoke_small,
    "invoke-1m": rows.invoke_large,
    "stream": rows.stream,
    "chat-1k": apis.chat_small,
    "messages-1k": apis.messages_small,
    "sse-stream": apis.sse_stream,
    "bridged-1k": apis.translated_small,
    "bridged-stream": apis.translated_stream,
    "latency": rows.latency,
    "idle-streams": rows.idle_streams,
    "idle-process": rows.idle,
    "sigv4": rows.sigv4,
    "scaling": rows.scaling,
    "many": rows.many,
}
# They take minutes each, or need packages from the network.
LONG_ROWS = {
    "peers": peers.translated_work,
    "many-streams": crowd.many_streams,
    "first-answer": first_answer.first_answer,
}
# Seconds after which a run ends, whatever happens: without long rows, and with some.
LIMIT_S, LONG_LIMIT_S = 900, 5400


def chosen(only, all_of_them):
    """The rows of this name, or those with this text in it; without one all, long ones only if wanted."""
    every = ROWS | LONG_ROWS
    if only in every:
        return {only: every[only]}
    if only:
        return {name: row for name, row in every.items() if only in name}
    return every if all_of_them else ROWS


def limit_s(rows):
    return LONG_LIMIT_S if LONG_ROWS.keys() & rows.keys() else LIMIT_S
