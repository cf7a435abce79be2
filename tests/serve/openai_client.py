"""openai_client.py URL - OpenAI's own Python client against a server that asks for the key
"secret": what it makes of our answers."""
import json
import sys

import openai
from openai import OpenAI

url = sys.argv[1] + "/v1"
client = OpenAI(base_url=url, api_key="secret", max_retries=0)
hello = [{"role": "user", "content": "hello"}]
done = []


def test(f):
    f()
    done.append(f.__name__)


def raises(kind, word="", **what):
    try:
        client.chat.completions.create(**{"model": "m", "messages": hello, **what})
    except kind as e:
        assert word in str(e), e
        return e
    raise AssertionError(f"no {kind.__name__}")


def lists():
    models = client.models.list().data
    assert len(models) == 1 and models[0].id and models[0].owned_by == "q3n"


def chats():
    r = client.chat.completions.create(model="m", messages=hello, max_tokens=6, temperature=0)
    assert r.choices[0].message.role == "assistant" and r.choices[0].message.content
    assert r.choices[0].finish_reason == "length"
    assert r.usage.completion_tokens == 6
    assert r.usage.total_tokens == r.usage.prompt_tokens + 6
    assert r.usage.prompt_tokens_details.cached_tokens >= 0
    assert r.id.startswith("chatcmpl-") and r.object == "chat.completion" and r.system_fingerprint


def streams():
    whole = client.chat.completions.create(model="m", messages=hello, max_tokens=6, temperature=0)
    parts = list(client.chat.completions.create(
        model="m", messages=hello, max_completion_tokens=6, temperature=0, stream=True,
        stream_options={"include_usage": True}))
    assert parts[0].choices[0].delta.role == "assistant"
    assert len({p.id for p in parts}) == 1
    text = "".join(p.choices[0].delta.content or "" for p in parts if p.choices)
    assert text == whole.choices[0].message.content
    assert parts[-2].choices[0].finish_reason == "length"
    assert parts[-1].usage.completion_tokens == 6 and not parts[-1].choices
    word = text.split()[-1]
    with client.chat.completions.stream(model="m", messages=hello, temperature=0, stop=[word]) as s:
        said = s.get_final_completion().choices[0].message.content
    assert said == text[:text.index(word)]


def completes():
    r = client.completions.create(model="m", prompt="And God said", max_tokens=5, temperature=0, logprobs=2)
    lp = r.choices[0].logprobs
    assert "".join(lp.tokens) == r.choices[0].text and len(lp.token_logprobs) == 5
    assert all(max(t.values()) >= p for t, p in zip(lp.top_logprobs, lp.token_logprobs))
    parts = client.completions.create(model="m", prompt="And God said", max_tokens=5, temperature=0, stream=True)
    assert "".join(p.choices[0].text for p in parts) == r.choices[0].text
    ids = client.completions.create(model="m", prompt=[100, 200, 300], max_tokens=1)
    assert ids.usage.prompt_tokens == 3


def choices():
    text = "".join(f" It is {i} days." for i in range(9))
    r = client.completions.create(model="m", prompt=text, max_tokens=8, n=4, seed=7, temperature=1.5, logprobs=1)
    assert [c.index for c in r.choices] == [0, 1, 2, 3] and len({c.text for c in r.choices}) > 1
    assert all("".join(c.logprobs.tokens) == c.text for c in r.choices)
    assert r.usage.completion_tokens <= 32 and r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens
    # Each is what its seed gives alone.
    for c in r.choices:
        alone = client.completions.create(model="m", prompt=text, max_tokens=8, seed=7 + c.index, temperature=1.5)
        assert alone.choices[0].text == c.text
    parts = list(client.chat.completions.create(
        model="m", messages=hello, max_tokens=5, n=3, seed=1, temperature=1.5, stream=True,
        stream_options={"include_usage": True}))
    texts = {}
    for p in parts:
        for c in p.choices:
            texts[c.index] = texts.get(c.index, "") + (c.delta.content or "")
    whole = client.chat.completions.create(model="m", messages=hello, max_tokens=5, n=3, seed=1, temperature=1.5)
    assert [texts[i] for i in range(3)] == [c.message.content for c in whole.choices]
    assert sum(p.choices[0].finish_reason is not None for p in parts if p.choices) == 3
    assert parts[-1].usage.completion_tokens == whole.usage.completion_tokens


def stops():
    r = client.completions.create(model="m", prompt="And God said", max_tokens=20, temperature=0)
    word = r.choices[0].text.split()[3]
    s = client.completions.create(model="m", prompt="And God said", max_tokens=20, temperature=0, stop=[word, "~~"])
    assert s.choices[0].finish_reason == "stop"
    assert s.choices[0].text == r.choices[0].text[:r.choices[0].text.index(word)]


def logprobs():
    r = client.chat.completions.create(model="m", messages=hello, max_tokens=4, temperature=0,
                                       logprobs=True, top_logprobs=4)
    content = r.choices[0].logprobs.content
    assert len(content) == 4 and all(len(t.top_logprobs) == 4 for t in content)
    assert all(t.token == t.top_logprobs[0].token and t.logprob <= 0 for t in content)
    assert b"".join(bytes(t.bytes) for t in content).decode() == r.choices[0].message.content


tool = {"type": "function", "function": {
    "name": "weather", "description": "of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}}}


def tools():
    # A small model calls nothing of its own will.
    r = client.chat.completions.create(model="m", messages=hello, tools=[tool], max_tokens=6)
    assert r.choices[0].message.tool_calls is None
    named = {"type": "function", "function": {"name": "weather"}}
    for choice in "required", named:
        r = client.chat.completions.create(model="m", messages=hello, tools=[tool], tool_choice=choice, seed=1)
        call = r.choices[0].message.tool_calls[0]
        assert r.choices[0].finish_reason == "tool_calls" and call.function.name == "weather" and call.id
        assert set(json.loads(call.function.arguments)) == {"city"}
    parts = client.chat.completions.create(model="m", messages=hello, tools=[tool], tool_choice=named, seed=1, stream=True)
    deltas = [p.choices[0].delta.tool_calls[0] for p in parts if p.choices[0].delta.tool_calls]
    assert deltas[0].id and deltas[0].function.name == "weather" and not any(d.id for d in deltas[1:])
    assert "".join(d.function.arguments for d in deltas) == call.function.arguments
    conversation = hello + [
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    r = client.chat.completions.create(model="m", messages=conversation, tools=[tool], max_tokens=4)
    assert r.usage.prompt_tokens > 10
    raises(openai.BadRequestError, "tool_choice", tool_choice="required")
    raises(openai.BadRequestError, "none of the tools", tools=[tool],
           tool_choice={"type": "function", "function": {"name": "other"}})


def errors():
    long = [{"role": "user", "content": "word " * 3000}]
    e = raises(openai.BadRequestError, "context", messages=long)
    assert e.body["type"] == "exceed_context_size_error" and e.body["n_ctx"] > 0
    raises(openai.BadRequestError, "temperature", temperature=-1)
    raises(openai.BadRequestError, "n must be", n=99)
    raises(openai.BadRequestError, "top_logprobs", top_logprobs=3)
    try:
        OpenAI(base_url=url, api_key="wrong", max_retries=0).completions.create(model="m", prompt="a")
        raise AssertionError("a wrong key is taken")
    except openai.AuthenticationError:
        pass
    try:
        client.embeddings.create(model="m", input="a", encoding_format="float")
        raise AssertionError("embeddings are answered")
    except openai.NotFoundError:
        pass


def cancels():
    stream = client.chat.completions.create(model="m", messages=hello, stream=True,
                                            extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    r = client.chat.completions.create(model="m", messages=hello, max_tokens=2)
    assert r.usage.completion_tokens == 2


for f in lists, chats, streams, completes, choices, stops, logprobs, tools, errors, cancels:
    test(f)
print(len(done), "passed:", ", ".join(done))
