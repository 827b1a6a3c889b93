"""As whom the client speaks: tokens that rotate, kubeconfigs, and nobody's token to a stranger."""

import base64
import ssl
import subprocess
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from serinus.kube.credentials import (
    Credentials,
    CredentialsError,
    TokenFile,
    context_namespace,
    find_credentials,
    from_kubeconfig,
    in_cluster,
    open_session,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authority")
    subprocess.run(
        (
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -keyout {folder}/key.pem "
            f"-out {folder}/ca.crt"
        ).split(),
        check=True,
        capture_output=True,
    )
    return folder


class Server:
    """A server that takes one token and remembers which were sent."""

    def __init__(self) -> None:
        self.accepted: str | None = None
        self.sent: list[str | None] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.sent.append(request.headers.get("Authorization"))
        known = self.accepted is None or self.sent[-1] == self.accepted
        return web.json_response({}, status=200 if known else 401)


@pytest.fixture
async def server():
    server = Server()
    application = web.Application()
    application.router.add_get("/", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"  # type: ignore[attr-defined]
    yield server
    await runner.cleanup()


async def test_a_rotated_token_is_used_within_half_a_minute(tmp_path: Path):
    now = 0.0
    token = tmp_path / "token"
    token.write_text("first\n")
    source = TokenFile(token, clock=lambda: now)

    assert await source.header() == "Bearer first"
    token.write_text("second")
    now = 31.0
    assert await source.header() == "Bearer second"


async def test_a_refused_token_is_read_again_and_the_request_repeated(tmp_path: Path, server: Server):
    token = tmp_path / "token"
    token.write_text("old")
    credentials = Credentials(server.url, authorization=TokenFile(token))
    async with open_session(credentials) as session:
        assert (await session.get(server.url)).status == 200
        token.write_text("new")
        server.accepted = "Bearer new"

        assert (await session.get(server.url)).status == 200
    assert server.sent == ["Bearer old", "Bearer old", "Bearer new"]


async def test_a_token_that_stays_refused_is_sent_once(tmp_path: Path, server: Server):
    token = tmp_path / "token"
    token.write_text("wrong")
    server.accepted = "Bearer right"
    async with open_session(Credentials(server.url, authorization=TokenFile(token))) as session:
        assert (await session.get(server.url)).status == 401
    assert server.sent == ["Bearer wrong"]


async def test_no_other_server_gets_the_token(tmp_path: Path, server: Server):
    token = tmp_path / "token"
    token.write_text("secret")
    async with open_session(Credentials("https://kubernetes.example", authorization=TokenFile(token))) as session:
        await session.get(server.url)
    assert server.sent == [None]


async def test_an_empty_or_missing_token_file_is_named(tmp_path: Path):
    with pytest.raises(CredentialsError, match=r"absent.*automountServiceAccountToken"):
        await TokenFile(tmp_path / "absent").header()
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(CredentialsError, match="empty"):
        await TokenFile(tmp_path / "empty").header()


def test_outside_a_pod_there_is_no_service_account():
    assert in_cluster({}) is None


async def test_a_pod_speaks_as_its_service_account(authority: Path, tmp_path: Path):
    (tmp_path / "ca.crt").write_bytes((authority / "ca.crt").read_bytes())
    (tmp_path / "token").write_text("pod")
    found = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path)

    assert found is not None
    assert found.server == "https://[fd00::1]:443"
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_REQUIRED
    assert found.authorization is not None
    assert await found.authorization.header() == "Bearer pod"


def test_a_pod_without_a_mounted_service_account_is_told_so(tmp_path: Path):
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(CredentialsError, match="automountServiceAccountToken"):
        in_cluster(environment, tmp_path)


def kubeconfig(path: Path, user: dict[str, str], cluster: dict[str, object]) -> Path:
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": "https://kube.example:6443/", **cluster}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return path


async def test_a_kubeconfig_with_a_token_is_read(authority: Path, tmp_path: Path):
    data = base64.b64encode((authority / "ca.crt").read_bytes()).decode()
    found = from_kubeconfig(kubeconfig(tmp_path / "k", {"token": "t"}, {"certificate-authority-data": data}))

    assert found.server == "https://kube.example:6443"
    assert found.tls is not None
    assert len(found.tls.get_ca_certs()) == 1
    assert found.authorization is not None
    assert await found.authorization.header() == "Bearer t"


def test_a_kubeconfig_with_a_client_certificate_needs_no_token(authority: Path, tmp_path: Path):
    user = {"client-certificate": str(authority / "ca.crt"), "client-key": str(authority / "key.pem")}
    cluster: dict[str, object] = {"insecure-skip-tls-verify": True, "tls-server-name": "inner.example"}
    found = from_kubeconfig(kubeconfig(tmp_path / "k", user, cluster))

    assert found.authorization is None
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_NONE
    assert found.tls_server_name == "inner.example"


def test_a_missing_kubeconfig_or_context_is_named(authority: Path, tmp_path: Path):
    with pytest.raises(CredentialsError, match="nowhere"):
        find_credentials(tmp_path / "nowhere")
    path = kubeconfig(tmp_path / "k", {"token": "t"}, {"certificate-authority": str(authority / "ca.crt")})
    with pytest.raises(CredentialsError, match="context other"):
        from_kubeconfig(path, "other")


def test_the_namespace_is_the_one_that_the_context_names(authority: Path, tmp_path: Path):
    path = kubeconfig(tmp_path / "config", {"token": "t"}, {})
    assert context_namespace(path) == "default"
    text = yaml.safe_load(path.read_text())
    text["contexts"][0]["context"]["namespace"] = "team-a"
    path.write_text(yaml.safe_dump(text))
    assert context_namespace(path) == "team-a"
    with pytest.raises(CredentialsError, match="contexts of the kubeconfig"):
        context_namespace(tmp_path / "none")
