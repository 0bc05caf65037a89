"""System calls and instructions of Wayleave per request: unlike time, other work on the machine hardly changes them. `make count` builds and runs this.

Instructions (--instructions, some minutes) are those of the whole process, counted by callgrind; what it recorded stays in the folder that is named. A binary with
symbols says more: CARGO_PROFILE_RELEASE_STRIP=none. System calls (the default) are those of the worker's thread.
"""

import argparse
import collections
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

import run
import stage

UPLOAD = 10 * 1024 * 1024


class Counted:
    """The proxy, under callgrind or not."""

    def __init__(self, binary, conf, folder, record):
        command = [binary, "serve", "--config", str(conf)]
        if record:
            callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={record}/callgrind.%p"]
            command = [*callgrind, *command]
        self.name, self.port, self.record = "wayleave", stage.PORTS["wayleave"], record
        self.process = stage.start(command, folder / "wayleave.log")

    def url(self, path):
        return f"https://{stage.HOST}:{self.port}{path}"

    def worker(self):
        """The thread that serves; the others work by the clock."""
        for thread in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            if (thread / "comm").read_text().strip() == "worker-0":
                return thread.name
        raise SystemExit("no worker")

    def control(self, *arguments):
        subprocess.run(["callgrind_control", *arguments, str(self.process.pid)], capture_output=True, check=True)

    def instructions(self, name, go, count):
        self.control("--zero")
        self.control("-i", "on")
        go(count)
        self.control("--dump=" + name)
        self.control("-i", "off")
        for file in self.record.glob(f"callgrind.{self.process.pid}.*"):
            text = file.read_text(errors="replace")
            if f"Trigger: dump {name}\n" in text:
                file.rename(self.record / f"{name}.callgrind")
                total = int(re.search(r"^(?:totals|summary): (\d+)", text, re.M)[1])
                print(f"{name}: {total / count:,.0f} instructions per request ({count})", flush=True)

    def system_calls(self, name, go, count, folder):
        trace = folder / f"{name}.strace"
        strace = subprocess.Popen(["strace", "-qq", "-o", str(trace), "-p", self.worker()])
        time.sleep(1)
        go(count)
        strace.send_signal(signal.SIGINT)
        strace.wait()
        calls = collections.Counter(re.findall(r"^(\w+)\(", trace.read_text(errors="replace"), re.M))
        shown = ", ".join(f"{call} {times / count:.2f}" for call, times in calls.most_common() if times / count >= 0.02)
        print(f"{name}: {shown} ({count})", flush=True)


def parts(proxy, issuer, folder):
    """By name: what makes so many requests, and how many are worth counting."""
    token = issuer.token("ci")
    ask = run.request(proxy, token, "connection: close\r\n")
    cookies = []

    def h2load(count, path, *arguments, header=f"authorization: Bearer {token}"):
        text = run.load(["h2load", "-t1", f"-n{count}", *arguments, "-H", header, proxy.url(path)])
        if f"status codes: {count} 2xx" not in text:
            raise SystemExit(text)

    def connections(count):
        context = run.visitor()
        for _ in range(count):
            with run.connect(context, proxy) as one:
                one.sendall(ask)
                run.receive(one, until_end=True)

    def by_cookie(count):
        if not cookies:
            cookies.append(stage.session_cookie())
        h2load(count, "/", "--h1", "-c32", header=f"cookie: {cookies[0]}")

    upload = folder / "upload"
    upload.write_bytes(b"x" * UPLOAD)
    return {
        "W1": (lambda count: h2load(count, "/", "--h1", "-c32"), 4000),
        "W2": (lambda count: h2load(count, "/", "-c4", "-m8"), 4000),
        "W3": (by_cookie, 4000),
        "W4d": (lambda count: h2load(count, "/big", "--h1", "-c4"), 40),
        "W4u": (lambda count: h2load(count, "/upload", "--h1", "-c1", "-d", str(upload)), 40),
        "W5": (connections, 400),
        "W5r": (lambda count: run.resumed(proxy, token, count), 400),
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", default=str(run.HERE / "../target/release/wayleave"))
    arguments.add_argument("--instructions", type=pathlib.Path, metavar="FOLDER", help="count instructions, and leave callgrind's files here")
    arguments.add_argument("--only", nargs="*", help="some of W1 W2 W3 W4d W4u W5 W5r")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="wayleave-count-") as name:
        folder = pathlib.Path(name)
        # nginx's workers run as another user.
        folder.chmod(0o755)
        stage.Pki(folder)
        issuer = stage.Issuer()
        workload = stage.start([os.environ["WAYLEAVE_TEST_NGINX"], "-c", str(stage.workload_conf(folder))], folder / "workload.log")
        proxy = Counted(str(pathlib.Path(given.binary).resolve()), stage.wayleave_conf(folder, issuer), folder, given.instructions)
        try:
            count_all(given, folder, issuer, proxy)
        finally:
            for process in (proxy.process, workload):
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def count_all(given, folder, issuer, proxy):
    if given.instructions:
        given.instructions.mkdir(exist_ok=True)
        # Under callgrind it takes its time to start.
        time.sleep(20)
    for port in (stage.PORTS["workload"], proxy.port):
        run.wait_for(port)
    for name, (go, count) in parts(proxy, issuer, folder).items():
        if given.only and name not in given.only:
            continue
        go(max(count // 20, 4))
        if given.instructions:
            proxy.instructions(name, go, count)
        else:
            proxy.system_calls(name, go, count, folder)


if __name__ == "__main__":
    main()
