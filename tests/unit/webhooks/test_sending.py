"""One POST against a real HTTP server on loopback: what is sent, where it may go, and what an answer means."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from e2e.cluster.pki import make_authority
from serinus.api.notifications import AllowedHost
from serinus.webhooks.sending import Answer, Delivered, Failed, Refused, Sender, open_sender
from serinus.webhooks.signing import keys_of, signature
from tests.unit.webhooks.receivers import KEY, LocalReceiver, mounted, receiving

BODY = '{"text":"ü"}'.encode()


@asynccontextmanager
async def sender_to(folder: Path, port: int, *hosts: str) -> AsyncIterator[Sender]:
    allowed = hosts or (f"http://127.0.0.1:{port}",)
    async with open_sender(folder, [AllowedHost.parse(each) for each in allowed]) as sender:
        yield sender


async def sent(folder: Path, receiver: LocalReceiver, url: str = "", *hosts: str, signed: bool = True) -> Answer:
    mounted(folder, "slack", url or f"http://127.0.0.1:{receiver.port}/services/T000/B000/sEcReT")
    async with sender_to(folder, receiver.port, *hosts) as sender:
        return await sender.send("slack", "7f0c-5-1772366401", BODY, signed=signed)


async def test_what_is_sent_is_json_with_a_signature_over_its_id_its_time_and_itself(tmp_path: Path) -> None:
    async with receiving() as receiver:
        assert await sent(tmp_path, receiver) == Delivered()
    (got,) = receiver.received
    assert (got.path, got.body, got.headers["content-type"]) == (
        "/services/T000/B000/sEcReT",
        BODY,
        "application/json",
    )
    at = int(got.headers["webhook-timestamp"])
    assert abs(at - datetime.now(UTC).timestamp()) < 60
    assert got.headers["webhook-id"] == "7f0c-5-1772366401"
    assert got.headers["webhook-signature"] == signature(keys_of(KEY), "7f0c-5-1772366401", at, BODY)


async def test_a_receiver_that_checks_no_signature_needs_no_key(tmp_path: Path) -> None:
    async with receiving() as receiver:
        mounted(tmp_path, "slack", f"http://127.0.0.1:{receiver.port}/", key=None)
        async with sender_to(tmp_path, receiver.port) as sender:
            assert await sender.send("slack", "1", BODY, signed=False) == Delivered()
    assert "webhook-signature" not in receiver.received[0].headers


async def test_an_address_is_used_as_it_is_written(tmp_path: Path) -> None:
    """The signatures in the addresses of Teams' workflows cover their percent signs."""
    path = "/workflows/0a/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sig=a%2Bb_c-d%3D"
    async with receiving() as receiver:
        assert await sent(tmp_path, receiver, f"http://127.0.0.1:{receiver.port}{path}") == Delivered()
    assert receiver.received[0].path == path


async def test_files_are_read_anew_for_each_notification(tmp_path: Path) -> None:
    async with receiving() as receiver, sender_to(tmp_path, receiver.port) as sender:
        for path in ("/old", "/new"):
            mounted(tmp_path, "slack", f"http://127.0.0.1:{receiver.port}{path}")
            await sender.send("slack", "1", BODY, signed=True)
    assert [each.path for each in receiver.received] == ["/old", "/new"]


# Where it may go ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "scheme", "name", "port", "allowed"),
    [
        ("hooks.slack.com", "https", "hooks.slack.com", 443, True),
        ("hooks.slack.com", "http", "hooks.slack.com", 80, False),
        ("hooks.slack.com", "http", "hooks.slack.com", 443, False),
        ("hooks.slack.com", "https", "hooks.slack.com", 8443, False),
        ("hooks.slack.com", "https", "xhooks.slack.com", 443, False),
        ("hooks.slack.com", "https", "a.hooks.slack.com", 443, False),
        ("hooks.slack.com", "https", "hooks.slack.com.evil.example", 443, False),
        ("*.example.com:8443", "https", "a.b.example.com", 8443, True),
        ("*.example.com:8443", "https", "example.com", 8443, False),
        ("*.example.com:8443", "https", "badexample.com", 8443, False),
        ("http://bridge.ops", "http", "bridge.ops", 80, True),
        ("http://169.254.169.254:80", "http", "169.254.169.25", 80, False),
    ],
)
def test_a_host_is_allowed_with_its_scheme_and_port(
    host: str, scheme: str, name: str, port: int, allowed: bool
) -> None:
    assert AllowedHost.parse(host).allows(scheme, name, port) is allowed


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:{port}/",
        "http://127.0.0.2:{port}/",
        "https://127.0.0.1:{port}/",
        "http://hooks.example.com@127.0.0.1:{port}/",
        "http://hooks.example.com:{port}\\@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}#@hooks.example.com/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0x7f.1:{port}/",
        "http://hooks.example.com:{port}/\r\nHost: evil",
        "ftp://hooks.example.com/",
        "hooks.example.com",
        "",
    ],
)
async def test_an_address_on_another_host_is_never_called(tmp_path: Path, url: str) -> None:
    async with receiving() as receiver:
        mounted(tmp_path, "slack", url.format(port=receiver.port))
        async with sender_to(tmp_path, receiver.port, f"http://hooks.example.com:{receiver.port}") as sender:
            answer = await sender.send("slack", "1", BODY, signed=True)
    assert isinstance(answer, Failed)
    assert receiver.received == []


async def test_a_refused_host_is_told_with_what_to_do_and_without_the_path(tmp_path: Path) -> None:
    async with receiving() as receiver:
        answer = await sent(tmp_path, receiver, "", "hooks.slack.com")
    assert isinstance(answer, Failed)
    assert f"http://127.0.0.1:{receiver.port} is not among the hosts" in answer.why
    assert "notifications.allowedHosts" in answer.why
    assert "sEcReT" not in answer.why


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async with receiving() as there:
        location = {"Location": f"http://127.0.0.1:{there.port}/"}
        async with receiving(lambda _: web.Response(status=307, headers=location)) as receiver:
            allowed = (f"http://127.0.0.1:{receiver.port}", f"http://127.0.0.1:{there.port}")
            answer = await sent(tmp_path, receiver, "", *allowed)
    assert isinstance(answer, Failed)
    assert "answered 307: redirects are not followed" in answer.why
    assert there.received == []


async def test_proxies_of_the_environment_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert await sent(tmp_path, receiver) == Delivered()
    assert proxy.received == []


async def test_certificates_are_verified(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "pki")
    authority.sign("server", "/CN=receiver", "IP:127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "pki" / "server.crt", tmp_path / "pki" / "server.key")
    async with receiving(tls=tls) as receiver:
        url, host = f"https://127.0.0.1:{receiver.port}/", f"127.0.0.1:{receiver.port}"
        strange = await sent(tmp_path, receiver, url, host)
        assert isinstance(strange, Failed)
        assert "its certificate is not trusted" in strange.why
        assert receiver.received == []

        (tmp_path / "slack" / "ca.crt").write_bytes(authority.certificate.read_bytes())
        assert await sent(tmp_path, receiver, url, host) == Delivered()

        (tmp_path / "slack" / "ca.crt").write_text("nonsense")
        unusable = await sent(tmp_path, receiver, url, host)
        assert isinstance(unusable, Failed)
        assert "ca.crt can't be used" in unusable.why


# What an answer means -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_2xx_is_a_delivery(tmp_path: Path, status: int) -> None:
    async with receiving(lambda _: web.Response(status=status)) as receiver:
        assert await sent(tmp_path, receiver) == Delivered()


@pytest.mark.parametrize("status", [401, 403, 404, 408, 410, 425, 429, 500, 502, 503, 504])
async def test_what_speaks_of_the_receiver_is_tried_again(tmp_path: Path, status: int) -> None:
    async with receiving(lambda _: web.Response(status=status)) as receiver:
        answer = await sent(tmp_path, receiver)
    assert answer == Failed(f"127.0.0.1:{receiver.port} answered {status}")


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_what_speaks_of_the_message_is_not(tmp_path: Path, status: int) -> None:
    async with receiving(lambda _: web.Response(status=status, text="invalid_payload")) as receiver:
        answer = await sent(tmp_path, receiver)
    assert answer == Refused(f"127.0.0.1:{receiver.port} answered {status}: invalid_payload")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("999999", 3600),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("Mon, 1 Jan 2024 00:00:00 +99999999999999999999", None),
    ],
)
async def test_retry_after_is_taken_as_it_is_meant(tmp_path: Path, header: str, seconds: float | None) -> None:
    async with receiving(lambda _: web.Response(status=429, headers={"Retry-After": header})) as receiver:
        answer = await sent(tmp_path, receiver)
    assert isinstance(answer, Failed)
    assert answer.retry_after_seconds == seconds


async def test_an_answer_whose_text_does_not_come_or_makes_no_sense_still_counts(tmp_path: Path) -> None:
    """Else a message that the receiver refuses would be sent to it for a day."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> None:
        await reader.readuntil(BODY)
        headers = b"HTTP/1.1 400 Bad Request\r\nContent-Encoding: gzip\r\nContent-Length: 500\r\n\r\n"
        writer.write(headers + text)
        await writer.drain()
        with suppress(ConnectionError):
            await reader.read()  # until the sender has had enough
        writer.close()

    for text in (b"", b"not gzip at all"):
        server = await asyncio.start_server(partial(refuse, text=text), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        mounted(tmp_path, "slack", f"http://127.0.0.1:{port}/")
        async with server, open_sender(tmp_path, [AllowedHost.parse(f"http://127.0.0.1:{port}")], 0.5) as sender:
            answer = await sender.send("slack", "1", BODY, signed=True)
        assert answer == Refused(f"127.0.0.1:{port} answered 400")


async def test_retry_after_may_be_a_date(tmp_path: Path) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    async with receiving(lambda _: web.Response(status=503, headers={"Retry-After": date})) as receiver:
        answer = await sent(tmp_path, receiver)
    assert isinstance(answer, Failed)
    assert answer.retry_after_seconds is not None
    assert 50 < answer.retry_after_seconds <= 60


async def test_a_server_that_repeats_the_address_makes_no_message_show_it(tmp_path: Path) -> None:
    async with receiving(lambda got: web.Response(status=500, text=f"no <b>{got.path}</b>\x00 here")) as receiver:
        answer = await sent(tmp_path, receiver)
    assert isinstance(answer, Failed)
    assert "sEcReT" not in answer.why
    assert "T000" not in answer.why
    assert answer.why.endswith(" here")


async def test_a_receiver_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    async with receiving() as receiver:
        pass
    answer = await sent(tmp_path, receiver)
    assert isinstance(answer, Failed)
    assert answer.why.startswith(f"127.0.0.1:{receiver.port} can't be reached: ")
    assert "sEcReT" not in answer.why


async def test_a_connection_that_breaks_off_is_tried_again(tmp_path: Path) -> None:
    async def slam(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    receiver = LocalReceiver(port=server.sockets[0].getsockname()[1])
    async with server:
        answer = await sent(tmp_path, receiver)
    assert isinstance(answer, Failed)
    assert "sEcReT" not in answer.why


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "gave no answer within 0.2 s"),
        (b"HTTP/1.1 200", "gave no answer within 0.2 s"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\n", "answered 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\no", None),
    ],
    ids=["silent", "half a line", "an error without its text", "taken, with half a text"],
)
async def test_a_receiver_that_hangs_is_given_up_in_time_unless_it_has_answered(
    tmp_path: Path, said: bytes, told: str | None
) -> None:
    over = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    mounted(tmp_path, "slack", f"http://127.0.0.1:{port}/sEcReT")
    hosts = [AllowedHost.parse(f"http://127.0.0.1:{port}")]
    async with server, open_sender(tmp_path, hosts, timeout_seconds=0.2) as sender:
        answer = await sender.send("slack", "1", BODY, signed=True)
        over.set()
    assert answer == (Delivered() if told is None else Failed(f"127.0.0.1:{port} {told}"))


@pytest.mark.parametrize("file", ["url", "signing-key"])
async def test_a_secret_that_is_not_there_is_told_with_its_file(tmp_path: Path, file: str) -> None:
    async with receiving() as receiver:
        mounted(tmp_path, "slack", f"http://127.0.0.1:{receiver.port}/")
        (tmp_path / "slack" / file).unlink()
        async with sender_to(tmp_path, receiver.port) as sender:
            answer = await sender.send("slack", "1", BODY, signed=True)
    assert isinstance(answer, Failed)
    assert f"slack/{file} can't be read: No such file or directory; look at the Secret" in answer.why
    assert receiver.received == []


async def test_a_key_that_is_none_sends_nothing_and_is_not_shown(tmp_path: Path) -> None:
    async with receiving() as receiver:
        mounted(tmp_path, "slack", f"http://127.0.0.1:{receiver.port}/", key="correct-horse")
        async with sender_to(tmp_path, receiver.port) as sender:
            answer = await sender.send("slack", "1", BODY, signed=True)
    assert isinstance(answer, Failed)
    assert "signing-key can't be used: it holds something that is not base64" in answer.why
    assert "horse" not in answer.why
    assert receiver.received == []
