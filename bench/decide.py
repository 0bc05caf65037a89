"""What the rules of a policy cost Envoy: CPU time per request of a real one whose RBAC filter has more and more of them, less that of one that has none.

The policies are those of benches/policy.rs: the rule that allows comes last, and whoever asks is in 200 groups, as claims of a verified token.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import tempfile

import stage
from run import Proxy, cpu_seconds, wait_for, wrk

ROUTES = 1000
SIZES = (0, 10, 1000, 10000)
T = "type.googleapis.com/envoy.extensions"


def routes_and_groups(index, rules):
    """Names a route and a group."""
    route = {"header": {"name": ":authority", "string_match": {"exact": f"r{index % min(ROUTES, rules)}.example"}}}
    method = {"header": {"name": ":method", "string_match": {"exact": "GET"}}}
    group = {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, {"key": "groups"}],
                          "value": {"list_match": {"one_of": {"string_match": {"exact": f"group{index}"}}}}}}
    return {"permissions": [{"and_rules": {"rules": [route, method]}}], "principals": [group]}


def paths_of_one_route(index, _):
    """About paths of one route, for everyone."""
    route = {"header": {"name": ":authority", "string_match": {"exact": "r0.example"}}}
    path = {"url_path": {"path": {"exact": f"/p{index}"}}}
    return {"permissions": [{"and_rules": {"rules": [route, path]}}], "principals": [{"any": True}]}


def configuration(folder, issuer, rule, rules):
    jwt = {"@type": f"{T}.filters.http.jwt_authn.v3.JwtAuthentication", "providers": {"bench": {
        "issuer": issuer.url, "audiences": ["bench"], "payload_in_metadata": "payload", "jwt_cache_config": {"jwt_cache_size": 100},
        "local_jwks": {"inline_string": json.dumps(issuer.keys())}}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}]}
    filters = [{"name": "jwt", "typed_config": jwt}]
    if rules:
        # Envoy asks in the order of names.
        policies = {f"rule{index:06}": rule(index, rules) for index in range(rules)}
        rbac = {"@type": f"{T}.filters.http.rbac.v3.RBAC", "rules": {"action": "ALLOW", "policies": policies}}
        filters.append({"name": "rbac", "typed_config": rbac})
    filters.append({"name": "router", "typed_config": {"@type": f"{T}.filters.http.router.v3.Router"}})
    manager = {"@type": f"{T}.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "in",
               "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
                                                   "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]},
               "http_filters": filters}
    listener = {"name": "in", "address": {"socket_address": {"address": "127.0.0.1", "port_value": stage.PORTS["envoy"]}},
                "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}]}
    path = folder / "rbac.json"
    path.write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    return path


class Plain(Proxy):
    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"


def microseconds(folder, issuer, rule, rules, seconds):
    command = [os.environ["WAYLEAVE_TEST_ENVOY"], "-c", str(configuration(folder, issuer, rule, rules)), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    proxy = Plain("envoy", command, folder)
    last = max(rules, 1) - 1
    is_paths = rule is paths_of_one_route
    host = "r0.example" if is_paths else f"r{last % min(ROUTES, max(rules, 1))}.example"
    path = f"/p{last}" if is_paths else "/d/1"
    groups = [f"other{number}" for number in range(199)] + [f"group{last}"]
    headers = [f"Authorization: Bearer {issuer.token('somebody', groups=groups)}", f"Host: {host}"]
    try:
        wait_for(proxy.port)
        wrk(proxy, path, headers, 1, 8)
        before = cpu_seconds(proxy.process.pid)
        requests, _ = wrk(proxy, path, headers, seconds, 8)
        return (cpu_seconds(proxy.process.pid) - before) / requests * 1e6
    finally:
        proxy.process.send_signal(signal.SIGTERM)
        proxy.process.wait(20)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=2)
    given = arguments.parse_args()
    issuer = stage.Issuer()
    with tempfile.TemporaryDirectory(prefix="wayleave-bench-") as folder:
        for rule in (routes_and_groups, paths_of_one_route):
            print(f"\nEach rule: {rule.__doc__}\n\n| rules | us of CPU more per request |\n|---|--:|", flush=True)
            rounds = [[microseconds(pathlib.Path(folder), issuer, rule, rules, given.seconds) for rules in SIZES] for _ in range(given.rounds)]
            for at, rules in enumerate(SIZES[1:], 1):
                print(f"| {rules} | {statistics.median(row[at] - row[0] for row in rounds):.1f} |", flush=True)


if __name__ == "__main__":
    main()
