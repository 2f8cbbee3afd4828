"""`--config`: lists, files, and the registry of a link's configurations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.errors import UsageError
from kmirror.model.setting import SettingError
from kmirror.model.settings import SETTINGS, LinkSettings, settings_from
from kmirror.ops.config_text import parse_config
from kmirror.ops.link_create import link_configs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", {"a": "1"}),
        ("a=1,b=2", {"a": "1", "b": "2"}),
        ("a=1,2,3,b=4", {"a": "1,2,3", "b": "4"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=", {"a": ""}),
        ("a=1,a=2", {"a": "2"}),
        (r"a=x\ny\tz\r", {"a": "x\ny\tz\r"}),
        (" a =1", {"a": "1"}),
    ],
)
def test_a_comma_list(text, expected):
    assert parse_config([text]) == expected


@pytest.mark.parametrize("text", ["abc", "", "=1", "abc,a=1"])
def test_what_is_no_pair_is_named(text):
    with pytest.raises(UsageError) as e:
        parse_config([text])
    assert e.value.message.startswith('failed to parse "key=value" pattern from configuration:')


def test_a_file(tmp_path):
    path = tmp_path / "link.properties"
    path.write_text("# comment\n\n  a=1  \nb=2,\\\n3\nc=x=y\na=4\n")

    assert parse_config([str(path)]) == {"a": "4", "b": "2,3", "c": "x=y"}


def test_a_file_with_a_line_that_is_no_pair(tmp_path):
    path = tmp_path / "link.properties"
    path.write_text("a=1\nnonsense\n")
    with pytest.raises(UsageError, match="pattern from configuration: line 2 of"):
        parse_config([str(path)])


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "link.properties"
    path.write_bytes(b"a=\xff\xfe")
    with pytest.raises(UsageError, match="cannot read configuration file"):
        parse_config([str(path)])


def test_several_options_and_the_last_value_of_a_key():
    assert parse_config(["a=1,b=2", "a=3"]) == {"a": "3", "b": "2"}


WORD = st.text(st.characters(codec="ascii", exclude_characters="=,\\ \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f/\0"), min_size=1)


@given(st.dictionaries(WORD, WORD, min_size=1))
def test_any_list_of_pairs_is_read_back(pairs):
    assert parse_config([",".join(f"{k}={v}" for k, v in pairs.items())]) == pairs


def test_the_defaults():
    assert settings_from({}) == LinkSettings(
        67108864, 1048576, 8388608, 500, 30.0, 30.0, "auto", 5000000, 300.0, "", coalesce=True
    )


def test_every_default_is_one_that_may_be_given():
    settings_from({key: setting.default for key, setting in SETTINGS.items() if setting.default})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fetch.buffer.bytes", "1048575"),
        ("fetch.buffer.bytes", "64M"),
        ("fetch.buffer.bytes", "-1"),
        ("fetch.buffer.bytes", "٣"),
        ("replica.fetch.max.bytes", "0"),
        ("replica.fetch.max.bytes", "2147483648"),
        ("request.timeout.ms", "999"),
        ("gap.fill.mode", "none"),
        ("link.mode", "SOURCE"),
        ("connection.mode", "INBOUND"),
        ("security.protocol", "TLS"),
        ("destination.security.protocol", "sasl_ssl"),
        ("bootstrap.servers", "east"),
        ("destination.bootstrap.servers", "west:99999"),
    ],
)
def test_values_that_a_key_may_not_hold(key, value):
    with pytest.raises(SettingError, match=f'invalid value for configuration "{key}"'):
        settings_from({key: value})


@pytest.mark.parametrize(
    ("key", "words", "hint"),
    [
        ("fetch.bufer.bytes", "unknown configuration", "fetch.buffer.bytes"),
        ("nonsense", "unknown configuration", "gap.fill.mode"),
        ("sasl.kerberos.service.name", "is not supported by this version", "Remove"),
        ("ssl.truststore.password", "a store in PEM format has no password", "ssl.key.password"),
        ("destination.ssl.provider", "is not supported by this version", "Remove"),
    ],
)
def test_keys_that_do_not_exist(key, words, hint):
    with pytest.raises(SettingError, match=words) as e:
        settings_from({key: "hunter2"})
    assert f'"{key}"' in str(e.value)
    assert hint in e.value.hint
    assert "hunter2" not in str(e.value) + e.value.hint


def test_flags_win_over_the_configuration():
    configs = link_configs("e:1", None, ["bootstrap.servers=other:1,destination.bootstrap.servers=w:2"])

    assert configs == {"bootstrap.servers": "e:1", "destination.bootstrap.servers": "w:2", "link.mode": "DESTINATION"}
