"""Security properties: what they mean together, how secrets are referred to, and that none is ever shown."""

import ssl
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.cli.app import main
from kmirror.errors import UsageError
from kmirror.model.access import Access, access_of
from kmirror.model.secrets import HIDDEN, file_and_key, is_reference
from kmirror.model.security import KEYS, Protocol, Security, parse_jaas, parse_security
from kmirror.model.setting import SettingError
from kmirror.model.settings import SETTINGS, kept, literal_secrets, shown
from kmirror.ops.link_config import changed_configs
from kmirror.ops.link_create import link_configs
from kmirror.ops.reverse_link import reversed_configs
from kmirror.sandbox.authority import Authority
from kmirror.state.links import LinkStore
from kmirror.state.paths import home as home_of_user
from kmirror.wire.credentials import CredentialsMissing, pem_path, security_of
from kmirror.wire.tls import tls_context
from support.recorded import a_link, store

SERVERS = {"bootstrap.servers": "e:1", "destination.bootstrap.servers": "w:1"}
SASL = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u", "sasl.password": "p"}
PLAIN_JAAS = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="K" password="S";'
SECRET = "hunter2-and-more"


def access(**properties):
    return Access("e:1", tuple(sorted((k.replace("_", "."), v) for k, v in properties.items())))


# --- what properties mean


def test_nothing_is_plain():
    assert parse_security({}) == Security(Protocol.PLAINTEXT)
    assert access_of(SERVERS) == Access("e:1")


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"security.protocol": "SASL_SSL"}, '"sasl.mechanism" is not set'),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}, 'needs "sasl.username"'),
        ({**SASL, "sasl.password": ""}, 'needs "sasl.password"'),
        ({**SASL, "security.protocol": "SSL"}, '"sasl." configurations are given'),
        ({**SASL, "sasl.jaas.config": PLAIN_JAAS}, 'is not for the mechanism "SCRAM-SHA-512"'),
        ({**SASL, "sasl.jaas.config": "nonsense"}, 'is not `MODULE required name="value"'),
        ({**SASL, "sasl.jaas.config": PLAIN_JAAS.replace('"S"', '"S')}, "options that are not"),
        ({**SASL, "sasl.mechanism": "OAUTHBEARER"}, "token.endpoint.url"),
        ({"ssl.truststore.location": "/ca.pem"}, '"security.protocol" is PLAINTEXT'),
        ({**SASL, "ssl.ca.location": "/a", "ssl.truststore.location": "/b"}, "are both given"),
        ({**SASL, "ssl.keystore.key": "k"}, "go together, one is missing"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "destination."])
def test_what_does_not_go_together(properties, told, prefix):
    with pytest.raises(SettingError) as e:
        parse_security(properties, prefix)
    assert told.replace('"s', f'"{prefix}s') in str(e.value) or told in str(e.value)
    assert e.value.hint
    assert "K" not in str(e.value).replace("KEY", "")


def test_a_jaas_configuration_is_a_name_and_a_password():
    found = parse_security({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.jaas.config": PLAIN_JAAS})
    assert (found.username, found.password) == ("K", "S")


@given(st.dictionaries(st.from_regex(r"[a-zA-Z]{1,8}", fullmatch=True), st.text(max_size=20), max_size=5))
def test_every_jaas_option_is_read_as_it_was_written(options):
    escaped = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in options.items()}
    text = "a.b.XLoginModule required " + " ".join(f'{name}="{value}"' for name, value in escaped.items()) + ";"
    assert parse_jaas(text) == ("XLoginModule", options)


@given(st.text(max_size=60))
def test_any_text_is_a_jaas_configuration_or_a_value_error(text):
    try:
        parse_jaas(text)
    except ValueError as e:
        assert len(text) < 12 or text not in str(e)


# --- names


def test_names_of_both_worlds_are_one():
    given = {"source.security.protocol": "SSL", "local.security.protocol": "SSL", "destination.ssl.ca.location": "/ca"}
    assert kept(given) == {
        "security.protocol": "SSL",
        "destination.security.protocol": "SSL",
        "destination.ssl.ca.location": "/ca",
    }
    with pytest.raises(SettingError, match="given twice"):
        kept({"security.protocol": "SSL", "source.security.protocol": "SASL_SSL"})


def test_a_file_of_cluster_linking_moves_over(tmp_path):
    path = tmp_path / "link.properties"
    path.write_text(
        "bootstrap.servers=e:1\ndestination.bootstrap.servers=w:1\nlink.mode=DESTINATION\n"
        f"security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN_JAAS}\n"
        "local.security.protocol=SASL_SSL\nlocal.sasl.mechanism=PLAIN\nlocal.listener.name=SASL_SSL\n"
        f"local.sasl.jaas.config={PLAIN_JAAS}\n"
    )
    configs = link_configs(None, None, [str(path)])
    assert configs["destination.sasl.jaas.config"] == configs["sasl.jaas.config"] == PLAIN_JAAS


def test_sides_that_change_places_take_their_security_with_them():
    configs = {**SERVERS, **SASL, "destination.security.protocol": "SSL", "destination.ssl.ca.location": "/west.pem"}
    there = reversed_configs(configs)
    assert access_of(there) == access_of(configs, "destination.")
    assert access_of(there, "destination.") == access_of(configs)
    assert reversed_configs(there) == configs


# --- references


@pytest.mark.parametrize(
    ("value", "told"),
    [("${env:}", "empty reference"), ("${file:secret}", "not absolute"), ("ca.pem", "not an absolute path")],
)
def test_references_that_lead_nowhere(value, told):
    key = "ssl.ca.location" if value == "ca.pem" else "sasl.password"
    with pytest.raises(UsageError, match=told):
        changed_configs({**SERVERS, **SASL}, {key: value})


def test_references_are_resolved_each_time(tmp_path, monkeypatch):
    file = tmp_path / "secret"
    file.write_text("one\n")
    way = Access("e:1", tuple({**SASL, "sasl.username": "${env:WHO}", "sasl.password": f"${{file:{file}}}"}.items()))
    monkeypatch.setenv("WHO", "me")
    assert (security_of(way).username, security_of(way).password) == ("me", "one")
    file.write_text("two")
    assert security_of(way).password == "two"
    properties = tmp_path / "all.properties"
    properties.write_text("# other=x\nother = y\nmine= three\n")
    way = Access("e:1", tuple({**SASL, "sasl.password": f"${{file:{properties}:mine}}"}.items()))
    assert security_of(way).password == "three"


def test_a_jaas_configuration_may_be_one_reference(monkeypatch):
    properties = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.jaas.config": "${env:JAAS}"}
    link_configs("e:1", "w:1", [",".join(f"{k}={v}" for k, v in properties.items())])
    monkeypatch.setenv("JAAS", PLAIN_JAAS)
    assert security_of(Access("e:1", tuple(properties.items()))).password == "S"


@pytest.mark.parametrize("value", ["${env:NOBODY}", "${file:/nowhere}", "${file:/etc/hostname:no.such}"])
def test_a_secret_that_can_not_be_read_is_named(value):
    with pytest.raises(CredentialsMissing) as e:
        security_of(Access("e:1", tuple({**SASL, "sasl.password": value}.items())))
    assert any(name in e.value.message for name in ("NOBODY", "/nowhere", "no.such"))
    assert e.value.hint


def test_paths_and_keys_of_files():
    assert file_and_key("/a/b") == ("/a/b", "")
    assert file_and_key("/a/b:c.d") == ("/a/b", "c.d")
    assert file_and_key("/a:b/c") == ("/a:b/c", "")
    assert is_reference("${file:/a}")
    assert not is_reference("x${file:/a}")


# --- certificates


def test_a_context_is_made_anew_only_when_certificates_change(tmp_path):
    authority = Authority("one")
    files = {"ca": tmp_path / "ca.pem", "store": tmp_path / "store.pem"}
    files["ca"].write_text(authority.certificate)
    files["store"].write_text(authority.certify("me").store)
    way = access(security_protocol="SSL", ssl_ca_location=str(files["ca"]), ssl_keystore_location=str(files["store"]))
    first = tls_context(security_of(way))
    assert tls_context(security_of(way)) is first
    files["store"].write_text(authority.certify("me").store)
    assert tls_context(security_of(way)) is not first
    assert first.minimum_version is ssl.TLSVersion.TLSv1_2
    assert first.check_hostname
    assert first.verify_mode is ssl.CERT_REQUIRED


def test_a_key_may_have_a_password(tmp_path):
    authority = Authority("one")
    certified = authority.certify("me", password=SECRET)
    security = Security(Protocol.SSL, authorities=authority.certificate, chain=certified.certificate, key=certified.key)
    tls_context(replace(security, key_password=SECRET))
    for wrong in (security, replace(security, key_password="other"), replace(security, key=authority.certify("x").key)):
        with pytest.raises(CredentialsMissing) as e:
            tls_context(wrong)
        assert SECRET not in "".join(traceback.format_exception(e.value))


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
def test_a_truststore_without_certificates(content):
    with pytest.raises(CredentialsMissing):
        tls_context(Security(Protocol.SSL, authorities=content or " "))


def test_nothing_of_a_key_is_left_on_the_disk():
    with pem_path("text") as path:
        assert Path(path).read_text() == "text"
    assert not Path(path).exists() or "memfd" not in str(Path(path).readlink())


# --- nothing is shown


def test_what_is_sensitive_is_hidden_unless_it_is_a_reference():
    for key in (*KEYS, *(f"destination.{key}" for key in KEYS)):
        hidden = any(word in key for word in ("password", "jaas", "secret", "keystore.key"))
        assert SETTINGS[key].sensitive is hidden
        assert shown(key, SECRET) == (HIDDEN if hidden else SECRET)
        assert shown(key, "${env:X}") == "${env:X}"
    assert shown("sasl.jaas.config", PLAIN_JAAS.replace('"S"', '"${env:X}"')) == HIDDEN
    assert literal_secrets({**SASL, "ssl.key.password": "${env:X}"}) == ["sasl.password"]


def test_secrets_are_not_in_reprs_and_tracebacks():
    security = Security(Protocol.SASL_SSL, "PLAIN", "u", SECRET, client_secret=SECRET, key=SECRET, key_password=SECRET)
    way = access(sasl_password=SECRET)
    assert SECRET not in repr(security) + repr(way) + str(way)


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KMIRROR_HOME", str(tmp_path / "home"))
    configs = {**a_link().configs, **SASL, "sasl.password": SECRET, "destination.security.protocol": "SASL_SSL"}
    configs |= {"destination.sasl.mechanism": "PLAIN", "destination.sasl.jaas.config": PLAIN_JAAS.replace("S", SECRET)}
    store(home_of_user(), replace(a_link("east-west"), configs=configs))

    def run(*words, code=0):
        try:
            ended = main(list(words))
        except SystemExit as e:
            ended = e.code or 0
        out = capsys.readouterr()
        assert ended == code, out
        assert SECRET not in out.out + out.err
        return out

    return run


@pytest.mark.parametrize("form", ["human", "json", "yaml"])
def test_no_verb_shows_a_secret(said, form):
    assert HIDDEN in said("link", "configuration", "list", "east-west", "-o", form).out
    change = ("link", "configuration", "update", "east-west", "--no-validate", "-o", form, "--config")
    assert HIDDEN in said(*change, f"sasl.password={SECRET}-new").out
    said(*change, f"sasl.password={SECRET},no.such=1", code=2)
    said(*change, f"sasl.password=${{file:{SECRET}}}".replace(SECRET, "x"), code=2)
    said("link", "describe", "east-west", "-o", form)
    said("link", "list", "-o", form)


def test_an_export_shows_no_secret_and_is_no_change(said, tmp_path):
    link = LinkStore(home_of_user()).get("east-west")
    text = said("export").out
    assert f'"sasl.password" = "{HIDDEN}"' in text
    (tmp_path / "fleet.toml").write_text(text)
    LinkStore(home_of_user()).change(lambda links: links.clear())
    refused = said("apply", str(tmp_path / "fleet.toml"), code=1)
    assert "its secret is hidden in the file" in refused.err
    store(home_of_user(), link)
    said("apply", str(tmp_path / "fleet.toml"))
    assert LinkStore(home_of_user()).get("east-west") == link


def test_a_literal_secret_is_warned_of(said):
    told = said("link", "configuration", "update", "east-west", "--no-validate", "--config", "sasl.password=literal")
    assert "sasl.password" in told.err
    assert "${env:NAME}" in told.err
    assert "literal" not in told.err + told.out


def test_hidden_is_not_a_secret(said):
    told = said(
        "link", "configuration", "update", "east-west", "--no-validate", "--config", f"sasl.password={HIDDEN}", code=2
    )
    assert HIDDEN in told.err


def test_a_line_that_is_no_property_is_not_shown(tmp_path, said):
    path = tmp_path / "link.properties"
    path.write_text(f"security.protocol=SSL\nssl.keystore.key=-----BEGIN\n{SECRET}\n")
    told = said("link", "create", "x", "--config", str(path), code=2)
    assert "line 3" in told.err
