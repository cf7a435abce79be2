"""turn.py SERVER MODEL [TOKENS] [OPTION...] - what the second turn of a long conversation costs:
seconds from the request to the first text of its stream.

A message of TOKENS (16384) tokens is answered, then three short ones, each as the second turn
after it, and after a restart, with what is in --slot-save-path, three others.  One of either is
asked again with the whole prompt read anew: the replies, of the likeliest tokens, must be the same
texts.  Options are the server's."""
import http.client
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

program, model = sys.argv[1:3]
n_tokens = int(sys.argv[3]) if len(sys.argv) > 3 else 16384
options = sys.argv[4:]
book = pathlib.Path(__file__).parent / "../../samples/text/held-out.txt"
questions = ["Who is it that speaks?", "Where did they go then?", "What was said to him?",
             "What is the name of the city?", "How many of them were there?", "Why did he weep?"]
REPLY = 24


class Server:
    def __init__(self, states):
        self.log = tempfile.NamedTemporaryFile("r")
        with open(self.log.name, "w") as log:
            self.process = subprocess.Popen(
                [program, "-m", model, "--port", "0", "-np", "1", "-c", str(n_tokens + 512),
                 "--slot-save-path", states, *options], stderr=log)
        while " is ready" not in pathlib.Path(self.log.name).read_text():
            if self.process.poll() is not None:
                sys.exit(pathlib.Path(self.log.name).read_text())
            time.sleep(0.02)
        port = re.search(r"listening on http://\S+:(\d+)", pathlib.Path(self.log.name).read_text())[1]
        self.http = http.client.HTTPConnection("127.0.0.1", int(port), timeout=600)

    def post(self, path, body):
        self.http.request("POST", path, json.dumps(body))
        return self.http.getresponse()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait() == 0

    def ask(self, messages, **more):
        """Text, seconds to its beginning, tokens of the prompt, of these not computed."""
        start, first, text, last = time.monotonic(), None, "", {}
        reply = self.post("/v1/chat/completions", {
            "messages": messages, "stream": True, "temperature": 0, "max_tokens": REPLY,
            "ignore_eos": True, "stream_options": {"include_usage": True}, **more})
        for line in reply:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            assert "error" not in event, event
            delta = event["choices"][0]["delta"] if event["choices"] else {}
            piece = (delta.get("reasoning_content") or "") + (delta.get("content") or "")
            if piece and first is None:
                first = time.monotonic() - start
            text += piece
            last = event
        assert reply.status == 200 and text
        usage = last["usage"]
        return text, first, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def cut(server):
    """The book, over and over, TOKENS long."""
    ids = json.loads(server.post("/tokenize", {"content": book.read_text()}).read())["tokens"]
    ids = (ids * (n_tokens // len(ids) + 1))[:n_tokens]
    return json.loads(server.post("/detokenize", {"tokens": ids}).read())["content"]


with tempfile.TemporaryDirectory(prefix="q3n-turn.", dir=os.environ.get("TMPDIR")) as states:
    server = Server(states)
    first = [{"role": "user", "content": cut(server)}]
    text, seconds, n, _ = server.ask(first)
    print(f"first turn, {n} tokens: {seconds:.3f} s to the first text")
    turns = [first + [{"role": "assistant", "content": text}, {"role": "user", "content": q}]
             for q in questions]
    known = [server.ask(t) for t in turns[:3]]
    server.stop()
    server = Server(states)
    restarted = [server.ask(t) for t in turns[3:]]
    anew = [server.ask(t, cache_prompt=False) for t in (turns[0], turns[3])]
    server.stop()

print("second turn             seconds to the first text, median (least to most)   computed of tokens")
whole = statistics.median(r[1] for r in anew)
for name, list_ in (("after the first turn", known), ("after a restart", restarted), ("all read anew", anew)):
    times = sorted(r[1] for r in list_)
    middle = statistics.median(times)
    print(f"{name:21} {middle:8.3f} ({times[0]:.3f} to {times[-1]:.3f}) {whole / middle:7.1f} times as fast   "
          f"{', '.join(f'{n - cached} of {n}' for _, _, n, cached in list_)}")
assert [known[0][0], restarted[0][0]] == [r[0] for r in anew], (known, restarted, anew)
print("the texts are the same")
