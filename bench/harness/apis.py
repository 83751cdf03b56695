"""The rows of OpenAI's and Anthropic's APIs, each against the native operation at the same gateway."""

import time

from . import configs, translated, workloads
from .rounds import Side
from .table import Result, cpu, ratios, spread

# What such a request may cost of what a native one does: passed through, translated, as a translated stream.
GOAL, TRANSLATED, TRANSLATED_STREAM = 1.15, 1.6, 1.5


def measure(scene, native, works, measure, goal=GOAL):
    """Lines of these workloads against the native one. All of them go to one gateway."""
    process = scene.gateway("the gateway, four models a route for each API",
                            configs.MODELS + configs.CHAT_MODELS + configs.NOVA,
                            configs.bearer_clients(1))
    sides = [Side(work.name, process, workloads.bearer(), work) for work in (native, *works)]
    samples = scene.rounds().run(native, sides)
    time.sleep(0.2)
    sides[0].requests = sum(side.requests for side in sides)
    missing = scene.lines_missing(sides[0])
    if missing:
        scene.settings.notes.append(f"{native.name} and others: {missing} requests have no line "
                                    "in the access log.")
    of_native = cpu(samples[native.name])
    return [Result(work.name, measure, f"{spread(cpu(samples[work.name]))} µs",
                   f"{native.name}: {spread(of_native)} µs",
                   ratios(cpu(samples[work.name]), of_native), at_most=goal)
            for work in works]


def chat_small(scene):
    """Chat Completions, 1 KB each way, against InvokeModel."""
    scene.put_up_upstream()
    native = workloads.invoke(1024, "1 KB")
    return measure(scene, native, [workloads.chat_completion()], "CPU per request")


def messages_small(scene):
    """Messages, 1 KB each way, against InvokeModel."""
    scene.put_up_upstream()
    native = workloads.invoke(1024, "1 KB")
    return measure(scene, native, [workloads.messages()], "CPU per request")


def sse_stream(scene):
    """Streams of server-sent events, as many and as far apart as the frames of ConverseStream."""
    scene.put_up_upstream("--frames", workloads.FRAMES)
    works = [workloads.chat_stream(96), workloads.messages_stream(96)]
    return measure(scene, workloads.stream(96), works, "CPU per event")


def translated_small(scene):
    """Chat Completions on Claude and Messages on Nova, both by Converse, against InvokeModel."""
    scene.put_up_upstream()
    works = [translated.chat(), translated.messages()]
    return measure(scene, workloads.invoke(1024, "1 KB"), works, "CPU per request", TRANSLATED)


def translated_stream(scene):
    """The same as streams, against ConverseStream: both have the same frames from the upstream."""
    scene.put_up_upstream("--frames", workloads.FRAMES)
    works = [translated.chat_stream(96), translated.messages_stream(96)]
    return measure(scene, workloads.stream(96), works, "CPU per frame of the upstream",
                   TRANSLATED_STREAM)
