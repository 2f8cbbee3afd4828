"""Properties files for the clients of a secured cluster: as Kafka's own tools read them, and kmirror too."""

from pathlib import Path

from kmirror.sandbox.secured import SUPER_USER, SecuredCluster, User, write_private

_LISTENER = "SASL_SSL"
_MECHANISM = "SCRAM-SHA-512"


def write_client_files(cluster: SecuredCluster, folder: Path) -> list[Path]:
    """One for each user, `CLUSTER-USER.properties`; readable by their owner alone."""
    files = []
    for user in cluster.users.values():
        path = folder / f"{cluster.name}-{user.name}.properties"
        write_private(path, _lines(client_properties(cluster, user)))
        files.append(path)
    return files


def client_properties(cluster: SecuredCluster, user: User) -> dict[str, str]:
    jaas = f'org.apache.kafka.common.security.scram.ScramLoginModule required username="{user.name}"'
    return {
        "bootstrap.servers": cluster.servers(_LISTENER),
        "security.protocol": _LISTENER,
        "sasl.mechanism": _MECHANISM,
        "sasl.jaas.config": f'{jaas} password="{user.password}";',
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(cluster.directory / "ca.pem"),
    }


def write_link_file(source: SecuredCluster, destination: SecuredCluster, folder: Path) -> Path:
    """For `kmirror link create --config`: both sides as super user, whose secrets are in the files above."""
    lines = ""
    for side, cluster in (("source", source), ("destination", destination)):
        properties = client_properties(cluster, cluster.users[SUPER_USER])
        file = folder / f"{cluster.name}-{SUPER_USER}.properties"
        properties["sasl.jaas.config"] = f"${{file:{file}:sasl.jaas.config}}"
        lines += _lines({f"{side}.{key}": value for key, value in properties.items()})
    path = folder / "link.properties"
    write_private(path, lines)
    return path


def _lines(properties: dict[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in properties.items())
