"""crowd.py URL N - a server that takes N connections at once: who comes later waits until
somebody leaves, and is then served."""
import socket
import sys
import time

host, port = sys.argv[1].removeprefix("http://").split(":")
most = int(sys.argv[2])


def ask(s):
    s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


def answer(s, seconds):
    s.settimeout(seconds)
    try:
        return s.recv(12)
    except TimeoutError:
        return None


def connect(n):
    return [socket.create_connection((host, int(port)), 5) for _ in range(n)]


silent = connect(most)
time.sleep(0.2)
late = connect(3 * most)
for s in late:
    ask(s)
assert answer(late[0], 0.3) is None, "more are let in than there is room for"
for s in silent:
    s.close()
for s in late:
    assert answer(s, 5) == b"HTTP/1.1 200", "who waited is not served"
