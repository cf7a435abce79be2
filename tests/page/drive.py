"""drive.py URL [PICTURES] - uses the page of a q3n-serve as somebody would: sends, stops,
regenerates, edits, exports, imports.  Ends with 1 and the first thing that is not as it
should be.  Into the folder PICTURES go screenshots: light and dark, wide and narrow."""
import json
import re
import sys
import time

import browser

# Text of a model that would like to run as a script, and what must become of it.
HOSTILE = """<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 1">
[a](javascript:window.hacked=1) [b](data:text/html,x) [c](https://example.org/?a=(b)) `<b>`
**unbalanced *stars `and ticks

| <i>x</i> | y |
|---|---|
| <svg onload="window.hacked = 1"> | [d](JaVaScRiPt:window.hacked=1) |

```html"><script>window.hacked=1</script>
</code></pre><script>window.hacked = 1</script>
```
> - quoted <iframe src="javascript:window.hacked=1"></iframe>
"""

MARKDOWN = {
    "# A\n## B": ["H1", "H2"],
    "one\n\ntwo": ["P", "P"],
    "- a\n- b\n  - c": ["UL"],
    "1. a\n2. b": ["OL"],
    "> q\n> q": ["BLOCKQUOTE"],
    "```c\nint x;\n```\nafter": ["DIV", "P"],
    "```c\nnever closed": ["DIV"],
    "a | b\n--|--\n1 | 2": ["DIV"],
    "***": ["HR"],
}


def check(what, good):
    if not good:
        raise AssertionError(what)


def count(b, selector):
    return b.run(f"document.querySelectorAll({json.dumps(selector)}).length")


def idle(b):
    b.until("!running && document.getElementById('stop').hidden", 60)


def say(b, text):
    b.run("document.getElementById('text').focus()")
    b.type(text)
    b.key("Enter", "\r")


def set_up(b, url, **settings):
    b.open(url)
    b.run("localStorage.clear()")
    b.run(f"localStorage.setItem('q3n.settings', {json.dumps(json.dumps(settings))})")
    b.open(url)
    b.until("server.n_ctx > 0")


def markdown(b):
    render = "(() => { const d = document.createElement('div'); blocks_into(d, %s); return %s; })()"
    for text, tags in MARKDOWN.items():
        got = b.run(render % (json.dumps(text), "[...d.children].map(e => e.tagName)"))
        check(f"{text!r} becomes {got}", got == tags)
    whole = "(d.id = 'hostile', document.body.append(d), 1)"
    b.run(render % (json.dumps(HOSTILE), whole))
    time.sleep(.3)
    check("a script of the model has run", not b.run("window.hacked"))
    check("markup of the model became elements",
          count(b, "#hostile script, #hostile img, #hostile svg, #hostile iframe, #hostile i") == 0)
    links = b.run("[...document.querySelectorAll('#hostile a')].map(a => a.href)")
    check(f"links are {links}", links == ["https://example.org/?a=(b)"])
    check("no text is lost", "window.hacked = 1</script>" in b.run("document.getElementById('hostile').textContent"))
    # Streamed byte by byte it ends the same.
    same = b.run("""(() => { const t = %s, d = document.createElement('div');
        for (let i = 0; i <= t.length; i++) blocks_into(d, t.slice(0, i));
        const e = document.createElement('div'); blocks_into(e, t);
        return d.innerHTML === e.innerHTML; })()""" % json.dumps(HOSTILE))
    check("streamed text becomes what it is as a whole", same)
    b.run("document.getElementById('hostile').remove()")


def talk(b):
    say(b, "Once upon a time there was a king who")
    b.until("running")
    idle(b)
    check("one question, one answer", count(b, "article") == 2)
    first = b.run("chat.messages[1].content")
    check("the answer is empty", len(first) > 0)
    check("the answer is not shown", len(b.run("document.querySelector('article.assistant .body').textContent")) > 0)
    check("no speed is shown", "tok/s" in b.run("document.querySelector('article.assistant .tools').textContent"))
    check("the context is not counted", b.run("chat.used") > 0)
    check("the conversation has no title", b.run("document.title").startswith("Once upon a time"))

    b.run("[...document.querySelectorAll('article.assistant button')].find(e => e.textContent === 'Regenerate').click()")
    b.until("running")
    idle(b)
    check("regenerating with a seed gives the same", b.run("chat.messages[1].content") == first)

    b.run("[...document.querySelectorAll('article.user button')].find(e => e.textContent === 'Edit').click()")
    b.run("document.querySelector('article textarea').select()")
    b.type("The sea was calm and")
    b.key("Enter", "\r")
    b.until("running")
    idle(b)
    check("an edit replaces what was said", b.run("chat.messages[0].content") == "The sea was calm and" and count(b, "article") == 2)


def stop(b):
    b.run("settings.max_tokens = 100000")
    say(b, "Go on for ever")
    b.until("running && chat.messages[3] && chat.messages[3].content.length > 0", 60)
    b.key("Escape")
    idle(b)
    check("what came before the stop is lost", b.run("chat.messages[3].content.length") > 0)
    check("it does not say that it was stopped", "stopped" in b.run("[...document.querySelectorAll('article')].pop().textContent"))
    b.run("settings.max_tokens = 24")


def experts(b):
    """Where experts came from, which with memory of their own is memory and disk."""
    label = b.run("document.querySelector('#experts svg').getAttribute('aria-label')")
    memory, mapped, disk = (int(n) for n in re.findall(r"(\d+) %", label))
    check(f"the shares are {label}", 98 <= memory + mapped + disk <= 102)
    if b.run("counts.slot_bytes > 0"):
        check(f"of experts that are read it says {label}", not mapped and memory)
    shown = b.run("document.getElementById('experts').textContent")
    check(f"the experts' line is {shown}", shown.startswith("experts") and "%" in shown)


def keeping(b, url):
    b.run("window.saved = null; URL.createObjectURL = blob => { window.saved = blob; return 'data:,'; }")
    b.run("document.getElementById('export').click()")
    text = b.run("window.saved.text()")
    check("the export holds the conversation", json.loads(text)["chats"][0]["messages"][0]["content"] == "The sea was calm and")
    b.open(url)
    b.until("server.n_ctx > 0")
    check("a conversation outlives the page", count(b, "article") == 4)
    b.run("document.querySelector('#chats .drop').click()")
    check("a conversation can be deleted", count(b, "article") == 0 and b.run("chats.length") == 0)
    b.run(f"load_file(new File([{json.dumps(text)}], 'chats.json'))")
    b.until("document.querySelectorAll('article').length === 4")
    b.run("load_file(new File(['{}'], 'other.json'))")
    b.until("document.getElementById('speed').textContent.includes('no conversations')")
    b.key("O", modifiers=2 | 8)  # Ctrl+Shift
    check("Ctrl+Shift+O begins a conversation", count(b, "article") == 0)


def failing(b):
    b.run("settings.temperature = -5")
    say(b, "This should fail")
    # It fails at once, and may never be seen running.
    b.until("document.querySelectorAll('article .error').length > 0")
    idle(b)
    check("an error is not shown", count(b, "article .error") == 1)
    b.run("delete settings.temperature")


def pictures(b, url, folder):
    b.run("chats.sort((a, b) => b.messages.length - a.messages.length); keep_chats()")
    for width in (1400, 400):
        for dark in (False, True):
            b.open(url, width, 900, dark)
            b.until("server.n_ctx > 0")
            wide = b.run("document.documentElement.scrollWidth")
            check(f"at {width} it is {wide} wide", wide <= width)
            if folder:
                b.picture(f"{folder}/{width}-{'dark' if dark else 'light'}.png")


def main():
    url, folder = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    b = browser.Browser(browser.find())
    try:
        set_up(b, url, max_tokens="24", seed="1", temperature="0.8")
        markdown(b)
        talk(b)
        stop(b)
        experts(b)
        keeping(b, url)
        failing(b)
        pictures(b, url, folder)
        check(f"errors: {b.errors}", not b.errors)
    finally:
        b.close()


main()
