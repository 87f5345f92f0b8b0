"""Dockerfile, docker-compose.yml and .env example are consistent and name existing modules, targets and settings."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from candela.cli.app import app
from core.settings import Settings
from worker import main

COMPOSE: dict[str, Any] = yaml.safe_load(Path("docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
INSTRUCTIONS = frozenset(
    {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK"}
    | {"LABEL", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)
GPU: dict[str, Any] = yaml.safe_load(Path("docker-compose.gpu.yml").read_text())
API_ONLY = {"host", "port", "api_keys", "allowed_hosts", "cors_origins", "trusted_proxies"}
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
    assert '-e ".[$EXTRAS]"' in commands[-1]
    arguments = dict(rest.split("=", 1) for name, rest in stages["build"] if name == "ARG" and "=" in rest)
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    for extra in arguments["EXTRAS"].strip('"').split(","):
        assert "candela-ml[server]" in project["optional-dependencies"][extra]
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


@pytest.mark.parametrize("name", BUILT_SERVICES)
def test_every_setting_is_passed_to_a_service(name: str) -> None:
    settings = set(Settings.model_fields) - (set() if name == "api" else API_ONLY)
    environment = SERVICES[name]["environment"]
    assert {f"CANDELA_{field.upper()}" for field in settings} <= set(environment)
    # An empty value is not "not set": the process would refuse it for a number.
    fields = Settings.model_fields
    empty = [key for key, value in environment.items() if value is not None and str(value).endswith(":-}")]
    assert not [key for key in empty if key.removeprefix("CANDELA_").lower() in fields]


def test_the_images_have_all_optional_packages_but_those_of_development() -> None:
    extras = set(tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"])
    dockerfile = re.search(r'^ARG EXTRAS="(.*)"$', Path("Dockerfile").read_text(), re.MULTILINE)
    assert dockerfile is not None
    for service in ("api", "worker"):
        default = SERVICES[service]["build"]["args"]["EXTRAS"]
        assert default == f"${{EXTRAS:-{dockerfile[1]}}}"
    assert set(dockerfile[1].split(",")) == extras - {"dev", "pandas", "server"}  # the others contain `server`


def test_the_number_of_threads_follows_from_the_slots() -> None:
    assert main.app.conf.worker_concurrency == main.settings.slots + main.EXTRA_THREADS


def test_every_long_running_service_has_a_health_check(stages: dict[str, list[tuple[str, str]]]) -> None:
    for name, service in SERVICES.items():
        own = service.get("healthcheck")
        image = any(line == "HEALTHCHECK" for line, _ in stages.get(service.get("build", {}).get("target", ""), []))
        assert (own is not None and "test" in own) or (own is None and image) or name == "migrate"
    module = SERVICES["maintenance"]["healthcheck"]["test"][-1]
    assert importlib.util.find_spec(module) is not None


def test_the_override_gives_the_api_a_gpu() -> None:
    assert set(GPU["services"]) == {"api"}
    (device,) = GPU["services"]["api"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert "CUDA_VISIBLE_DEVICES" not in SERVICES["api"]["environment"]


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="requires docker-compose")
@pytest.mark.parametrize("files", [["docker-compose.yml"], ["docker-compose.yml", "docker-compose.gpu.yml"]])
def test_compose_passes_on_the_settings_of_the_environment_file(files: list[str], tmp_path: Path) -> None:
    variables = dict.fromkeys(("POSTGRES_PASSWORD", "REDIS_PASSWORD", "CANDELA_API_KEYS"), "x") | {"CANDELA_SLOTS": "3"}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    for file in files:  # docker-compose 1 does not know `name`, and its files are otherwise those of Compose 2
        (tmp_path / file).write_text(re.sub(r"^name: .*$", "", Path(file).read_text(), flags=re.MULTILINE))
    options = [word for file in files for word in ("-f", str(tmp_path / file))]
    command = ["docker-compose", "--env-file", str(tmp_path / ".env"), *options, "config"]
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(done.stdout)["services"]
    assert str(config["worker"]["environment"]["CANDELA_SLOTS"]) == "3"
    assert config["worker"]["environment"].get("CANDELA_LEASE_S") is None  # not set in the container
    assert ("deploy" in config["api"]) == (len(files) > 1)


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
