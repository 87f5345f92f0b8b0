"""Dockerfile, docker-compose.yml and .env example are consistent and name existing modules, targets and settings."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from candela.cli.app import app
from core.settings import Settings

COMPOSE: dict[str, Any] = yaml.safe_load(Path("docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
INSTRUCTIONS = frozenset(
    {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK"}
    | {"LABEL", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)
BUILT_SERVICES = sorted(name for name, service in SERVICES.items() if "build" in service)


@pytest.fixture
def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, rest) pairs with continuation lines joined."""
    text = "\n".join(line for line in Path("Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#"))
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


@pytest.fixture
def stages(instructions: list[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """The instructions of each named stage."""
    stages: dict[str, list[tuple[str, str]]] = {}
    for name, rest in instructions:
        if name == "FROM":
            stages[rest.split()[-1]] = []
        if stages:
            list(stages.values())[-1].append((name, rest))
    return stages


def test_instructions_are_valid(instructions: list[tuple[str, str]]) -> None:
    assert {name for name, _ in instructions} <= INSTRUCTIONS
    for name, rest in instructions:
        if name in {"CMD", "ENTRYPOINT"} or (name == "HEALTHCHECK" and "CMD" in rest):
            arguments = yaml.safe_load(rest[rest.index("[") :])
            assert all(isinstance(word, str) for word in arguments)


def test_stages_use_earlier_stages(stages: dict[str, list[tuple[str, str]]]) -> None:
    existing: list[str] = []
    for stage, lines in stages.items():
        base = lines[0][1].split()[0]
        assert base in existing or base.startswith("python:")
        for name, rest in lines:
            if name == "COPY" and (source := re.search(r"--from=(\S+)", rest)):
                assert source[1] in existing
        existing.append(stage)
    assert {"api", "worker"} <= set(existing)


def test_the_images_do_not_run_as_root(stages: dict[str, list[tuple[str, str]]]) -> None:
    users = [rest for name, rest in stages["runtime"] if name == "USER"]
    assert users == ["candela"]
    assert not any(name == "USER" for stage in ("api", "worker") for name, _ in stages[stage])


def test_copied_files_exist_and_are_not_ignored(instructions: list[tuple[str, str]]) -> None:
    allowed = {line[1:] for line in Path(".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name, rest in instructions:
        if name == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert Path(source).exists()
                assert source in allowed


def test_every_package_is_in_the_image(instructions: list[tuple[str, str]]) -> None:
    copied = {rest.split()[0] for name, rest in instructions if name == "COPY"}
    packages = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    assert {*packages, "migrations"} <= copied


def test_the_image_has_an_editable_installation_of_the_service(stages: dict[str, list[tuple[str, str]]]) -> None:
    """A wheel contains the client only. The source is at the same path in the stage that builds and in the images."""
    commands = [rest for name, rest in stages["build"] if name == "RUN"]
    extras = re.search(r"-e '\.\[(\w+)\]'", commands[-1])
    assert extras is not None
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert "candela-ml[server]" in project["optional-dependencies"][extras[1]]
    (folder,) = [rest for name, rest in stages["build"] if name == "WORKDIR"]
    assert ("COPY", f"--from=build {folder} {folder}") in stages["runtime"]


def test_services_of_production() -> None:
    assert set(SERVICES) == {"database", "queue", "migrate", "api", "worker", "worker-gpu", "maintenance"}
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    device = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_the_queue_loses_no_messages() -> None:
    arguments = shlex.split(SERVICES["queue"]["command"])
    assert arguments[arguments.index("--appendonly") + 1] == "yes"
    assert arguments[arguments.index("--maxmemory-policy") + 1] == "noeviction"


def test_volumes_and_dependencies_are_declared() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        for name, condition in service.get("depends_on", {}).items():
            assert name in SERVICES
            if condition["condition"] == "service_healthy":
                assert "test" in SERVICES[name]["healthcheck"]


@pytest.mark.parametrize("name", BUILT_SERVICES)
def test_a_built_service_has_a_target_and_only_existing_settings(name: str, stages: dict[str, Any]) -> None:
    service = SERVICES[name]
    assert service["build"]["target"] in stages
    existing = {f"CANDELA_{field.upper()}" for field in Settings.model_fields}
    assert {key for key in service["environment"] if key.startswith("CANDELA_")} <= existing
    assert service["environment"]["CANDELA_DATABASE_URL"].startswith("postgresql+psycopg://")


def test_commands_are_existing_commands_of_candela(instructions: list[tuple[str, str]]) -> None:
    commands = [
        shlex.split(rest.replace("[", " ").replace("]", " ").replace(",", " "))
        for n, rest in instructions
        if n == "CMD"
    ]
    commands += [service["command"] for service in SERVICES.values() if isinstance(service.get("command"), list)]
    parser: Any = typer.main.get_command(app)
    names = []
    for words in commands:
        if words[0] == "candela":
            command = parser.commands[words[1]]
            command.make_context(words[1], list(words[2:]))  # fails if an option does not exist
            names.append(words[1])
    assert {"serve", "worker", "migrate", "maintenance"} == set(names)


def test_secrets_have_no_default() -> None:
    for path in ("docker-compose.yml", "Dockerfile"):
        for line in Path(path).read_text().splitlines():
            if re.search(r"(PASSWORD|API_KEYS|REDISCLI_AUTH):", line):
                assert ":?set it in .env}" in line


def test_the_example_environment_has_every_required_variable() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", Path("docker-compose.yml").read_text()))
    variables = dict(
        line.split("=", 1)
        for line in Path("docs/how-to/production.env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    assert required <= set(variables)
    assert all("change-me" in variables[name] for name in required)
