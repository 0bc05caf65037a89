"""Wayleave beside its peers: CPU time per request, interleaved rounds, medians. `make bench` builds the release binary and runs this.

The proxies take turns on CPU 0 with one worker each; load generator and workload stay on CPU 1. What counts is the ratio: a shared machine is noisy.
"""

import argparse
import os
import pathlib
import re
import signal
import socket
import ssl
import statistics
import subprocess
import tempfile
import time

import stage

TICKS = os.sysconf("SC_CLK_TCK")
HERE = pathlib.Path(__file__).parent


def with_children(pid):
    return [str(pid), *pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pid):
    """User and system time of a process and its children, from the kernel."""
    total = 0
    for one in with_children(pid):
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def pss_mib(pid):
    total = 0
    for one in with_children(pid):
        for line in pathlib.Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


class Proxy:
    def __init__(self, name, command, folder):
        self.name, self.port = name, stage.PORTS[name]
        self.process = stage.start(["taskset", "-c", "0", *command], folder / f"{name}.log")

    def url(self, path):
        return f"https://{stage.HOST}:{self.port}{path}"


def wait_for(port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def load(command):
    done = subprocess.run(["taskset", "-c", "1", *command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def wrk(proxy, path, headers, seconds, connections, script=None):
    arguments = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for header in headers:
        arguments += ["-H", header]
    arguments += ["-s", str(script)] if script else []
    text = load([*arguments, proxy.url(path)])
    if "Non-2xx" in text:
        raise SystemExit(f"{proxy.name}: {text}")
    requests = int(re.search(r"(\d+) requests in", text)[1])
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
    return requests, float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def h2load(proxy, path, headers, seconds):
    arguments = ["h2load", "-c4", "-m8", "-t1", f"-D{seconds}"]
    for header in headers:
        arguments += ["-H", header]
    text = load([*arguments, proxy.url(path)])
    good = int(re.search(r"status codes: (\d+) 2xx", text)[1])
    bad = re.search(r"(\d+) 4xx, (\d+) 5xx", text).groups()
    if good == 0 or bad != ("0", "0"):
        raise SystemExit(f"{proxy.name}: {text}")
    return good, None


def measure(proxy, run):
    before = cpu_seconds(proxy.process.pid)
    began = time.monotonic()
    requests, p99 = run(proxy)
    took = time.monotonic() - began
    used = cpu_seconds(proxy.process.pid) - before
    return {"us": used / requests * 1e6, "per_s": requests / took, "p99": p99, "requests": requests, "cpu": used}


def compare(title, proxies, rounds, run, unit="CPU us/request", scale=1.0):
    results = {proxy.name: [] for proxy in proxies}
    for proxy in proxies:
        run(proxy)
    for _ in range(rounds):
        for proxy in proxies:
            results[proxy.name].append(measure(proxy, run))
    median = {name: {key: statistics.median(one[key] for one in all if one[key] is not None) if all[0][key] is not None else None
                     for key in ("us", "per_s", "p99")} for name, all in results.items()}
    base = median["envoy"]["us"] if "envoy" in median else None
    print(f"\n### {title}\n\n| proxy | {unit} | ratio to Envoy | requests/s | p99 ms |\n|---|--:|--:|--:|--:|")
    for name, row in median.items():
        ratio = f"{row['us'] / base:.2f}" if base else ""
        p99 = f"{row['p99']:.2f}" if row["p99"] is not None else ""
        print(f"| {name} | {row['us'] * scale:.2f} | {ratio} | {row['per_s']:,.0f} | {p99} |", flush=True)


def visitor():
    """A TLS client that trusts whoever answers; the certificates are of this run."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(context, proxy, session=None):
    raw = socket.create_connection(("127.0.0.1", proxy.port))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw, server_hostname=stage.HOST, session=session)


def request(proxy, token, more=""):
    return f"GET / HTTP/1.1\r\nhost: {stage.HOST}:{proxy.port}\r\nauthorization: Bearer {token}\r\n{more}\r\n".encode()


def receive(open_one, until_end):
    """One answer: all there is, or its head and the three bytes that the workload says."""
    text = b""
    while piece := open_one.recv(4096):
        text += piece
        if not until_end and text.endswith(b"ok\n"):
            break
    if not text.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"refused: {text[:300]}")


def resumed(proxy, token, count):
    """A new connection for each request, each resuming the TLS session of the one before; every one has to be resumed."""
    context, session = visitor(), None
    ask = request(proxy, token, "connection: close\r\n")
    for number in range(count):
        with connect(context, proxy, session) as open_one:
            open_one.sendall(ask)
            receive(open_one, until_end=True)
            if number > 0 and not open_one.session_reused:
                raise SystemExit(f"{proxy.name}: connection {number} was not resumed")
            session = open_one.session
    return count, None


def newcomers(proxy, tokens):
    """Requests of callers never seen before, on one connection: token verified, certificate issued, connection to the workload opened as them."""
    with connect(visitor(), proxy) as open_one:
        for token in tokens:
            open_one.sendall(request(proxy, token))
            receive(open_one, until_end=False)
    return len(tokens), None


def alone(title, proxy, rounds, run, unit):
    """What no peer does: measured by itself. `run` takes the round's number."""
    results = [measure(proxy, lambda _: run(number)) for number in range(rounds)]
    used, rate = (statistics.median(one[key] for one in results) for key in ("us", "per_s"))
    print(f"\n### {title}\n\n{used:.0f} us of CPU each; {rate:,.0f} per second came from this client ({unit}).", flush=True)


def idle_connections(proxies, count, token):
    """Connections that were opened, and connections that had a request and were left alone for some seconds."""
    print(f"\n### Memory: PSS in MiB, and KiB per idle TLS connection ({count})\n\n| proxy | idle | opened | KiB each | after a request | KiB each |\n|---|--:|--:|--:|--:|--:|")
    context = visitor()
    for proxy in proxies:
        before = pss_mib(proxy.process.pid)
        open_ones = [connect(context, proxy) for _ in range(count)]
        time.sleep(1)
        opened = pss_mib(proxy.process.pid)
        for one in open_ones:
            one.sendall(request(proxy, token))
            receive(one, until_end=False)
        time.sleep(8)
        # An allocator gives back what is free when it is next asked for something.
        wrk(proxy, "/", [f"Authorization: Bearer {token}"], 1, 1)
        after = pss_mib(proxy.process.pid)
        each = [(now - before) * 1024 / count for now in (opened, after)]
        print(f"| {proxy.name} | {before:.1f} | {opened:.1f} | {each[0]:.1f} | {after:.1f} | {each[1]:.1f} |", flush=True)
        for one in open_ones:
            one.close()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=2)
    arguments.add_argument("--connections", type=int, default=1000)
    arguments.add_argument("--only", nargs="*", help="some of W1 W1u W2 W3 W4d W4u W5 W5r callers sign-ins memory")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="wayleave-bench-") as folder:
        bench(given, pathlib.Path(folder))


def bench(given, folder):
    # nginx's workers run as another user.
    folder.chmod(0o755)
    stage.Pki(folder)
    issuer = stage.Issuer()
    nginx = os.environ["WAYLEAVE_TEST_NGINX"]
    workload = stage.start(["taskset", "-c", "1", nginx, "-c", str(stage.workload_conf(folder))], folder / "workload.log")
    binary = str((HERE / "../target/release/wayleave").resolve())
    proxies = [
        Proxy("wayleave", [binary, "serve", "--config", str(stage.wayleave_conf(folder, issuer))], folder),
        Proxy("envoy", [os.environ["WAYLEAVE_TEST_ENVOY"], "-c", str(stage.envoy_conf(folder, issuer)), "--concurrency", "1", "--disable-hot-restart", "-l", "error"], folder),
        Proxy("nginx", [nginx, "-c", str(stage.plain_nginx_conf(folder))], folder),
    ]
    try:
        for port in (stage.PORTS["workload"], *(proxy.port for proxy in proxies)):
            wait_for(port)
        run_all(given, folder, issuer, proxies)
    finally:
        for process in (workload, *(proxy.process for proxy in proxies)):
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def run_all(given, folder, issuer, proxies):
    full = [proxy for proxy in proxies if proxy.name != "nginx"]
    ours = full[:1]
    token = issuer.token("ci")
    bearer = [f"Authorization: Bearer {token}"]
    seconds, rounds = given.seconds, given.rounds
    many = folder / "many.lua"
    tokens = ",".join(f'"{issuer.token(f"ci-{n}")}"' for n in range(4000))
    many.write_text(f"local t={{{tokens}}}\nlocal n=0\nrequest=function() n=n%#t+1 return wrk.format(nil,nil,{{authorization='Bearer '..t[n]}}) end\n")
    upload = folder / "upload.lua"
    upload.write_text("wrk.method='POST'\nwrk.body=string.rep('x', 10*1024*1024)\n")
    close = [*bearer, "Connection: close"]
    per_gigabyte = 1e-6 / (10 * 1024 * 1024) * 1e9

    def session():
        cookie = {"wayleave": [f"Cookie: {stage.session_cookie()}"], "envoy": bearer}
        compare("W3: session cookie (Envoy: still the token)", full, rounds, lambda p: wrk(p, "/", cookie[p.name], seconds, 32))

    def people():
        each = [[issuer.token(f"{n}", groups=["staff", "newcomers"]) for n in range(k * 200, k * 200 + 200)] for k in range(rounds)]
        alone("First request of a caller with an identity of its own", ours[0], rounds, lambda k: newcomers(ours[0], each[k]), "one connection")

    def sign_ins():
        def some(_):
            for _ in range(50):
                stage.session_cookie()
            return 50, None
        alone("Sign-ins: redirect, code, session, hand-over to the application", ours[0], rounds, some, "one browser after the other")

    parts = {
        "W1": lambda: compare("W1: one token, HTTP/1.1 keep-alive, 32 connections", proxies, rounds, lambda p: wrk(p, "/", bearer, seconds, 32)),
        "W1u": lambda: compare("W1u: 4,000 tokens in turn", full, rounds, lambda p: wrk(p, "/", [], seconds, 32, many)),
        "W2": lambda: compare("W2: HTTP/2, 4 connections of 8 streams", proxies, rounds, lambda p: h2load(p, "/", bearer, seconds)),
        "W3": session,
        "W4d": lambda: compare("W4: 10 MiB downloads, 4 connections", proxies, rounds, lambda p: wrk(p, "/big", bearer, seconds, 4), "CPU s/GB", per_gigabyte),
        "W4u": lambda: compare("W4: 10 MiB uploads, 4 connections", proxies, rounds, lambda p: wrk(p, "/upload", bearer, seconds, 4, upload), "CPU s/GB", per_gigabyte),
        "W5": lambda: compare("W5: a new TLS connection for each request", proxies, rounds, lambda p: wrk(p, "/", close, seconds, 16)),
        "W5r": lambda: compare("W5: the same, each session resumed", proxies, rounds, lambda p: resumed(p, token, 300 * seconds)),
        "callers": people,
        "sign-ins": sign_ins,
        "memory": lambda: idle_connections(proxies, given.connections, token),
    }
    print("nginx authenticates nothing and logs nothing: an upper bound, not a peer for the same work.")
    for name, part in parts.items():
        if not given.only or name in given.only:
            part()


if __name__ == "__main__":
    main()
