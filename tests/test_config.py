"""The configuration: what is refused, and in which words."""

from pathlib import Path

import pytest
import yaml

from dicom_node.config import Config, ConfigurationError, load_config

pytestmark = pytest.mark.embedded

REPOSITORY = Path(__file__).parents[1]


def _load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "node.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_the_annotated_file_states_the_defaults() -> None:
    assert load_config(REPOSITORY / "config" / "node.yaml") == Config()


def test_every_key_is_in_the_annotated_file() -> None:
    written = yaml.safe_load((REPOSITORY / "config" / "node.yaml").read_text(encoding="utf-8"))

    for section, values in Config().model_dump(mode="json").items():
        if isinstance(values, dict):
            assert written[section].keys() == values.keys(), section


def test_an_unknown_key_is_refused_with_the_keys_allowed_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"receive\.prot: unknown key; allowed here: .*port") as caught:
        _load(tmp_path, "receive: {prot: 104}")

    assert "node.yaml" in str(caught.value)


def test_an_unknown_key_of_a_peer_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"peers\.0\.sned: unknown key; allowed here: ae_title"):
        _load(tmp_path, "peers: [{name: a, ae_title: A, host: h, port: 104, sned: true}]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("receive: {port: 99999}", "receive.port"),
        ("node: {ae_title: seventeen_letters}", "1 to 16 printable"),
        ("receive: {senders: listed}", "nobody could send"),
        ("deliver: {first_retry_seconds: 10, maximum_retry_seconds: 5}", "must not be below"),
        ("- a list", "must hold sections"),
        ("node: [", "not valid YAML"),
        ("peers: [{name: a, ae_title: A, host: h, port: 1}, {name: a, ae_title: B, host: h, port: 2}]", "repeated: a"),
    ],
)
def test_a_wrong_value_is_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, text)

    assert message in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_config(tmp_path / "absent.yaml")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOM_NODE_RECEIVE__PORT", "104")

    config = _load(tmp_path, "receive: {port: 11113, maximum_associations: 7}")

    assert config.receive.port == 104
    assert config.receive.maximum_associations == 7


def test_destinations_are_the_peers_that_receive_results(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        """
peers:
  - {name: ct, ae_title: CT, host: h, port: 104, sends: true}
  - {name: pacs, ae_title: PACS, host: h, port: 104, receives_results: true}
""",
    )

    assert [peer.name for peer in config.destinations] == ["pacs"]


def test_the_database_password_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss/word\n", encoding="utf-8")

    config = _load(
        tmp_path,
        f"node: {{database_url: postgresql+psycopg://node@db/node, database_password_file: {tmp_path / 'password'}}}",
    )

    assert config.database_url == "postgresql+psycopg://node:p%40ss%2Fword@db/node" == config.workflow_database_url


def test_a_password_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="database_password_file /nowhere cannot be read"):
        _load(tmp_path, "node: {database_password_file: /nowhere}")
