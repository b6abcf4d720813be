"""RE-13: the n-th allocation fails; that connection ends, nothing else."""

import os

import pytest

import hello
from upstream import answer_and_close
from waiting import until

pytestmark = pytest.mark.hostile

POLICY = """
    local lunette = require "lunette"
    return function(conn)
      conn:log { sni = conn.sni, ip = conn.client_ip }
      local t = {}
      for i = 1, 20 do t[i] = conn.sni .. i end
      return { tags = { all = table.concat(t, ","), who = conn.client_ip } }
    end
"""


@pytest.mark.parametrize("what", ["connections", "policy", "reload"])
def test_the_nth_allocation_fails(scene, shim, what):
    upstream = scene.upstream(answer_and_close(b"ok"))
    orders = scene.path("order")
    settings = {"workers": 1}
    if what == "policy":
        settings["policy"] = {"file": scene.write("p.lua", POLICY)}
    edge = scene.route(upstream, options={
        "edge": settings, "env": {"LD_PRELOAD": shim,
                                  "SHIM_COUNT": orders}})
    visits = 0

    def visit():
        nonlocal visits
        client = scene.client(edge)
        visits += 1
        try:
            client.hello()
            return client.read_all()[0]
        except ConnectionError:
            return b""
        finally:
            client.close()

    assert visit() == b"ok"
    sweep = list(range(1, 30)) + list(range(31, 300, 12)) + \
        list(range(300, 5000, 400))
    for n in sweep:
        with open(orders + ".new", "w") as f:
            f.write(f"{n}\n")
        os.rename(orders + ".new", orders)
        if what == "reload":
            edge.reload()
        for _ in range(2):
            data = visit()
            assert data in (b"ok", b"", hello.alert(80),
                            hello.alert(49)), (n, data)
        assert edge.process.alive(), (n, edge.raw_log()[-2000:])
        if os.path.exists(orders):
            os.unlink(orders)
    # A last order may still count down: it hits at most one of these.
    assert [visit() for _ in range(30)].count(b"ok") >= 28
    until(lambda: edge.reload()[0], 5, "a reload")
    assert visit() == b"ok"
    edge.expected_exit = {0}
    # An event may be lost for want of memory, but never unseen.
    until(lambda: len(edge.events()) >= visits - len(sweep), 5, "events")
