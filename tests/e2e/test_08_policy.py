"""The policy on real connections: decisions, limits, and what never leaks."""

import os
import random
import re
import threading
import time

import pytest

import hello
from nameserver import Nameserver
from upstream import answer, answer_and_close, hold
from waiting import PATIENCE, SANITIZED, scaled, until

DENIED, UNKNOWN = hello.alert(49), hello.alert(112)
HEAD = 'local lunette = require "lunette"\n'


def edge_with(scene, script, upstream=None, endpoints=None, **options):
    """An edge whose policy is this Lua, in front of a.test and *.ok.test,
    which has a policy of its own file only for names under bad.test."""
    path = scene.write("policy.lua", HEAD + script)
    upstream = upstream or scene.upstream(answer_and_close(b"ok"))
    endpoints = endpoints or [
        {"url": "tls://" + name, "upstream": upstream.address}
        for name in ("a.test", "*.ok.test", "*.bad.test")]
    settings = {"policy": {"file": path, **options.pop("policy", {})}}
    settings.update(options.pop("edge", {}))
    return scene.edge(endpoints, edge=settings, **options)


def ask(scene, edge, name="a.test", **options):
    client = scene.client(edge, **options)
    client.hello(name)
    result = client.read_all()
    client.close()
    return result


@pytest.mark.core
def test_deny_forms(scene):
    edge = edge_with(scene, """
        local forms = { alert = true, close = true, reset = true }
        return function(conn)
          local form = conn.sni:match("^(%a+)%.")
          if forms[form] then
            return { allow = false, close = form, reason = "because " .. form }
          end
          if form == "number" then
            return { allow = false, alert = "unrecognized_name" }
          end
          if form == "short" then return lunette.deny "no" end
        end
    """)
    table = {"alert": (DENIED, "eof"), "close": (b"", "eof"),
             "reset": (b"", "reset"), "number": (UNKNOWN, "eof"),
             "short": (DENIED, "eof"), "fine": (b"ok", "eof")}
    for form, expected in table.items():
        assert ask(scene, edge, f"{form}.ok.test") == expected, form
    events = edge.wait_events(len(table))
    for form, event in zip(table, events):
        if form == "fine":
            assert event["policy"]["decision"] == "allow"
            continue
        assert event["close"]["reason"] == "denied_policy"
        assert event["policy"]["decision"] == "deny"
    assert events[0]["policy"]["reason"] == "because alert"
    assert events[4]["policy"]["reason"] == "no"
    assert re.fullmatch(r"[0-9a-f]{16}", events[0]["policy"]["version"])
    edge.wait_log(lambda e: e.get("reason") == "denied_policy" and
                  e["detail"] == "because alert")


def test_tarpit_holds_silently_up_to_the_hello_limit(scene):
    edge = edge_with(scene, """
        return function() return { allow = false, close = "tarpit" } end
    """, edge={"timeouts": {"hello": "800ms"}})
    client = scene.client(edge)
    began = time.monotonic()
    client.hello()
    data, _ = client.read_all()
    assert data == b"" and 0.5 < time.monotonic() - began < 1.5 * PATIENCE
    assert edge.wait_events(1)[0]["close"]["reason"] == "denied_policy"


def test_endpoint_and_upstream_choice(scene):
    first = scene.upstream(answer_and_close(b"first"))
    second = scene.upstream(answer_and_close(b"second"))
    third = scene.upstream(answer_and_close(b"third"))
    edge = edge_with(scene, f"""
        return function(conn)
          if conn.sni == "moved.ok.test" then
            return {{ endpoint = "tls://b.test" }}
          elseif conn.sni == "direct.ok.test" then
            return lunette.forward {{ upstream = "{third.address}" }}
          elseif conn.sni == "nowhere.ok.test" then
            return {{ endpoint = "tls://absent.test" }}
          elseif conn.sni == nil then
            return {{ endpoint = "tls://b.test" }}
          end
        end
    """, endpoints=[
        {"url": "tls://*.ok.test", "upstream": first.address},
        {"url": "tls://b.test", "upstream": second.address}])
    assert ask(scene, edge, "x.ok.test")[0] == b"first"
    assert ask(scene, edge, "moved.ok.test")[0] == b"second"
    assert ask(scene, edge, "direct.ok.test")[0] == b"third"
    assert ask(scene, edge, "nowhere.ok.test")[0] == DENIED
    events = edge.wait_events(4)
    assert events[1]["endpoint"]["url"] == "tls://b.test"
    assert events[2]["upstream"]["address"] == third.address
    assert events[2]["endpoint"]["url"] == "tls://*.ok.test"
    assert events[3]["close"]["reason"] == "policy_error"
    log = edge.raw_log()
    assert "endpoint" in log and "policy.lua" in log


@pytest.mark.core
def test_fields(scene):
    edge = edge_with(scene, """
        return function(conn)
          local h = conn.tls.hello
          return { tags = {
            id = conn.id, sni = conn.sni, sni2 = conn.tls.sni,
            client = conn.client_ip .. ":" .. conn.client_port,
            server = conn.server_ip .. ":" .. conn.server_port,
            listener = conn.listener,
            alpn = table.concat(conn.tls.alpn_protocols, ","),
            ja4 = conn.tls.ja4_fingerprint,
            start = string.format("%.3f", conn.ts.start),
            suites = tostring(#h.cipher_suites),
            size = tostring(h.size), ech = tostring(h.ech),
            proxy = tostring(conn.proxy),
            url = conn.endpoint.url, where = conn.endpoint.terminate_at,
            meta = conn.endpoint.metadata, label = conn.endpoint.labels.team,
            client_certificate = tostring(conn.tls.client) } }
        end
    """, endpoints=[{"url": "tls://a.test", "metadata": "some text",
                     "labels": {"team": "red"},
                     "upstream": scene.upstream(
                         answer_and_close(b"ok")).address}])
    client = scene.client(edge)
    before = time.time()
    wire = client.hello("A.test", protocols=(b"h2", b"http/1.1"),
                        ech=hello.ech_outer())
    client.read_all()
    client.close()
    event = edge.wait_events(1)[0]
    tags = event["tags"]
    assert tags["id"] == event["conn"]["id"]
    assert tags["sni"] == tags["sni2"] == "a.test"
    assert tags["client"] == f"127.0.0.1:{client.port}"
    assert tags["server"] == f"127.0.0.1:{edge.port}"
    assert tags["listener"] == event["conn"]["listener"]
    assert tags["alpn"] == "h2,http/1.1"
    assert tags["ja4"] == event["ja4_fingerprint"]
    assert abs(float(tags["start"]) - before) < 5
    assert tags["suites"] == "4" and tags["ech"] == "true"
    assert int(tags["size"]) in (len(wire), len(wire) - 5)
    assert tags["proxy"] == "nil" and tags["client_certificate"] == "nil"
    assert (tags["url"], tags["where"]) == ("tls://a.test", "upstream")
    assert (tags["meta"], tags["label"]) == ("some text", "red")


def test_log_tags_and_close_hook(scene):
    edge = edge_with(scene, """
        return {
          connect = function(conn)
            conn:log { step = "connect", n = 1, nested = { deep = true } }
            conn:log { second = "line\\nforged level=error" }
            return { tags = { colour = "blue", odd = "a\\"b\\1c" } }
          end,
          close = function(conn, summary)
            lunette.log.info("seen its end", { reason = summary.reason,
              bytes_in = summary.bytes_in, of = conn.id })
            lunette.shared("ends"):incr("n")
          end,
        }
    """)
    ask(scene, edge)
    event = edge.wait_events(1)[0]
    assert event["traffic_policy"]["logs"] == [
        {"step": "connect", "n": 1, "nested": {"deep": True}},
        {"second": "line\nforged level=error"}] or \
        event["traffic_policy"]["logs"][0]["step"] == "connect"
    assert event["tags"]["colour"] == "blue"
    assert event["tags"]["odd"] == 'a"b\1c'
    entry = edge.wait_log("seen its end")
    assert entry["of"] == event["conn"]["id"]
    assert entry["reason"] == event["close"]["reason"]
    assert all(line.startswith("time=")
               for line in edge.raw_log().splitlines())


def test_an_edge_does_not_dial_itself(scene):
    edge = edge_with(scene, """
        return function(conn)
          return { upstream = conn.server_ip .. ":" .. conn.server_port }
        end""")
    assert ask(scene, edge)[0] != b"ok"
    event, = edge.wait_events(1)
    assert event["close"] == {
        "reason": "upstream_unreachable", "alert": "internal_error",
        "detail": "the upstream is this edge's own listener"}


def test_retry(scene):
    """The hook names another upstream, or gives up."""
    good = scene.upstream(answer_and_close(b"rescued"))
    dead = scene.upstream()
    dead.stop_listening()
    edge = edge_with(scene, f"""
        return {{
          connect = function() end,
          retry = function(conn, failure)
            conn:log {{ reason = failure.reason, attempt = failure.attempt,
                        upstream = failure.upstream }}
            if conn.sni == "a.test" then
              return {{ upstream = "{good.address}" }}
            elseif conn.sni == "again.ok.test" then
              return {{ upstream = "{dead.address}" }}
            end
          end,
        }}
    """, upstream=dead)
    assert ask(scene, edge)[0] == b"rescued"
    assert ask(scene, edge, "up.ok.test")[0] == hello.alert(80)
    began = time.monotonic()
    assert ask(scene, edge, "again.ok.test")[0] == hello.alert(80)
    assert time.monotonic() - began < 5 * PATIENCE, "retries are bounded"
    events = edge.wait_events(3)
    log = events[0]["traffic_policy"]["logs"][0]
    assert log == {"reason": "upstream_refused", "attempt": 1,
                   "upstream": dead.address}
    assert events[0]["upstream"]["address"] == good.address
    assert events[1]["close"]["reason"] == "upstream_refused"


BOMBS = {
    "loop": ("while true do end", {"policy_timeout"}),
    "loop_in_pcall": ("while true do pcall(function() while true do end end)"
                      " end", {"policy_timeout"}),
    "loop_in_xpcall_handler": (
        "while true do pcall(function() xpcall(function() error('x') end, "
        "function() while true do end end) end) end",
        {"policy_timeout", "policy_error"}),
    "recursion_in_pcall": ("local function f() pcall(f) end while true do "
                           "f() end", {"policy_timeout", "policy_error",
                                       "policy_memory"}),
    "memory_table": ("local t = {} while true do t[#t + 1] = {1, 2, 3} end",
                     {"policy_memory", "policy_timeout"}),
    "memory_string": ("local s = 'x' while true do s = s .. s end",
                      {"policy_memory", "policy_error"}),
    "memory_rep": ("local s = ('x'):rep(1e9) return lunette.deny(s)",
                   {"policy_memory", "policy_error"}),
    "memory_in_pcall": ("while true do pcall(function() local s = 'xy' "
                        "while true do s = s .. s end end) end",
                        {"policy_memory", "policy_timeout"}),
    "memory_concat": ("local t = {} for i = 1, 9999 do t[i] = "
                      "('x'):rep(1000) end return lunette.deny("
                      "table.concat(t))", {"policy_memory", "policy_error"}),
    "pattern": ("local s = ('a'):rep(30000) return s:find(('a*'):rep(30) .. "
                "'b') and nil", {"policy_timeout", "policy_error",
                                 "policy_memory"}),
    "pattern_dots": ("return (('x'):rep(60000)):find(('.-'):rep(3) .. 'b') "
                     "and nil", {"policy_timeout", "policy_error",
                                 "policy_memory"}),
    "stack": ("local function f(n) return 1 + f(n + 1) end return f(0)",
              {"policy_error", "policy_memory", "policy_timeout"}),
    "sort": ("local t = {} for i = 1, 9999 do t[i] = i * 7919 % 9999 end "
             "while true do table.sort(t, function(a, b) return a < b end) "
             "end", {"policy_timeout", "policy_memory", "policy_error"}),
    "error_string": ("error('plain')", {"policy_error"}),
    "error_table": ("error({ code = 1 })", {"policy_error"}),
    "error_nil": ("error(nil)", {"policy_error"}),
    "error_in_tostring": ("error(setmetatable({}, { __tostring = function() "
                          "error('again') end }))", {"policy_error"}),
    "error_loop_in_tostring": (
        "error(setmetatable({}, { __tostring = function() while true do end "
        "end }))", {"policy_error", "policy_timeout"}),
    "unknown_global": ("return undefined_name.x", {"policy_error"}),
    "set_global": ("stray = 1", {"policy_error"}),
    "yield": ("return coroutine.yield()", {"policy_error"}),
    "decision_number": ("return 7", {"policy_error"}),
    "decision_true": ("return true", {"policy_error"}),
    "decision_string": ("return 'allow'", {"policy_error"}),
    "decision_unknown_key": ("return { alow = true }", {"policy_error"}),
    "decision_wrong_type": ("return { allow = 'yes' }", {"policy_error"}),
    "decision_allow_number": ("return { allow = 0 }", {"policy_error"}),
    "decision_array": ("return { true }", {"policy_error"}),
    "decision_bad_alert": ("return { allow = false, alert = 'nonsense' }",
                           {"policy_error"}),
    "decision_bad_close": ("return { allow = false, close = 'slam' }",
                           {"policy_error"}),
    "decision_bad_upstream": ("return { upstream = 'no port' }",
                              {"policy_error"}),
    "decision_upstream_nul": ("return { upstream = '127.0.0.1:1\\0x' }",
                              {"policy_error"}),
    "decision_proxy_3": ("return { proxy_proto = 3 }", {"policy_error"}),
    "decision_proxy_text": ("return { proxy_proto = '2' }",
                            {"policy_error"}),
    "decision_tlv_range": ("return { proxy_proto = 2, tlvs = { [1] = 'x' } "
                           "}", {"policy_error"}),
    "decision_tags_list": ("return { tags = 'x' }", {"policy_error"}),
    "decision_terminate_edge": ("return { terminate_at = 'edge' }",
                                {"policy_error"}),
    "decision_timeouts": ("return { timeouts = { idle = -1 } }",
                          {"policy_error"}),
    "decision_rate": ("return { bytes_per_second = 0/0 }",
                      {"policy_error"}),
    "decision_metatable": (
        "return setmetatable({}, { __index = function() while true do end "
        "end, __pairs = function() error('p') end })", {"policy_error",
                                                        None}),
    "sleep_negative": ("lunette.sleep(-1) error('after')",
                       {"policy_error"}),
    "sleep_nan": ("lunette.sleep(0/0) error('after')", {"policy_error"}),
    "terminate": ("conn:terminate { certificate = 'nobody' }",
                  {"policy_error"}),
}


@pytest.mark.core
@pytest.mark.parametrize("case", BOMBS)
def test_each_bomb_ends_one_connection(scene, case):
    """The others flow: on the one worker, before, during and after (LU-02)."""
    body, reasons = BOMBS[case]
    policy_path_script = f"""
        return function(conn)
          if conn.sni == "a.bad.test" then
            {body}
          end
        end
    """
    edge = edge_with(scene, policy_path_script, edge={"workers": 1})
    assert ask(scene, edge)[0] == b"ok"
    memory = edge.process.rss_bytes()
    results = []

    def victim():
        results.append(ask(scene, edge, "a.bad.test"))

    threads = [threading.Thread(target=victim) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        began = time.monotonic()
        assert ask(scene, edge)[0] == b"ok"
        assert time.monotonic() - began < 1 * PATIENCE
    for thread in threads:
        thread.join()
    assert ask(scene, edge)[0] == b"ok"
    events = edge.wait_events(15)
    if None not in reasons:
        assert {r[0] for r in results} == {DENIED}, results
    for event in events:
        if event["conn"]["server_name"] != "a.bad.test":
            assert event["close"]["reason"] == "client_closed" or \
                event["close"]["reason"] == "upstream_closed"
        elif None not in reasons:
            assert event["close"]["reason"] in reasons, event["close"]
            assert event["policy"]["decision"] == "deny"
    assert edge.process.rss_bytes() - memory < 80 * 2**20 * PATIENCE
    log = edge.raw_log()
    assert all(line.startswith("time=") for line in log.splitlines())


def test_many_loops_do_not_starve_the_others(scene):
    edge = edge_with(scene, """
        return function(conn)
          if conn.sni == "a.bad.test" then while true do end end
        end
    """, edge={"workers": 2})
    stop = threading.Event()
    victims = [0]

    def attack():
        while not stop.is_set():
            ask(scene, edge, "a.bad.test")
            victims[0] += 1

    threads = [threading.Thread(target=attack) for _ in range(2)]
    for thread in threads:
        thread.start()
    worst = 0
    for _ in range(30):
        began = time.monotonic()
        assert ask(scene, edge)[0] == b"ok"
        worst = max(worst, time.monotonic() - began)
    stop.set()
    for thread in threads:
        thread.join()
    assert worst < 1 * PATIENCE, worst
    edge.wait_events(victims[0] + 30)


def test_ways_out_of_the_sandbox(scene):
    """LU-03: whatever a script can name, none leads out."""
    names = ["ffi", "jit", "debug", "io", "os", "package", "load",
             "loadstring", "loadfile", "dofile", "getfenv", "setfenv",
             "newproxy", "collectgarbage", "module", "print", "_G.os"]
    edge = edge_with(scene, """
        local found = {}
        local function try(name, f)
          local fine, value = pcall(f)
          if fine and value then found[#found + 1] = name end
        end
        local names = { %s }
        for _, name in ipairs(names) do
          try(name, function() return _G[name] end)
        end
        for _, name in ipairs { "ffi", "jit", "debug", "io", "os", "package",
            "jit.util", "table.new", "string.buffer", "socket" } do
          try("require " .. name, function() return require(name) end)
        end
        try("string.dump", function() return string.dump end)
        try("coroutine", function() return coroutine end)
        try("metatable", function()
          getmetatable("").__index = nil return true end)
        try("library", function() string.rep = nil return true end)
        try("lunette", function() lunette.deny = nil return true end)
        try("rawset", function() rawset(string, "rep", 1) return true end)
        try("setmetatable", function()
          return setmetatable(string, {}) end)
        try("require path", function()
          return require "../../../../etc/passwd" end)
        try("require absolute", function() return require "/etc/hosts" end)
        return function(conn)
          return { tags = { found = table.concat(found, " ") } }
        end
    """ % ", ".join(f'"{n}"' for n in names if "." not in n and
                    n != "print"))
    ask(scene, edge)
    assert edge.wait_events(1)[0]["tags"]["found"] == ""


def test_a_kept_connection_object_is_dead(scene):
    """LU-07: a conn of an earlier run gives an error, not a crash."""
    path = scene.path("keep.lua")
    with open(path, "w") as f:
        f.write("local kept = {}\nreturn kept\n")
    edge = edge_with(scene, """
        local box = setmetatable({}, { __mode = "k" })
        local old
        local function keep(conn)
          old = old or conn
          return old
        end
        return function(conn)
          local first = keep(conn)
          if first ~= conn then
            first:log { late = true }
            return { tags = { sni = first.sni, ip = first.client_ip } }
          end
        end
    """, edge={"workers": 1})
    assert ask(scene, edge)[0] == b"ok"
    second = ask(scene, edge)[0]
    assert ask(scene, edge)[0] in (b"ok", DENIED)
    assert second in (b"ok", DENIED)
    edge.wait_events(3)


def test_client_text_does_not_forge_lines(scene):
    edge = edge_with(scene, """
        return function(conn)
          local text = conn.tls.alpn_protocols[1]
          lunette.log.warn(text, { field = text })
          lunette.log.info("%s%n%d " .. text)
          conn:log { text = text }
          error(text)
        end
    """)
    text = b'x\nlevel=error msg="forged"\r\n\0\x1b[2J"}{%s%n'
    client = scene.client(edge)
    client.hello(protocols=(text,))
    assert client.read_all()[0] == DENIED
    client.close()
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "policy_error"
    for line in edge.raw_log().splitlines():
        assert line.startswith("time=") and "\x1b" not in line


@pytest.mark.core
def test_sleep_suspends_only_this_connection(scene):
    edge = edge_with(scene, """
        return function(conn)
          if conn.sni ~= "a.test" then lunette.sleep(0.5) end
        end
    """, edge={"workers": 1})
    sleepers = [scene.client(edge) for _ in range(20)]
    began = time.monotonic()
    for client in sleepers:
        client.hello("s.ok.test")
    for _ in range(5):
        assert ask(scene, edge)[0] == b"ok"
    assert time.monotonic() - began < 0.45 * PATIENCE
    for client in sleepers:
        assert client.read_all()[0] == b"ok"
        client.close()
    took = time.monotonic() - began
    assert 0.45 < took < 1.5 * PATIENCE, took
    for event in edge.wait_events(25):
        if event["conn"]["server_name"] == "s.ok.test":
            assert event["timing"]["policy_ms"] >= 450


def test_wall_limit(scene):
    edge = edge_with(scene, "return function() lunette.sleep(60) end",
                     policy={"wall": "400ms"})
    began = time.monotonic()
    assert ask(scene, edge)[0] == DENIED
    assert 0.3 < time.monotonic() - began < 1.2 * PATIENCE
    assert edge.wait_events(1)[0]["close"]["reason"] == "policy_timeout"


@pytest.mark.core
def test_client_leaves_while_the_policy_sleeps(scene):
    edge = edge_with(scene, "return function() lunette.sleep(5) end")
    for turn in range(10):
        client = scene.client(edge)
        client.hello()
        time.sleep(0.01)
        if turn % 2:
            client.reset()
        else:
            client.close()
    edge.wait_events(10, timeout=12)


def test_reset_ends_a_sleep_at_once(scene):
    edge = edge_with(scene, """
        return function(conn)
          lunette.log.info "sleeping"
          lunette.sleep(60)
        end""", policy={"wall": "120s"})
    client = scene.client(edge)
    client.hello()
    edge.wait_log("sleeping")
    client.reset()
    event = edge.wait_events(1, timeout=2 * PATIENCE)[0]
    assert event["close"]["reason"] == "client_reset"


def test_resolve(scene):
    names = Nameserver({"up.internal": ["127.0.0.1"], "none.internal": None,
                        "many.internal": ["127.0.0.1", "127.0.0.2"]})
    scene.upstreams.append(names)
    upstream = scene.upstream(answer_and_close(b"resolved"))
    edge = edge_with(scene, f"""
        return function(conn)
          local all = lunette.resolve("up.internal")
          local none, why = lunette.resolve("none.internal")
          local many = lunette.resolve("many.internal")
          return {{ upstream = all[1] .. ":{upstream.port}", tags = {{
            none = tostring(none and #none or 0), why = tostring(why),
            many = tostring(#many) }} }}
        end
    """, edge={"resolver": {"servers": [names.address]}})
    edge.base_sockets += 2  # the resolver's own
    assert ask(scene, edge)[0] == b"resolved"
    tags = edge.wait_events(1)[0]["tags"]
    assert tags["none"] == "0" and tags["many"] == "2"


@pytest.mark.core
def test_rate_is_shared_by_all_workers(scene):
    edge = edge_with(scene, """
        return function(conn)
          if not lunette.rate("all", 0.001, 10) then
            return lunette.deny "rate"
          end
        end
    """, edge={"workers": 4})
    answers = [ask(scene, edge)[0] for _ in range(30)]
    assert answers.count(b"ok") == 10
    assert answers.count(DENIED) == 20


def test_active_counts_live_connections(scene):
    upstream = scene.upstream(answer(b"ok"))
    edge = edge_with(scene, """
        return function(conn)
          if lunette.active("k") >= 3 then return lunette.deny "busy" end
          conn:track("k")
        end
    """, upstream=upstream, edge={"workers": 4})
    held = []
    for _ in range(3):
        client = scene.client(edge)
        client.hello()
        assert client.read(2) == b"ok"
        held.append(client)
    assert ask(scene, edge)[0] == DENIED
    held.pop().close()
    edge.wait_events(2)
    client = scene.client(edge)
    client.hello()
    assert client.read(2) == b"ok"


def test_shared_dictionary(scene):
    edge = edge_with(scene, """
        local d = lunette.shared "seen"
        return function(conn)
          local n = d:incr("n")
          if n == 1 then d:set("text", "kept") d:set("soon", true, 0.2) end
          return { tags = { n = tostring(n), text = d:get("text"),
            soon = tostring(d:get("soon")) } }
        end
    """, edge={"workers": 4})
    for _ in range(12):
        ask(scene, edge)
    counted = sorted(int(e["tags"]["n"]) for e in edge.wait_events(12))
    assert counted == list(range(1, 13))
    assert edge.reload()[0], "what is shared survives a reload"
    until(lambda: ask(scene, edge) and
          edge.events()[-1]["tags"]["soon"] == "nil", 3, "the time to live")
    last = edge.events()[-1]["tags"]
    assert int(last["n"]) > 12 and last["text"] == "kept"


def test_random_keys_stay_bounded(scene):
    """LU-08: rates and dictionaries keyed by what clients send."""
    edge = edge_with(scene, """
        local d = lunette.shared "names"
        return function(conn)
          lunette.rate(conn.sni, 1, 1)
          for i = 1, 200 do
            lunette.rate(conn.sni .. i, 1, 1)
            d:set(conn.sni .. i, ("v"):rep(500))
          end
          return lunette.deny "seen"
        end
    """, policy={"cpu": "500ms"})
    for n in range(20):
        ask(scene, edge, f"n{n}.ok.test")
    for n in range(scaled(800)):
        ask(scene, edge, f"m{n}.ok.test")
    # 16 MiB of values, 65,536 rate keys, and the rest of the process.
    assert edge.process.rss_bytes() < 120 * 2**20 * PATIENCE ** 2


def test_pool(scene):
    ups = [scene.upstream(answer_and_close(w)) for w in (b"1", b"2")]
    dead = scene.upstream()
    dead.stop_listening()
    edge = edge_with(scene, f"""
        local pool = lunette.pool {{ "{ups[0].address}", "{ups[1].address}" }}
        return function(conn)
          return {{ upstream = pool:pick(conn) }}
        end
    """, edge={"workers": 1})
    answers = [ask(scene, edge)[0] for _ in range(8)]
    assert set(answers) == {b"1", b"2"}


def test_cidrs_and_domains(scene):
    scene.write("office.txt", "127.0.0.5/32\n# a comment\n2001:db8::/32\n")
    edge = edge_with(scene, """
        local office = lunette.cidrs_file "office.txt"
        local nets = lunette.cidrs { "127.0.0.0/30", "::1/128" }
        local names = lunette.domains { ["a.test"] = "exact",
                                        ["*.ok.test"] = "wild" }
        return function(conn)
          return { tags = { net = tostring(nets:contains(conn.client_ip)),
            office = tostring(office:contains(conn.client_ip)),
            name = tostring(names:lookup(conn.sni)) } }
        end
    """)
    ask(scene, edge, source="127.0.0.2")
    ask(scene, edge, "x.y.ok.test", source="127.0.0.5")
    ask(scene, edge, "z.bad.test", source="127.0.0.9")
    got = [(e["tags"]["net"], e["tags"]["office"], e["tags"]["name"])
           for e in edge.wait_events(3)]
    assert got == [("true", "false", "exact"), ("false", "true", "wild"),
                   ("false", "false", "nil")]


@pytest.mark.core
def test_reload_is_atomic(scene):
    """Old connections keep their script; a bad one changes nothing."""
    edge = edge_with(scene, """
        return function(conn)
          if conn.sni == "s.ok.test" then lunette.sleep(0.7) end
          return { tags = { version = "one" } }
        end
    """)
    ask(scene, edge)
    sleeper = scene.client(edge)
    sleeper.hello("s.ok.test")
    time.sleep(0.1)
    scene.write("policy.lua", HEAD + """
        return function() return { tags = { version = "two" } } end
    """)
    assert edge.reload()[0]
    ask(scene, edge)
    assert sleeper.read_all()[0] == b"ok"
    sleeper.close()
    events = edge.wait_events(3)
    assert [e["tags"]["version"] for e in events] == ["one", "one", "two"]
    versions = [e["policy"]["version"] for e in events]
    assert versions[0] == versions[1] != versions[2]
    for broken in ("return function( end", "error('at load')", "x = 1 + nil",
                   "return 7", "while true do end",
                   "local s = 'x' while true do s = s .. s end",
                   'local m = require "absent" return m'):
        scene.write("policy.lua", HEAD + "\n" + broken)
        fine, entry = edge.reload(timeout=20)
        assert not fine, broken
        assert "policy.lua" in entry["error"], entry
        assert ask(scene, edge)[0] == b"ok"
        assert edge.events()[-1]["tags"]["version"] == "two" or \
            until(lambda: edge.events()[-1]["tags"]["version"] == "two", 2,
                  "the old script")


def test_one_bad_policy_among_fifty(scene):
    """LU-06: the whole reload is refused, with file and line."""
    upstream = scene.upstream(answer_and_close(b"ok"))
    endpoints = []
    for n in range(50):
        scene.write(f"p{n}.lua", f"return function() return {{ tags = "
                    f"{{ n = '{n}' }} }} end")
        endpoints.append({"url": f"tls://n{n}.test", "policy": f"p{n}.lua",
                          "upstream": upstream.address})
    edge = scene.edge(endpoints)
    assert ask(scene, edge, "n7.test")[0] == b"ok"
    scene.write("p33.lua", "local x = 1\nreturn functio() end")
    fine, entry = edge.reload()
    assert not fine and "p33.lua:2" in entry["error"]
    assert ask(scene, edge, "n33.test")[0] == b"ok"
    assert edge.wait_events(2)[1]["tags"]["n"] == "33"


def test_edge_and_endpoint_policy_in_order(scene):
    """The edge's first; the endpoint's has the last word, but not on a
    denial."""
    scene.write("own.lua", """
        return function(conn)
          return { tags = { own = "yes" } }
        end
    """)
    upstream = scene.upstream(answer_and_close(b"ok"))
    edge = edge_with(scene, """
        return function(conn)
          if conn.sni == "no.ok.test" then
            return { allow = false, reason = "edge" }
          end
          return { tags = { edge = "yes" } }
        end
    """, endpoints=[{"url": "tls://*.ok.test", "policy": "own.lua",
                     "upstream": upstream.address}])
    assert ask(scene, edge, "yes.ok.test")[0] == b"ok"
    assert ask(scene, edge, "no.ok.test")[0] == DENIED
    events = edge.wait_events(2)
    assert events[0]["tags"] == {"edge": "yes", "own": "yes"}
    assert "own" not in events[1].get("tags", {})


def test_decision_timeouts_and_rate(scene):
    upstream = scene.upstream(answer(b"ok"))
    edge = edge_with(scene, """
        return function(conn)
          return { timeouts = { idle = 0.5 } }
        end
    """, upstream=upstream)
    client = scene.client(edge)
    client.hello()
    assert client.read(2) == b"ok"
    began = time.monotonic()
    client.read_all()
    assert 0.3 < time.monotonic() - began < 1.5 * PATIENCE
    assert edge.wait_events(1)[0]["close"]["reason"] == "idle_timeout"


def test_unknown_names_reach_the_policy_or_are_refused(scene):
    """A policy cannot be asked about a hello that is not well formed."""
    edge = edge_with(scene, """
        return function(conn)
          return { tags = { seen = conn.sni or "none" } }
        end
    """)
    client = scene.client(edge).send(hello.hello("bad name.test"))
    assert client.read_all()[0] == UNKNOWN
    client.close()
    assert "tags" not in edge.wait_events(1)[0]


def test_a_thousand_suspended_runs(scene):
    """More than the worker's share of suspended runs is denied, not held."""
    upstream = scene.upstream(hold)
    edge = edge_with(scene, """
        return function(conn)
          if conn.sni == "s.ok.test" then lunette.sleep(3) end
        end
    """, upstream=upstream, edge={"workers": 1})
    clients = []
    for _ in range(1050):
        client = scene.client(edge)
        client.hello("s.ok.test")
        clients.append(client)
    events = until(lambda: len(edge.events()) >= 50 and edge.events(), 10,
                   "the ones too many end")
    assert {e["close"]["reason"] for e in events} <= {
        "policy_error", "limit", "policy_memory", "policy_timeout"}


class Grammar:
    """Random programs from a small grammar (LU-05): most fail, some loop,
    some eat memory; none may harm the host."""

    NAMES = ["a", "b", "c", "conn", "t"]
    CALLS = ["string.rep", "string.format", "string.find", "string.gsub",
             "string.sub", "string.byte", "string.char", "table.concat",
             "table.insert", "table.remove", "table.sort", "unpack",
             "tostring", "tonumber", "pcall", "error", "select", "next",
             "pairs", "ipairs", "type", "rawget", "rawset", "setmetatable",
             "getmetatable", "math.floor", "math.random", "bit.lshift",
             "bit.band", "assert", "require", "xpcall", "rawequal",
             "lunette.deny", "lunette.forward", "lunette.cidrs",
             "lunette.rate", "lunette.active", "lunette.shared",
             "lunette.sleep", "lunette.resolve", "lunette.log.info",
             "conn.log", "conn.track", "a", "b"]
    VALUES = ["nil", "true", "0", "-1", "1e308", "0/0", "2^53", "1/0",
              '""', '"x"', '"%s%d%q"', '("x"):rep(200)', '"(.-)*%b()%f[a]"',
              "{}", "{1,2,3}", "conn.tls", "conn.tls.hello", "conn.sni",
              "conn.endpoint", "lunette", "string", "function(x) return x "
              "end", "{allow=false}", "{upstream=a}", "setmetatable({}, "
              "{__index=function(t,k) return k end})",
              "setmetatable({}, {__tostring=function() error({}) end})"]

    def __init__(self, seed):
        self.draw = random.Random(seed)

    def value(self, depth):
        kind = self.draw.randrange(6)
        if depth <= 0 or kind < 2:
            return self.draw.choice(self.VALUES + self.NAMES)
        if kind == 2:
            inner = ", ".join(self.value(depth - 1)
                              for _ in range(self.draw.randrange(4)))
            return f"{self.draw.choice(self.CALLS)}({inner})"
        if kind == 3:
            operator = self.draw.choice(
                ["+", "..", "==", "<", "*", "%", "and", "or", "^"])
            return f"({self.value(depth - 1)} {operator} " \
                f"{self.value(depth - 1)})"
        if kind == 4:
            return f"({self.value(depth - 1)})[{self.value(depth - 1)}]"
        return f"#({self.value(depth - 1)})"

    def statement(self, depth):
        kind = self.draw.randrange(8)
        body = self.statements(depth - 1) if depth > 0 else "a = 1"
        if kind == 0 and depth > 0:
            return f"for i = 1, {self.draw.choice([3, 100, 1e9])} do " \
                f"{body} end"
        if kind == 1 and depth > 0:
            return f"if {self.value(2)} then {body} end"
        if kind == 2 and depth > 0:
            return f"pcall(function() {body} end)"
        if kind == 3 and depth > 0:
            return f"while {self.value(1)} do {body} end"
        name = self.draw.choice(["a", "b", "c", "t"])
        if kind == 4:
            return f"t[{self.value(1)}] = {self.value(2)}"
        return f"{name} = {self.value(3)}"

    def statements(self, depth):
        return "; ".join(self.statement(depth)
                         for _ in range(self.draw.randrange(1, 4)))

    def program(self):
        # Each part for itself: an error in one does not spare the others.
        parts = "; ".join(f"pcall(function() {self.statements(3)} end)"
                          for _ in range(3))
        return f"local a, b, c, t = conn.sni, 1, {{}}, {{}}; " \
            f"{parts}; do return {self.value(2)} end"


def test_random_programs(scene):
    """LU-05: 10,000 of them with LUNETTE_PROGRAMS=10000."""
    count = int(os.environ.get("LUNETTE_PROGRAMS",
                               "300" if SANITIZED else "1000"))
    grammar = Grammar(int(os.environ.get("LUNETTE_SEED", "11")))
    upstream = scene.upstream(answer_and_close(b"ok"))
    endpoints = [{"url": "tls://a.test", "upstream": upstream.address}]
    chunk = 400  # a script holds at most 1 MiB
    for first in range(0, count, chunk):
        functions = "".join(
            f"p[{n}] = function(conn) {grammar.program()} end\n"
            for n in range(first, min(first + chunk, count)))
        scene.write(f"random{first}.lua", HEAD + f"""
            local p = {{}}
            {functions}
            return function(conn)
              return p[tonumber(conn.sni:match "^p(%d+)%.")](conn)
            end
        """)
        endpoints.append({"url": f"tls://*.c{first}.test",
                          "policy": f"random{first}.lua",
                          "upstream": upstream.address})
    edge = scene.edge(endpoints, edge={
        "workers": 2, "policy": {"cpu": "10ms", "wall": "200ms"},
        "timeouts": {"connect": "200ms", "idle": "1s", "hello": "1s"}})

    def drive(start):
        for n in range(start, count, 4):
            ask(scene, edge, f"p{n}.c{n // chunk * chunk}.test")

    threads = [threading.Thread(target=drive, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ask(scene, edge)[0] == b"ok"
    edge.wait_events(count + 1, timeout=10)
