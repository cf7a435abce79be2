"""load.py URL PID SECONDS CLIENTS - many clients stream at once: every text must be the one
that the same request got when it was alone, and the server's memory must stay what it was.

Half of the requests take the likeliest tokens, half draw with a seed; their prompts differ
in length, some share a beginning."""
import http.client
import json
import sys
import threading
import time

url, pid, seconds, n_clients = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
host = url.removeprefix("http://")
words = "And God said unto the waters let there be light upon the face of the deep".split()
requests = []
for i in range(24):
    text = " ".join(words[(i * k + k) % len(words)] for k in range(1, 4 + 5 * (i % 7)))
    r = {"max_tokens": 8 + i % 9, "temperature": 0} if i % 2 else \
        {"max_tokens": 8 + i % 9, "temperature": 1, "seed": i}
    requests.append((r | {"prompt": text, "stream": True, "ignore_eos": True}, "/v1/completions") if i % 3 else
                    (r | {"messages": [{"role": "user", "content": text}], "stream": True},
                     "/v1/chat/completions"))


def ask(connection, number):
    body, path = requests[number]
    connection.request("POST", path, json.dumps(body))
    text, ended = "", False
    for line in connection.getresponse().read().decode().split("\n"):
        if line == "data: [DONE]":
            ended = True
        elif line.startswith("data: "):
            choice = json.loads(line[6:])["choices"][0]
            text += choice.get("text") or choice.get("delta", {}).get("content") or ""
    return text if ended else None


def rss():
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


alone = http.client.HTTPConnection(host, timeout=120)
expected = [ask(alone, i) for i in range(len(requests))]
assert None not in expected and len(set(expected)) > 10
wrong, errors, counts = [], [], [0] * n_clients
end = time.time() + seconds


def client(number):
    connection, i = http.client.HTTPConnection(host, timeout=120), number
    while time.time() < end:
        try:
            text = ask(connection, i % len(requests))
        except Exception as e:  # counted, whatever it was
            errors.append(repr(e))
            connection = http.client.HTTPConnection(host, timeout=120)
            continue
        if text != expected[i % len(requests)]:
            wrong.append((i % len(requests), text))
        counts[number] += 1
        i += 5 if i % 2 else 7


threads = [threading.Thread(target=client, args=(k,)) for k in range(n_clients)]
for t in threads:
    t.start()
samples = []
while time.time() < end:
    time.sleep(max(0.05, seconds / 100))
    samples.append(rss())
for t in threads:
    t.join()
early, late = max(samples[len(samples) // 5:len(samples) // 2]), max(samples[len(samples) // 2:])
print(f"{sum(counts)} replies to {n_clients} clients in {seconds:.0f} s, least {min(counts)} most {max(counts)}; "
      f"{len(wrong)} differ, {len(errors)} errors; memory {early} then {late} kB ({100 * (late / early - 1):+.2f} %)")
for w in (wrong + errors)[:5]:
    print(w)
sys.exit(bool(wrong or errors or late > 1.02 * early or min(counts) == 0))
