"""The files in examples/vllm fit together, and the commands in them are commands of edgefc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from edgefc.cli.app import app
from edgefc.models.cards import cards

FOLDER = Path(__file__).parents[1] / "examples" / "vllm"
KUBERNETES = FOLDER / "kubernetes"


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8")))


def kubernetes() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the resources that the kustomization lists, by kind and name."""
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert sorted(listed) == sorted(
        path.name for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml"
    )
    found = [one for name in listed for one in yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def pod(name: str) -> dict[str, Any]:
    return dict(kubernetes()["Deployment", name]["spec"]["template"]["spec"])


def commands() -> dict[str, tuple[list[str], list[str], list[str]]]:
    """Return the arguments of edgefc's two commands, and of vLLM, in each of the two ways to run them."""
    services = compose()["services"]
    front = pod("edgefc")
    return {
        "compose": tuple(services[name]["command"] for name in ("tokenizer", "edgefc", "vllm")),
        "kubernetes": (
            front["initContainers"][0]["args"], front["containers"][0]["args"], pod("vllm")["containers"][0]["args"],
        ),
    }  # type: ignore[dict-item]  # fmt: skip


def parsed(arguments: list[str]) -> dict[str, Any]:
    name, *rest = arguments
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    with command.make_context(name, rest) as context:
        return dict(context.params)


@pytest.mark.parametrize("way", ["compose", "kubernetes"])
def test_the_commands_parse_and_name_one_model(way: str) -> None:
    pull, serve, vllm = commands()[way]
    pulled, served = parsed(pull), parsed(serve)
    assert served["model"] == [str(pulled["tokenizer"])]
    kind, _, url = served["engine"].partition("=")
    assert (kind, url) == ("vllm", "http://vllm:8000")
    repo = cards()[pulled["name"]].tokenizer_repo
    assert vllm[0] == repo, "the image runs `vllm serve`, which takes the model first"
    # Lark for the first; the second is the number of logprobs that edgefc asks for.
    assert {"--structured-outputs-config.backend=guidance", "--max-logprobs=20"} <= set(vllm)


def test_compose_starts_the_front_when_all_that_it_needs_is_there() -> None:
    services = compose()["services"]
    front = services["edgefc"]
    assert front["depends_on"] == {
        "tokenizer": {"condition": "service_completed_successfully"},
        "vllm": {"condition": "service_healthy"},
    }
    assert front["ports"] == ["127.0.0.1:8080:8080"]
    assert "EDGEFC_API_KEY" in front["environment"]
    for service in services.values():
        if "build" in service:
            assert (FOLDER / service["build"] / "Dockerfile").is_file()
        assert all(volume.partition(":")[0] in compose()["volumes"] for volume in service.get("volumes", ()))


def test_services_select_the_pods_that_listen_on_their_ports() -> None:
    found = kubernetes()
    for name, port in (("edgefc", 8080), ("vllm", 8000)):
        service, deployment = found["Service", name]["spec"], found["Deployment", name]["spec"]
        labels = deployment["template"]["metadata"]["labels"]
        assert service["selector"] == labels == deployment["selector"]["matchLabels"]
        [container] = deployment["template"]["spec"]["containers"]
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        assert [(one["port"], ports[one["targetPort"]]) for one in service["ports"]] == [(port, port)]
    volumes = {one["name"]: one for one in pod("vllm")["volumes"]}
    assert ("PersistentVolumeClaim", volumes["weights"]["persistentVolumeClaim"]["claimName"]) in found
    for name in ("edgefc", "vllm"):
        spec = pod(name)
        mounted = {
            mount["name"]
            for one in [*spec["containers"], *spec.get("initContainers", ())]
            for mount in one["volumeMounts"]
        }
        assert mounted == {one["name"] for one in spec["volumes"]}
