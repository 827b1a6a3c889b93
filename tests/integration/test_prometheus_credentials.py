"""A real Prometheus behind TLS, basic authentication and client certificates: let in, kept out, and let in again.

Prometheus reads its web configuration and its certificates anew by itself, so both sides rotate while they run.
"""

import asyncio
import time
from pathlib import Path

import pytest

from e2e.cluster.pki import Authority, make_authority
from serinus.core.readings import Gauge, Grid, Missing, MissingReason, Reading
from serinus.metrics.credentials import CredentialFiles
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.source import QueryValue, ReadingRequest
from tests.integration.prometheus_process import PATIENCE_SECONDS, Prometheus

HASHES = {  # bcrypt, as web.yml wants it
    "first-password": "$2b$04$FVjTVzXCK0hShPgJp5SfHeYH2T6Y5c0csdLPHvxL0feiSxkRTc8GC",
    "second-password": "$2b$04$t8CxeD64dVz.oh2zYLTjOeUbzNiuFJRNoob.fzZYHBxbwaj.QhNMu",
}
ONE = QueryValue("vector(1) or max(up{%pods%})")


def authority(folder: Path) -> Authority:
    made = make_authority(folder)
    made.sign("server", "/CN=prometheus", "IP:127.0.0.1")
    made.sign("client", "/CN=serinus")
    return made


def place(source: Path, target: Path) -> None:
    """Put a file in the place of another at one stroke, as the kubelet does."""
    fresh = target.with_suffix(".new")
    fresh.write_bytes(source.read_bytes())
    fresh.replace(target)


def write(target: Path, text: str) -> None:
    fresh = target.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(target)


class Site:
    """A Prometheus that lets in who has the password and a certificate, and an operator's files beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.web, self.files = folder / "web", folder / "files"
        self.web.mkdir()
        self.files.mkdir()
        self.authority = authority(folder / "authority")
        self.serve(self.authority)
        self.prometheus = Prometheus(folder / "prometheus", "{}", self.web_config("first-password"))
        self.credentials = CredentialFiles(
            username=self.files / "username",
            password=self.files / "password",
            ca=self.files / "ca.crt",
            certificate=self.files / "tls.crt",
            key=self.files / "tls.key",
        )
        write(self.files / "username", "serinus")
        write(self.files / "password", "first-password\n")
        self.mount(self.authority)

    def web_config(self, password: str) -> str:
        return (
            f"tls_server_config: {{cert_file: {self.web}/tls.crt, key_file: {self.web}/tls.key, "
            f"client_auth_type: RequireAndVerifyClientCert, client_ca_file: {self.web}/ca.crt}}\n"
            f"basic_auth_users: {{serinus: '{HASHES[password]}'}}\n"
        )

    def serve(self, authority: Authority) -> None:
        """What Prometheus presents, and whose clients it trusts."""
        self._take(authority, "server", self.web)

    def mount(self, authority: Authority) -> None:
        """What the operator presents, and whom it trusts."""
        self._take(authority, "client", self.files)

    def expect(self, password: str) -> None:
        write(self.prometheus.directory / "web.yml", self.web_config(password))

    @staticmethod
    def _take(authority: Authority, name: str, folder: Path) -> None:
        place(authority.certificate, folder / "ca.crt")
        place(authority.folder / f"{name}.crt", folder / "tls.crt")
        place(authority.folder / f"{name}.key", folder / "tls.key")


@pytest.fixture
def site(tmp_path: Path):
    site = Site(tmp_path)
    yield site
    site.prometheus.kill()


async def ask(source: PrometheusSource) -> Reading:
    now = float(int(time.time()))
    return await source.read(ReadingRequest(ONE, "prod", "m-1", Grid(now, 1.0), time.time()))


async def until(source: PrometheusSource, kind: type[Gauge] | type[Missing]) -> Reading:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not isinstance(reading := await ask(source), kind):
        assert time.monotonic() < deadline, f"the last reading was {reading}"
        await asyncio.sleep(0.1)
    return reading


async def test_password_certificates_and_authority_are_rotated_while_the_operator_runs(site: Site) -> None:
    source = PrometheusSource(site.prometheus.url, credentials=site.credentials, timeout_seconds=20)
    reading = await ask(source)
    assert isinstance(reading, Gauge)
    assert [sample.value for sample in reading.samples][-1] == 1.0

    site.expect("second-password")
    refused = await until(source, Missing)
    assert refused.reason is MissingReason.SOURCE_UNAVAILABLE
    assert "HTTP 401" in refused.detail
    assert "-password" not in refused.detail
    write(site.files / "password", "second-password")
    assert isinstance(await ask(source), Gauge)

    # Connections that are open stay so on both sides: only a new one shows that the old authority is no longer good.
    another = authority(site.folder / "another")
    site.mount(another)
    refused = await ask(source)
    assert isinstance(refused, Missing)
    assert "certificate" in refused.detail.lower()
    assert "prometheus.tls.ca" in refused.detail
    site.serve(another)
    assert isinstance(await until(source, Gauge), Gauge)
    await source.close()


async def test_who_lacks_any_of_it_is_kept_out_and_told_why(site: Site) -> None:
    files = site.credentials
    stranger = authority(site.folder / "stranger").folder
    write(site.files / "wrong", "wrong")
    basic = {"username": files.username, "password": files.password}
    mutual = {"certificate": files.certificate, "key": files.key}
    refusals = {
        "HTTP 401": [{"ca": files.ca, **mutual}, {"ca": files.ca, **mutual, **basic, "password": site.files / "wrong"}],
        "certificate": [
            {**mutual, **basic},
            {"ca": stranger / "ca.crt", **mutual, **basic},
            {"ca": files.ca, **basic},
            {"ca": files.ca, **basic, "certificate": stranger / "client.crt", "key": stranger / "client.key"},
        ],
        "key": [{"ca": files.ca, **basic, "certificate": files.certificate, "key": stranger / "client.key"}],
        "can't be used": [{"ca": site.files / "nothing", **mutual, **basic}],
    }
    for said, several in refusals.items():
        for each in several:
            source = PrometheusSource(site.prometheus.url, credentials=CredentialFiles(**each), timeout_seconds=20)
            reading = await ask(source)
            await source.close()
            assert isinstance(reading, Missing), each
            assert reading.reason is MissingReason.SOURCE_UNAVAILABLE
            assert said.lower() in reading.detail.lower(), (each, reading.detail)
            assert "password" not in reading.detail.replace(str(site.folder), "")


async def test_a_host_that_the_certificate_does_not_name_is_not_asked(site: Site) -> None:
    url = site.prometheus.url.replace("127.0.0.1", "localhost")
    source = PrometheusSource(url, credentials=site.credentials, timeout_seconds=20)
    reading = await ask(source)
    await source.close()
    assert isinstance(reading, Missing)
    assert "hostname" in reading.detail.lower() or "certificate" in reading.detail.lower()
