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


def idle_connections(proxies, count):
    print(f"\n### Memory: PSS in MiB, and KiB per idle TLS connection ({count})\n\n| proxy | idle | with connections | KiB each |\n|---|--:|--:|--:|")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for proxy in proxies:
        before = pss_mib(proxy.process.pid)
        open_ones = []
        for _ in range(count):
            raw = socket.create_connection(("127.0.0.1", proxy.port))
            open_ones.append(context.wrap_socket(raw, server_hostname=stage.HOST))
        time.sleep(1)
        after = pss_mib(proxy.process.pid)
        print(f"| {proxy.name} | {before:.1f} | {after:.1f} | {(after - before) * 1024 / count:.1f} |", flush=True)
        for one in open_ones:
            one.close()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=2)
    arguments.add_argument("--connections", type=int, default=1000)
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
    bearer = [f"Authorization: Bearer {issuer.token('ci')}"]
    seconds, rounds = given.seconds, given.rounds
    print("nginx authenticates nothing and logs nothing: an upper bound, not a peer for the same work.")
    compare("W1: one token, HTTP/1.1 keep-alive, 32 connections", proxies, rounds, lambda p: wrk(p, "/", bearer, seconds, 32))
    many = folder / "many.lua"
    tokens = ",".join(f'"{issuer.token(f"ci-{n}")}"' for n in range(4000))
    many.write_text(f"local t={{{tokens}}}\nlocal n=0\nrequest=function() n=n%#t+1 return wrk.format(nil,nil,{{authorization='Bearer '..t[n]}}) end\n")
    compare("W1u: 4,000 tokens in turn", full, rounds, lambda p: wrk(p, "/", [], seconds, 32, many))
    compare("W2: HTTP/2, 4 connections of 8 streams", proxies, rounds, lambda p: h2load(p, "/", bearer, seconds))
    cookie = {"wayleave": [f"Cookie: {stage.session_cookie()}"], "envoy": bearer}
    compare("W3: session cookie (Envoy: still the token)", full, rounds, lambda p: wrk(p, "/", cookie[p.name], seconds, 32))
    compare("W4: 10 MiB downloads, 4 connections", proxies, rounds, lambda p: wrk(p, "/big", bearer, seconds, 4),
            "CPU s/GB", 1e-6 / (10 * 1024 * 1024) * 1e9)
    upload = folder / "upload.lua"
    upload.write_text("wrk.method='POST'\nwrk.body=string.rep('x', 10*1024*1024)\n")
    compare("W4: 10 MiB uploads, 4 connections", proxies, rounds, lambda p: wrk(p, "/upload", bearer, seconds, 4, upload),
            "CPU s/GB", 1e-6 / (10 * 1024 * 1024) * 1e9)
    close = [*bearer, "Connection: close"]
    compare("W5: a new TLS connection for each request", proxies, rounds, lambda p: wrk(p, "/", close, seconds, 16))
    idle_connections(proxies, given.connections)


if __name__ == "__main__":
    main()
