"""A headless Chromium, driven over a pipe by its own protocol, which needs nothing but Python; None where there is none."""

import base64
import json
import os
import shutil
import subprocess
import time

PROGRAM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")) if p), None)


class Browser:
    def __init__(self, width=1200, height=900):
        ours, theirs = os.pipe(), os.pipe()
        command = [PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                   "--remote-debugging-pipe", f"--window-size={width},{height}"]
        # The browser reads from 3 and writes to 4.
        self.process = subprocess.Popen(["bash", "-c", f'exec 3<&{ours[0]} 4>&{theirs[1]}; exec "$@"', "bash", *command],
                                        pass_fds=(ours[0], theirs[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(ours[0])
        os.close(theirs[1])
        self.out, self.inp, self.held, self.number, self.session = ours[1], theirs[0], b"", 0, None
        self.errors = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in "Runtime", "Page", "Log":
            self.call(domain + ".enable")

    def close(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.held:
                piece = os.read(self.inp, 1 << 20)
                if not piece:
                    raise SystemExit("the browser has ended")
                self.held += piece
            text, self.held = self.held.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("method") == "Runtime.exceptionThrown":
                details = answer["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.errors.append(answer["params"]["entry"]["text"])
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, url):
        """Returns the seconds until it has loaded and drawn."""
        begin = time.monotonic()
        self.call("Page.navigate", url=str(url))
        self.wait("document.readyState === 'complete'")
        self.run("new Promise(f => requestAnimationFrame(() => setTimeout(f)))")
        return time.monotonic() - begin

    def run(self, code):
        result = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in result:
            self.errors.append(f"{code[:60]}: {result['exceptionDetails'].get('exception', {}).get('description', '')}")
        return result["result"].get("value")

    def wait(self, code, seconds=60):
        end = time.monotonic() + seconds
        while not self.run(code):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def mouse(self, selector, click=False):
        """Moves the pointer over the first that fits, as a hand does, and clicks."""
        place = self.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
                         "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()")
        if place is None:
            self.errors.append(f"nothing fits {selector}")
            return
        x, y = place
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        if click:
            for kind in "mousePressed", "mouseReleased":
                self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover(self, selector):
        self.mouse(selector)

    def click(self, selector):
        self.mouse(selector, click=True)

    def type(self, text):
        for c in text:
            self.call("Input.insertText", text=c)

    def key(self, name, modifiers=0):
        for kind in "keyDown", "keyUp":
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, modifiers=modifiers)

    def picture(self, path, whole=False):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))

    def dark(self, dark=True):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
