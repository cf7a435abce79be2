"""hostile.py URL - clients that misbehave, one after another; the server must answer what
can be answered, drop the rest in time, and be well afterwards."""
import http.client
import json
import socket
import sys
import time

host, port = sys.argv[1].removeprefix("http://").split(":")
port = int(port)
failed = []


def connect(timeout=5):
    return socket.create_connection((host, port), timeout)


def read_all(s):
    data = b""
    try:
        while piece := s.recv(65536):
            data += piece
    except (TimeoutError, ConnectionError):
        pass
    return data


def send(raw, half_close=False, timeout=5):
    """What comes back for these bytes, until the server closes or is silent."""
    with connect(timeout) as s:
        try:
            s.sendall(raw)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        return read_all(s)


def post(body, path="/v1/completions", extra=b""):
    return (b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n"
            % (path.encode(), extra, len(body))) + body


def status(reply):
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else 0


def check(name, ok, seen=""):
    print(f"{'ok' if ok else 'FAILED'}: {name}", "" if ok else repr(seen)[:300])
    if not ok:
        failed.append(name)


def ask(prompt="And God", n=3):
    c = http.client.HTTPConnection(host, port, timeout=20)
    c.request("POST", "/v1/completions",
              json.dumps({"prompt": prompt, "max_tokens": n, "temperature": 0}))
    return json.loads(c.getresponse().read())["choices"][0]["text"]


before = ask()

# ---- Bodies ----
bodies = {
    "nothing": b"",
    "half of an object": b'{"prompt": "a',
    "no UTF-8": b'{"prompt": "\xff\xfe"}',
    "half a surrogate": b'{"prompt": "\\ud800"}',
    "a NUL": b'{"prompt": "a", "stop": "b\\u0000"}',
    "100,000 brackets": b"[" * 100000,
    "1,000 objects deep": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "a number too large": b'{"prompt": "a", "max_tokens": 1e999}',
    "many digits": b'{"prompt": "a", "max_tokens": ' + b"9" * 10000 + b"}",
    "a prompt that is an object": b'{"prompt": {}}',
    "token ids that are none": b'{"prompt": [1, 2.5]}',
    "many stops": b'{"prompt": "a", "stop": [' + b",".join([b'"x"'] * 1000) + b"]}",
    "a negative bias of nothing": b'{"prompt": "a", "logit_bias": {"x": 1}}',
}
for name, body in bodies.items():
    reply = send(post(body))
    check(name, status(reply) == 400 and b'"invalid_request_error"' in reply, reply)
for name, body in {
    "messages of numbers": b'{"messages": [1]}',
    "a message without role": b'{"messages": [{"content": "a"}]}',
    "tools of numbers": b'{"messages": [{"role": "user", "content": "a"}], "tools": [1]}',
    "a schema of itself": b'{"messages": [{"role": "user", "content": "a"}], "response_format": '
                          b'{"type": "json_object", "schema": {"$ref": "#"}}}',
}.items():
    reply = send(post(body, "/v1/chat/completions"))
    check(name, status(reply) == 400, reply)

# ---- Requests ----
reply = send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 3, timeout=1)
check("three requests at once get three answers", reply.count(b"HTTP/1.1 200") == 3, reply)
two = post(json.dumps({"prompt": "And God", "max_tokens": 3, "temperature": 0}).encode())
two = two.replace(b"Connection: close\r\n", b"")
reply = send(two + two, timeout=2)
check("two completions at once get two texts", reply.count(json.dumps(before).encode()) == 2, reply)
check("no request", send(b"\r\n\r\n\r\n", True) is not None)
check("no HTTP", status(send(b"HELLO\r\n\r\n")) in (0, 400, 505))
check("no HTTP version", status(send(b"GET /health\r\n\r\n", True)) in (0, 400, 505))
check("a length that is none", status(send(
    b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", True)) in (0, 400))
check("a body larger than what is taken", status(send(
    b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")) == 413)
check("a chunk that is none", status(send(
    b"POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", True)) in (0, 400))
check("endless headers", status(send(
    b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100000)) in (0, 413, 431))
check("a path of 100,000 bytes", status(send(
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")) in (0, 414, 431))
check("a path that climbs", status(send(
    b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 404)
check("a method that is none", status(send(
    b"BREW /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 405)

# ---- Sockets ----
for _ in range(50):
    connect().close()
stream = json.dumps({"prompt": "a", "ignore_eos": True, "stream": True}).encode()
for _ in range(20):
    s = connect()
    s.sendall(post(stream))
    s.recv(100)
    s.close()
for cut in (1, 40, 100, len(post(stream)) - 1):
    s = connect()
    s.sendall(post(stream)[:cut])
    s.close()
s = connect()
s.sendall(post(stream))
s.recv(100)
s.shutdown(socket.SHUT_WR)
s.settimeout(5)
start = time.time()
read_all(s)
check("a half-closed socket ends its stream", time.time() - start < 4)
s.close()

reader = connect()  # who does not read does not keep others waiting
reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
reader.sendall(post(stream))
slow = [connect() for _ in range(30)]  # nor who writes slowly
for s in slow:
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n")
check("others are served meanwhile", ask() == before)
for s in slow:
    s.close()
reader.close()

deadline = time.time() + 10
while time.time() < deadline:
    c = http.client.HTTPConnection(host, port, timeout=5)
    c.request("GET", "/slots")
    if not any(slot["is_processing"] for slot in json.loads(c.getresponse().read())):
        break
    time.sleep(0.05)
else:
    check("nothing is generated for those who left", False)
check("the server is well", ask() == before)

if "--slow" in sys.argv:  # longer than the time for headers
    s = connect(40)
    start = time.time()
    try:
        while time.time() - start < 38:
            s.sendall(b"G" if time.time() == start else b"E")
            time.sleep(0.5)
    except OSError:
        pass
    check("headers a byte at a time are cut off", 25 < time.time() - start < 36, time.time() - start)

print(f"{len(failed)} failed")
sys.exit(bool(failed))
