"""What the operator shows to Prometheus: read from files, taken up when they change, and never told to anybody else."""

import base64
import logging

import pytest

from serinus.core.readings import Gauge, Grid, Missing, MissingReason
from serinus.metrics import credentials
from serinus.metrics.answers import UnreadableError
from serinus.metrics.credentials import CredentialFiles
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.source import QueryValue, ReadingRequest
from tests.unit.metrics.servers import serving

TOKEN = "eyJhbGciOiJSUzI1NiJ9.c2VyaW51cw.h-u_nter2"
PASSWORD = 'cor:rect "horse"/é'
GOOD = {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1000, "1"]]}]}}


def question(end=1_000.0):
    measure = QueryValue("max(memory{%pods%})")
    return ReadingRequest(measure, namespace="prod", pod_prefix="m-1", grid=Grid(1_000.0, 10.0), end=end)


def replaced(path, text):
    """As the kubelet does it: another file takes the place of the old one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
    return path


@pytest.fixture
def token(tmp_path):
    return replaced(tmp_path / "token", f"{TOKEN}\n")


@pytest.fixture
def basic(tmp_path):
    username = replaced(tmp_path / "username", "serinus")
    return CredentialFiles(username=username, password=replaced(tmp_path / "password", f"{PASSWORD}\n"))


def sent(server):
    return [headers.get("Authorization") for _, _, headers in server.seen]


async def read_from(server, files, times=1, **settings):
    source = PrometheusSource(server.url, credentials=files, timeout_seconds=20, **settings)
    try:
        return [await source.read(question(1_000.0 + place)) for place in range(times)][-1]
    finally:
        await source.close()


async def test_a_bearer_token_is_sent_without_the_line_end_of_its_file(token):
    with serving(lambda *_: GOOD) as server:
        assert isinstance(await read_from(server, CredentialFiles(token=token)), Gauge)
    assert sent(server) == [f"Bearer {TOKEN}"]


async def test_user_and_password_are_sent_together(basic):
    with serving(lambda *_: GOOD) as server:
        assert isinstance(await read_from(server, basic), Gauge)
    kind, encoded = sent(server)[0].split()
    assert (kind, base64.b64decode(encoded).decode()) == ("Basic", f"serinus:{PASSWORD}")


async def test_without_credentials_none_are_sent():
    with serving(lambda *_: GOOD) as server:
        await read_from(server, CredentialFiles())
    assert sent(server) == [None]


async def test_a_new_token_is_used_from_the_next_question_on(token):
    with serving(lambda *_: GOOD) as server:
        source = PrometheusSource(server.url, credentials=CredentialFiles(token=token), timeout_seconds=20)
        for place in range(6):
            replaced(token, f"token-{place // 2}")
            assert isinstance(await source.read(question(1_000.0 + place)), Gauge)
        await source.close()
    assert sent(server) == [f"Bearer token-{place // 2}" for place in range(6)]


async def test_a_token_that_vanishes_and_comes_back_makes_readings_missing_in_between(token):
    with serving(lambda *_: GOOD) as server:
        source = PrometheusSource(server.url, credentials=CredentialFiles(token=token), timeout_seconds=20)
        token.unlink()
        reading = await source.read(question())
        assert isinstance(reading, Missing)
        assert reading.reason is MissingReason.SOURCE_UNAVAILABLE
        assert str(token) in reading.detail
        assert "No such file" in reading.detail
        assert server.seen == []
        replaced(token, TOKEN)
        assert isinstance(await source.read(question()), Gauge)
        await source.close()


REFUSED = {
    "empty": (b"\n", "it is empty"),
    "two lines": (b"one\ntwo", "blanks or characters"),
    "another header": (b"one\r\nX-Admin: yes", "blanks or characters"),
    "binary": (b"\xff\xfe\x00", "not UTF-8"),
    "endless": (b"a" * (credentials.MAX_SECRET_BYTES + 1), "longer than 64 KiB"),
}


@pytest.mark.parametrize(("content", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_is_no_token_is_refused_with_its_name_and_without_its_content(tmp_path, content, why):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=why) as caught:
        credentials.read(CredentialFiles(token=path))
    assert str(path) in caught.value.missing.detail
    assert "X-Admin" not in caught.value.missing.detail


def test_a_user_with_a_colon_is_refused_as_the_password_would_begin_there(tmp_path):
    files = CredentialFiles(username=replaced(tmp_path / "u", "a:b"), password=replaced(tmp_path / "p", "c"))
    with pytest.raises(UnreadableError, match="colon"):
        credentials.read(files)


@pytest.mark.parametrize(
    "files",
    [{"username": "/u"}, {"certificate": "/c"}, {"token": "/t", "username": "/u", "password": "/p"}, {"key": "/k"}],
)
def test_half_or_twofold_credentials_are_refused_at_the_start(files):
    with pytest.raises(ValueError, match=r"needs the files of both|exclude each other"):
        CredentialFiles(**files)


def echo(server, status, form):
    """A proxy that repeats what it was sent, in the middle of what else it says."""

    def send(handler):
        authorization = handler.headers["Authorization"]
        said = f"{'no ' * 90}{authorization} {base64.b64decode(authorization.split()[-1] + '==', altchars=b'-_')!r}"
        server.send(handler, status, form(said + authorization).encode())

    return send


def as_json(said):
    escaped = said.replace("\\", "\\\\").replace('"', '\\"')
    return f'{{"status":"error","errorType":"bad_data","error":"{escaped}"}}'


@pytest.mark.parametrize("form", [str, as_json], ids=["text", "JSON"])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 502])
@pytest.mark.parametrize("kind", ["token", "basic"])
async def test_a_server_that_repeats_the_credentials_makes_no_message_show_them(request, caplog, kind, status, form):
    caplog.set_level(logging.DEBUG)
    given = request.getfixturevalue(kind)
    files = CredentialFiles(token=given) if kind == "token" else given
    secrets = [TOKEN, PASSWORD, base64.b64encode(f"serinus:{PASSWORD}".encode()).decode()]
    with serving(lambda *_: echo(server, status, form)) as server:
        reading = await read_from(server, files)
    assert isinstance(reading, Missing)
    told = reading.detail + caplog.text + repr(credentials.read(files))
    for secret in secrets:
        for length in (len(secret), len(secret) // 2):
            assert secret[:length] not in told


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_told_as_that_and_where_they_come_from(token, status):
    with serving(lambda *_: server.raw(status, b"Unauthorized")) as server:
        reading = await read_from(server, CredentialFiles(token=token))
    assert isinstance(reading, Missing)
    assert reading.reason is MissingReason.SOURCE_UNAVAILABLE
    assert f"HTTP {status}" in reading.detail
    assert "prometheus.auth" in reading.detail


async def test_a_token_is_not_taken_to_where_a_redirect_leads(token):
    with (
        serving(lambda *_: GOOD) as elsewhere,
        serving(lambda *_: server.raw(307, b"", Location=elsewhere.url)) as server,
    ):
        reading = await read_from(server, CredentialFiles(token=token))
    assert isinstance(reading, Missing)
    assert elsewhere.seen == []


async def test_proxies_and_passwords_of_the_environment_are_not_used(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    for name, value in {"HOME": str(tmp_path), "http_proxy": "http://127.0.0.1:1", "no_proxy": ""}.items():
        monkeypatch.setenv(name, value)
    with serving(lambda *_: GOOD) as server:
        assert isinstance(await read_from(server, CredentialFiles()), Gauge)
    assert sent(server) == [None]
