"""browser.py - drives a headless Chromium over its DevTools protocol, with nothing but
Python's standard library."""
import base64, json, os, re, shutil, socket, struct, subprocess, tempfile, time, urllib.request

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find():
    return next((p for p in map(shutil.which, NAMES) if p), None)


class WebSocket:
    """As much of RFC 6455 as a client of DevTools needs."""

    def __init__(self, host, port, path):
        self.s = socket.create_connection((host, port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        self.s.sendall((f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
                        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                        "Sec-WebSocket-Version: 13\r\n\r\n").encode())
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise OSError("no websocket: " + head.decode("latin-1"))

    def more(self):
        data = self.s.recv(1 << 16)
        if not data:
            raise OSError("the browser has gone")
        self.buffer += data

    def exactly(self, n):
        while len(self.buffer) < n:
            self.more()
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def send(self, text):
        data = text.encode()
        mask = os.urandom(4)
        n = len(data)
        head = b"\x81" + (bytes([0x80 | n]) if n < 126 else
                          b"\xfe" + struct.pack(">H", n) if n < 65536 else
                          b"\xff" + struct.pack(">Q", n))
        whole = int.from_bytes(data, "big") ^ int.from_bytes((mask * (n // 4 + 1))[:n], "big")
        self.s.sendall(head + mask + whole.to_bytes(n, "big"))

    def receive(self):
        out = b""
        while True:
            first, second = self.exactly(2)
            n = second & 0x7f
            if n == 126:
                n = struct.unpack(">H", self.exactly(2))[0]
            elif n == 127:
                n = struct.unpack(">Q", self.exactly(8))[0]
            out += self.exactly(n)
            if first & 0x80:
                return out.decode()


class Browser:
    def __init__(self, program):
        self.dir = tempfile.mkdtemp(prefix="page.")
        self.p = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
             "--user-data-dir=" + self.dir, "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self.p.stderr:
            m = re.search(r"ws://127\.0\.0\.1:(\d+)/", line)
            if m:
                break
        else:
            raise OSError("the browser does not start")
        port = int(m.group(1))
        for _ in range(100):
            pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
            pages = [p for p in pages if p["type"] == "page"]
            if pages:
                break
            time.sleep(.1)
        self.ws = WebSocket("127.0.0.1", port, re.sub(r"^ws://[^/]*", "", pages[0]["webSocketDebuggerUrl"]))
        self.n = 0
        self.errors = []  # exceptions and console errors of the page
        self.call("Page.enable")
        self.call("Runtime.enable")

    def call(self, method, **params):
        self.n += 1
        self.ws.send(json.dumps({"id": self.n, "method": method, "params": params}))
        while True:
            m = json.loads(self.ws.receive())
            if m.get("method") == "Runtime.exceptionThrown":
                self.errors.append(m["params"]["exceptionDetails"])
            if m.get("id") == self.n:
                if "error" in m:
                    raise OSError(f"{method}: {m['error']}")
                return m["result"]

    def run(self, script):
        r = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in r:
            raise AssertionError(r["exceptionDetails"])
        return r["result"].get("value")

    def until(self, script, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.run(script):
                return
            time.sleep(.05)
        raise AssertionError("never true: " + script)

    def open(self, url, width=1400, height=900, dark=False):
        self.look(width, height, dark)
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def look(self, width, height, dark):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 700)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def key(self, key, text=None, modifiers=0):
        code = {"Enter": 13, "Escape": 27, "O": 79}.get(key, 0)
        params = dict(key=key, code=key if len(key) > 1 else "Key" + key.upper(), windowsVirtualKeyCode=code, modifiers=modifiers)
        self.call("Input.dispatchKeyEvent", type="keyDown", **params, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **params)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def picture(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))

    def close(self):
        try:
            self.call("Browser.close")
        except OSError:
            pass
        self.p.wait(20)
        self.p.stderr.close()
        shutil.rmtree(self.dir, ignore_errors=True)
