"""Links to secured clusters: properties files as a user would write them, secrets in files of their own."""

from pathlib import Path
from typing import Final, Self

from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.groups import GroupAdmin
from kmirror.model.access import Access
from kmirror.model.group_offsets import Committed
from kmirror.sandbox.secured import SecuredCluster, User
from kmirror.sandbox.token_endpoint import TokenEndpoint
from support.mirrors import QUICK, TestLink, admin

SCRAM: Final = "SCRAM-SHA-512"


def properties(
    cluster: SecuredCluster, folder: Path, *, listener: str = "SASL_SSL", mechanism: str = SCRAM, user: str = "mirror"
) -> dict[str, str]:
    """To reach `cluster` at this listener as this user. Secrets are in files in `folder`, and referred to."""
    folder.mkdir(parents=True, exist_ok=True)
    protocol = {"MTLS": "SSL"}.get(listener, listener)
    servers = cluster.bootstrap_servers if listener == "PLAINTEXT" else cluster.servers(listener)
    found = {"bootstrap.servers": servers, "security.protocol": protocol}
    if protocol.endswith("SSL"):
        found["ssl.truststore.location"] = str(cluster.directory / "ca.pem")
    if listener == "MTLS":
        store = folder / f"{cluster.name}-{user}.pem"
        store.write_text(cluster.authority.certify(user).store)
        found["ssl.keystore.location"] = str(store)
    if protocol.startswith("SASL"):
        secret = folder / f"{cluster.name}-{user}.password"
        secret.write_text(cluster.users[user].password + "\n")
        found |= {
            "sasl.mechanism": mechanism,
            "sasl.username": user,
            "sasl.password": f"${{file:{secret}}}",
        }
    return found


def access(found: dict[str, str]) -> Access:
    """What `properties` gave, for who connects without a link."""
    return Access(
        found["bootstrap.servers"], tuple(sorted((k, v) for k, v in found.items() if k != "bootstrap.servers"))
    )


def write_properties(path: Path, source: dict[str, str], destination: dict[str, str], **more: str) -> Path:
    """A file for `link create --config`."""
    lines = [f"source.{key}={value}" for key, value in source.items()]
    lines += [f"destination.{key}={value}" for key, value in destination.items()]
    lines += [f"{key.replace('_', '.')}={value}" for key, value in more.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def by_token(cluster: SecuredCluster, folder: Path, endpoint: TokenEndpoint, user: str = "admin") -> dict[str, str]:
    found = properties(cluster, folder, user=user, mechanism="OAUTHBEARER")
    secret = folder / f"{user}.client-secret"
    secret.write_text(endpoint.clients[user])
    credentials = "sasl.oauthbearer.client.credentials.client"
    return {key: value for key, value in found.items() if key not in {"sasl.username", "sasl.password"}} | {
        "sasl.oauthbearer.token.endpoint.url": endpoint.url,
        f"{credentials}.id": user,
        f"{credentials}.secret": f"${{file:{secret}}}",
    }


def change_password(cluster: SecuredCluster, user: str, folder: Path) -> None:
    """At the brokers, for SCRAM-SHA-512, and then in the file to which `properties` refers."""
    changed = User(user, "another password")
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    upsertion = UserScramCredentialUpsertion(user, info, changed.password.encode())
    client = admin(cluster)
    client.alter_user_scram_credentials([upsertion])[user].result(20)
    (folder / f"{cluster.name}-{user}.password").write_text(changed.password)
    cluster.users[user] = changed


def commit_group(cluster: SecuredCluster, group: str, topic: str, offset: int) -> None:
    """As a group without members, for partition 0."""
    groups = GroupAdmin(ClusterAdmin(Access(cluster.bootstrap_servers), "source"))
    assert groups.commit({group: {(topic, 0): Committed(offset)}}).refused == {}


class SecuredLink(TestLink):
    """A link whose both sides are secured; what the tests look with goes by the clusters' plain listeners."""

    __test__ = False

    def whole_log(self) -> str:
        return (self.kmirror.runtime(self.name) / "kmirror.log").read_text()

    def create_by(self, folder: Path, source: dict[str, str], destination: dict[str, str], *configs: str) -> Self:
        config = write_properties(folder / f"{self.name}.properties", source, destination)
        self.kmirror.run("link", "create", self.name, "--config", str(config), "--config", ",".join([QUICK, *configs]))
        return self
