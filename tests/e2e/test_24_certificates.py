"""Certificates that change while they are in use, run out, or carry a
staple."""

import json
import os
import random
import ssl
import threading

import pytest

from certificates import DAY, Authority, Pair, append, template, variants
from ocspresponder import Responder
from process import run
from tlspeer import Refused, client_context
from tlsupstream import PAGE, web
from waiting import PATIENCE, scaled, until


def replace(path, text):
    """As certbot and editors do it: a new file in the old one's place."""
    with open(path + ".new", "w" if isinstance(text, str) else "wb") as f:
        f.write(text)
    os.rename(path + ".new", path)


def copy(pair, folder, name):
    """The pair's files under another name, to be replaced later."""
    made = Pair(os.path.join(folder, name + ".crt"),
                os.path.join(folder, name + ".key"))
    for source, target in zip(pair, made):
        with open(source) as f:
            replace(target, f.read())
    return made


def served(scene, edge, name="a.test"):
    tls = scene.greeted(edge, client_context(), name)
    tls.close()
    return tls.certificate()


class Handshakes:
    """Handshakes without a pause; what they saw, and what failed."""

    def __init__(self, scene, edge, names, threads=3):
        self.scene, self.edge, self.names = scene, edge, names
        self.seen, self.failures, self.done = {}, [], 0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work)
                        for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def work(self):
        context = client_context()
        while not self.stopping.is_set():
            name = random.choice(self.names)
            try:
                tls = self.scene.greeted(self.edge, context, name)
                tls.close()
                self.seen.setdefault(name, []).append(tls.certificate())
            except (Refused, OSError, AssertionError) as error:
                self.failures.append((name, error))
            self.done += 1

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30 * PATIENCE)
        return self.failures


@pytest.mark.parametrize("how", ["file change", "reload"])
def test_a_thousand_replaced_under_load(scene, how):
    """TL-13: no handshake fails, and the new ones are served."""
    count = scaled(1000)
    folder = scene.path("pairs")
    os.mkdir(folder)
    names = [f"n{n:04}.test" for n in range(count)]
    generations = []
    for mark in (b"old!", b"new!"):
        pair = scene.certificates.once(
            ("template", mark),
            lambda: template(scene.certificates.root, 5))
        with open(pair.key) as f:
            key = f.read()
        generations.append((key, dict(zip(names, variants(
            pair, names, mark)))))

    def write(generation):
        key, texts = generation
        for name, text in texts.items():
            # For a moment key and certificate do not fit.
            replace(f"{folder}/{name}.key", key)
            replace(f"{folder}/{name}.crt", text)

    write(generations[0])
    edge = scene.edge(
        [{"url": "tls://*.test", "upstream": scene.greeter().address,
          "terminate_at": "edge"}],
        top={"certificates": [{"folder": folder}]})
    load = Handshakes(scene, edge, names)
    until(lambda: load.done > 20, 10, "some load")
    write(generations[1])
    if how == "reload":
        assert edge.reload()[0]
    ders = [{name: bytes_of(text) for name, text in texts.items()}
            for _, texts in generations]
    sample = random.sample(names, 40) + [names[0], names[-1]]
    until(lambda: all(served(scene, edge, name) == ders[1][name]
                      for name in sample[-2:]), 20, "the new ones")
    until(lambda: all(served(scene, edge, name) == ders[1][name]
                      for name in sample), 20, "all new ones")
    assert not load.stop(), load.failures[:3]
    for name, list_ in load.seen.items():
        for der in list_:
            assert der in (ders[0][name], ders[1][name]), "its own, always"


def bytes_of(text):
    return ssl.PEM_cert_to_DER_cert(text)


def test_only_a_pair_that_fits_is_taken(scene):
    """The old pair stays until certificate and key match again; connections
    in progress are left alone."""
    first, second = (scene.certificates.root.leaf("a.test")
                     for _ in range(2))
    pair = copy(first, scene.folder, "live")
    edge = scene.terminated(scene.greeter(), certificates=[pair.settings()])
    held = scene.greeted(edge, client_context())
    before = len(edge.log_lines())
    with open(second.crt) as f:
        replace(pair.crt, f.read())
    edge.wait_log(lambda e: e.get("level") in ("warn", "warning", "error") and
                  "live" in str(e), 10, before)
    assert served(scene, edge) == first.der()
    with open(second.key) as f:
        replace(pair.key, f.read())
    until(lambda: served(scene, edge) == second.der(), 10, "the new pair")
    # Rubbish, and nothing at all, change nothing.
    before = len(edge.log_lines())
    replace(pair.crt, "rubbish")
    edge.wait_log(lambda e: e.get("level") in ("warn", "warning", "error") and
                  "live" in str(e), 10, before)
    assert served(scene, edge) == second.der()
    fine, entry = edge.reload()
    assert not fine and "live.crt" in entry["error"]
    assert served(scene, edge) == second.der()
    held.close()


def test_a_certificate_comes_into_the_folder_by_reload(scene):
    folder = scene.path("pairs")
    os.mkdir(folder)
    copy(scene.certificates.pair("a.test"), folder, "a")
    edge = scene.edge(
        [{"url": "tls://*.test", "upstream": scene.greeter().address,
          "terminate_at": "edge"}],
        top={"certificates": [{"folder": folder}]})
    with pytest.raises(Refused):
        served(scene, edge, "b.test")
    copy(scene.certificates.pair("b.test"), folder, "b")
    assert edge.reload()[0]
    assert served(scene, edge, "b.test") == \
        scene.certificates.pair("b.test").der()
    os.unlink(folder + "/b.key")
    os.unlink(folder + "/b.crt")
    assert edge.reload()[0]
    with pytest.raises(Refused) as told:
        served(scene, edge, "b.test")
    assert told.value.alert == 112


def test_key_and_certificate_that_never_fit(scene):
    """TL-13: refused with the file's name; the old configuration stays."""
    good, other = (scene.certificates.root.leaf("a.test") for _ in range(2))
    edge = scene.terminated(scene.greeter(), certificates=[good.settings()])
    edge.top["certificates"] = [{"crt": good.crt, "key": other.key}]
    fine, entry = edge.reload()
    assert not fine and "key" in entry["error"]
    assert served(scene, edge) == good.der()


def told_of(edge, kind):
    """Events of another type than those of connections."""
    found = []
    if os.path.exists(edge.events_tail.path):
        with open(edge.events_tail.path) as f:
            for line in f.read().splitlines():
                event = json.loads(line)
                if event["event_type"] == kind:
                    found.append(event["object"])
    return found


@pytest.mark.parametrize("end", [5 * DAY, -DAY])
def test_expiry_is_warned_of(scene, end):
    """TL-13: in log and event; it is served all the same."""
    pair = scene.certificates.root.leaf("a.test", begin=-9 * DAY, end=end)
    edge = scene.terminated(scene.greeter(), certificates=[pair.settings()])
    entry = edge.wait_log(
        lambda e: "expire" in e.get("msg", "") and
        e.get("level") in ("warn", "warning", "error"), 10)
    assert pair.crt in str(entry)
    until(lambda: told_of(edge, "certificate_expiring.v0"), 10, "the event")
    event = told_of(edge, "certificate_expiring.v0")[0]
    assert "a.test" in json.dumps(event)
    assert pair.fingerprint() in json.dumps(event)
    assert served(scene, edge) == pair.der()


def status_of(edge, name="a.test"):
    """What s_client says of the staple."""
    return run(["openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}",
                "-servername", name, "-status"], stdin=b"").stdout


def with_issuer(issuer, pair):
    """Its file holds the CA too: else a staple could not be checked."""
    append(pair.crt, issuer.crt)
    return pair


def read(path):
    with open(path, "rb") as f:
        return f.read()


STAPLED = b"OCSP Response Status: successful"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_staple_from_a_file(scene, needs, version):
    """curl --cert-status verifies it."""
    needs("curl")
    issuer = Authority(scene.path("issuer"), "Stapling CA")
    pair = with_issuer(issuer, issuer.leaf("a.test"))
    path = issuer.ocsp_response(pair, scene.path("staple.der"))
    edge = scene.terminated(scene.upstream(web), certificates=[
        pair.settings(ocsp=path)])
    shown = status_of(edge)
    assert STAPLED in shown and b"Cert Status: good" in shown
    page = run(["curl", "-sS", "--http1.0", "--cert-status", "--cacert",
                issuer.crt, "--tlsv1.2", "--tls-max", version, "--resolve",
                f"a.test:{edge.port}:127.0.0.1",
                f"https://a.test:{edge.port}/"])
    assert page.stdout == PAGE, page


def test_a_staple_that_is_wrong(scene):
    """Of another certificate, out of date, or that says revoked: not sent."""
    issuer = Authority(scene.path("issuer"), "Stapling CA")
    pair, other = (with_issuer(issuer, issuer.leaf("a.test"))
                   for _ in range(2))
    path = issuer.ocsp_response(other, scene.path("staple.der"))
    config = [pair.settings(ocsp=path)]
    edge = scene.terminated(scene.greeter(), certificates=config)
    assert STAPLED not in status_of(edge)
    entry = edge.wait_log("OCSP response not stapled")
    assert pair.crt in entry["path"] and entry["error"]
    # The right one, put in its place.
    replace(path, read(issuer.ocsp_response(pair, scene.path("good.der"))))
    until(lambda: STAPLED in status_of(edge), 10, "the staple")


@pytest.fixture
def responder(scene):
    responder = Responder(scene.folder)
    yield responder
    responder.close()


@pytest.mark.parametrize("how", ["fetch", "must-staple"])
def test_a_staple_that_is_fetched(scene, responder, how):
    """In the background: when told to, and for a certificate whose clients
    insist."""
    issuer = responder.issuer = Authority(scene.path("issuer"), "OCSP CA")
    extensions = [f"authorityInfoAccess=OCSP;URI:{responder.url}"]
    if how == "must-staple":
        extensions.append("tlsfeature=status_request")
    pair = with_issuer(issuer, issuer.leaf("a.test", extensions=extensions))
    more = {"ocsp": "fetch"} if how == "fetch" else {}
    edge = scene.terminated(scene.greeter(), certificates=[
        pair.settings(**more)])
    until(lambda: STAPLED in status_of(edge), 15, "the staple")
    assert b"Cert Status: good" in status_of(edge)
    assert 1 <= responder.asked <= 3, "not for each handshake"


def test_a_responder_that_fails(scene, responder):
    """Served without a staple, warned of; and off means off."""
    issuer = responder.issuer = Authority(scene.path("issuer"), "OCSP CA")
    responder.broken = True
    pair = with_issuer(issuer, issuer.leaf("a.test", extensions=[
        f"authorityInfoAccess=OCSP;URI:{responder.url}"]))
    edge = scene.terminated(scene.greeter(), certificates=[
        pair.settings(ocsp="fetch")])
    until(lambda: responder.asked, 15, "the question")
    edge.wait_log(lambda e: e.get("level") in ("warn", "warning") and
                  "ocsp" in str(e).lower(), 10)
    assert STAPLED not in status_of(edge)
    asked = responder.asked
    edge.top["certificates"] = [pair.settings(ocsp="off")]
    assert edge.reload()[0]
    served(scene, edge)
    assert responder.asked - asked <= 1
