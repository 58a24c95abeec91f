"""The files of deploy/, each judged by its own tool; test_deploy_live.py runs what they describe."""

import json
import re

import pytest

from harness.deploy import (
    CONFIG_MAP,
    DEPLOY,
    compose_config,
    compose_folder,
    copied,
    dashboard,
    documents,
    environment,
    instructions,
    known_labels,
    manifests,
    mounted,
    queries,
    run,
    tool,
)
from harness.gateway import BINARY, ROOT, run_binary

DOCKERFILES = [DEPLOY / "docker/Dockerfile", DEPLOY / "compose/app.Dockerfile"]
YAML = sorted([*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.yml")])
RULES = DEPLOY / "prometheus/portcullis.rules.yml"
RULE_TESTS = [DEPLOY / "prometheus/rules_test.yml", DEPLOY / "prometheus/rules_days_test.yml"]
UNIT = DEPLOY / "systemd/portcullis.service"
SOCKETS = DEPLOY / "systemd/portcullis.socket"

# Long alert texts stay on one line; `{ a: 1 }` has blanks as in the rest of the project.
YAML_STYLE = """{extends: default, rules: {
  document-start: disable, comments-indentation: disable, line-length: {max: 160},
  braces: {min-spaces-inside: 1, max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}}}"""


def quiet(*command, **options):
    """Runs a tool that must have nothing to say."""
    assert run(*command, **options) == (0, "")


@pytest.fixture
def stack(tmp_path):
    """deploy/compose with secrets made, in a folder of the test's own."""
    return compose_folder(tmp_path)


def test_yamllint_has_nothing_to_say():
    assert len(YAML) > 10
    quiet(tool("yamllint"), "--strict", "--format", "parsable", "--config-data", YAML_STYLE, *YAML)


def test_shellcheck_has_nothing_to_say_about_the_scripts():
    scripts = [file for file in DEPLOY.rglob("*") if file.is_file() and file.read_bytes().startswith(b"#!/bin/sh")]
    assert {file.name for file in scripts} == {"image-root", "make-secrets", "init.sh"}
    quiet(tool("shellcheck"), *scripts)


# ---- images ----


def test_hadolint_has_nothing_to_say_about_the_dockerfiles():
    quiet(tool("hadolint"), "--no-color", *DOCKERFILES)


def test_every_image_is_named_by_an_exact_version():
    services = documents(DEPLOY / "compose/compose.yaml")[0]["services"]
    made_here = {"portcullis:local", "portcullis-example-django:local", "portcullis-example-flask:local"}
    named = {service["image"] for service in services.values()} - made_here
    named |= {rest.split()[0] for file in DOCKERFILES for word, rest in instructions(file) if word == "FROM"}
    for image in named - {"scratch"}:
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z-]+)?$", image), image
    assert len(named) > 5, named


def test_the_final_image_is_empty_but_for_the_gateway_and_its_user_is_not_root():
    lines = instructions(DOCKERFILES[0])
    final = lines[max(index for index, (word, _) in enumerate(lines) if word == "FROM") :]
    words = dict(final)
    assert words["FROM"] == "scratch"
    assert all(int(number) > 0 for number in words["USER"].split(":"))
    assert not {"RUN", "SHELL", "ADD", "HEALTHCHECK"} & words.keys()
    assert words["STOPSIGNAL"] == "SIGTERM"


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.name)
def test_the_builder_gets_what_the_dockerfile_copies_and_no_more(dockerfile):
    lines = (dockerfile.parent / f"{dockerfile.name}.dockerignore").read_text().splitlines()
    assert "**" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    for pattern in allowed:
        assert list(ROOT.glob(pattern)), f"{pattern} is not there"
    if dockerfile == DOCKERFILES[0]:
        assert allowed == set(copied(dockerfile))


def test_the_dockerfile_copies_all_that_the_build_reads():
    given = set(copied(DOCKERFILES[0]))
    wanted = set(re.findall(r'^path = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.M))
    for source in (ROOT / "src").rglob("*.rs"):
        if "tests" in source.stem:
            continue
        for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', source.read_text()):
            wanted.add(str((source.parent / name).resolve().relative_to(ROOT.resolve())))
    missing = {name for name in wanted if name not in given and not name.startswith("src/")}
    assert not missing
    assert "gateway.toml" in wanted


# ---- compose ----


def test_docker_compose_takes_the_file_and_every_file_that_it_mounts_is_there(stack):
    config = compose_config(stack)
    assert set(config["services"]) >= {"gateway", "django", "flask", "redis", "postgres", "prometheus", "grafana"}
    for name, service in config["services"].items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                source = volume["source"]
                assert source.startswith(str(stack.parent)), (name, source)
                assert (stack / source).exists(), (name, source)


def test_no_port_is_open_past_the_gateway_or_beyond_this_machine(stack):
    services = compose_config(stack)["services"]
    open_to = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert set(open_to) == {"gateway", "grafana"}
    assert {port["host_ip"] for ports in open_to.values() for port in ports} == {"127.0.0.1"}
    # `http` of gateway.toml sends browsers to the port that `https` has inside.
    assert all(port["published"] == str(port["target"]) for port in open_to["gateway"])


def test_secrets_are_random_and_made_once_and_kept_out_of_git(stack):
    def all_secrets():
        folders = (stack / "secrets", stack / "gateway/secrets")
        return {file: file.read_text() for folder in folders for file in folder.iterdir() if file.name[0] != "."}

    first = all_secrets()
    assert len(first) == 12
    quiet(stack / "make-secrets")
    assert all_secrets() == first
    random = [text for text in first.values() if re.fullmatch(r"[0-9a-f]{64}\n", text)]
    # The app's key is in two files: the app's own and the gateway's.
    assert (len(random), len(set(random))) == (8, 7)
    for folder in ("secrets", "gateway/secrets", "gateway/certs"):
        assert (stack / folder / ".gitignore").read_text() == "*\n!.gitignore\n"


def test_check_finds_no_mistake_in_the_gateway_toml_of_compose(stack):
    gateway = compose_config(stack)["services"]["gateway"]
    done = run_binary("check", "--config", stack / "gateway/gateway.toml", env=environment(gateway))
    assert done.code == 0 and "warning" not in done.text, done


# ---- Kubernetes ----


@pytest.mark.parametrize("file", sorted((DEPLOY / "kubernetes").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_manifest_holds_against_the_schema_of_kubernetes(file):
    code, text = run(tool("kubernetes-validate"), "--strict", "--no-warn", file)
    assert code == 0, text
    assert text.count("passed") == len(documents(file)), text


def test_check_finds_no_mistake_in_the_config_map_with_only_what_is_mounted_beside_it(tmp_path):
    done = run_binary("check", "--config", mounted(tmp_path) / "gateway.toml")
    assert done.code == 0 and "warning" not in done.text, done


def test_ports_labels_and_probes_of_the_manifests_agree():
    objects = manifests()
    pod = objects["Deployment", "portcullis"]["spec"]["template"]
    container = pod["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    toml = documents(CONFIG_MAP)[0]["data"]["gateway.toml"]
    listens = re.findall(r'^(https|http|admin) += "0\.0\.0\.0:(\d+)"', toml, re.M)
    assert ports == {name: int(port) for name, port in listens}
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in probes.values()} == {"admin"}
    assert [probe["path"] for probe in probes.values()] == ["/health", "/health", "/ready"]
    for service in ("portcullis", "portcullis-admin"):
        spec = objects["Service", service]["spec"]
        assert spec["selector"].items() <= pod["metadata"]["labels"].items()
        assert all(port["targetPort"] in ports for port in spec["ports"])
    labels = pod["metadata"]["labels"]
    for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy"):
        spec = objects[kind, "portcullis"]["spec"]
        assert (spec.get("selector") or spec["podSelector"])["matchLabels"] == labels
    target = objects["HorizontalPodAutoscaler", "portcullis"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "portcullis")


def test_a_pod_has_no_right_that_it_does_not_want_and_time_to_drain():
    pod = manifests()["Deployment", "portcullis"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # The names of its service's variables would be read as keys of gateway.toml.
    assert pod["enableServiceLinks"] is False
    drain_s = 30
    assert pod["terminationGracePeriodSeconds"] > container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain_s


# ---- systemd ----


def test_systemd_analyze_has_nothing_to_say_and_the_sandbox_is_as_tight_as_it_was(need, tmp_path):
    analyze = need("systemd-analyze")
    unit, sockets = tmp_path / UNIT.name, tmp_path / SOCKETS.name
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/portcullis", BINARY))
    sockets.write_text(SOCKETS.read_text())
    quiet(analyze, "verify", "--man=no", unit, sockets)
    # In tenths: 1.6 by systemd 252. Other versions weigh a little differently.
    code, text = run(analyze, "security", "--offline=true", "--no-pager", "--threshold=18", unit)
    assert code == 0, text


def test_service_and_sockets_agree():
    unit, sockets = UNIT.read_text(), SOCKETS.read_text()
    for word in ("After", "Wants"):
        assert SOCKETS.name in re.search(rf"^{word}=(.*)$", unit, re.M).group(1)
    # What the gateway tells, and no name of systemd's own that would be taken for a door's.
    assert re.search(r"^Type=notify$", unit, re.M) and "NotifyAccess" not in unit
    assert "FileDescriptorName=" not in [line.partition("=")[0] + "=" for line in sockets.splitlines()]
    assert "Accept=yes" not in sockets
    ports = re.findall(r"^ListenStream=(?:.*:)?(\d+)$", sockets, re.M)
    assert ports == ["443", "80", "9090"]


# ---- Prometheus ----


def test_promtool_takes_every_file_of_prometheus(need, stack):
    promtool = need("promtool")
    folder = DEPLOY / "prometheus"
    for config in (folder / "prometheus.yml", folder / "kubernetes.yml", stack / "prometheus.yml"):
        code, text = run(promtool, "check", "config", "--syntax-only", config)
        assert code == 0, text
    code, text = run(promtool, "check", "rules", RULES)
    assert code == 0 and "SUCCESS" in text, text


def test_every_alert_keeps_silent_and_fires_when_it_should(need):
    code, text = run(need("promtool"), "test", "rules", *RULE_TESTS)
    assert code == 0 and text.count("SUCCESS") == len(RULE_TESTS), text
    there = {rule["alert"] for group in documents(RULES)[0]["groups"] for rule in group["rules"]}
    cases = [
        case for file in RULE_TESTS for group in documents(file)[0]["tests"] for case in group["alert_rule_test"]
    ]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == there
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == there


# ---- Grafana ----


def expressions():
    """Every query of the dashboard and of the alerts."""
    return queries() + [rule["expr"] for group in documents(RULES)[0]["groups"] for rule in group["rules"]]


def test_promtool_takes_every_query_of_the_dashboard(need, tmp_path):
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries())]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, text = run(need("promtool"), "check", "rules", file)
    assert code == 0 and f"{len(rules)} rules found" in text, text


def test_queries_ask_for_metrics_and_labels_that_there_are():
    known = known_labels()
    for expression in expressions():
        named = re.findall(r"\b((?:portcullis|process)_\w+)", expression)
        bases = {name.removesuffix("_bucket") for name in named}
        assert bases <= known.keys(), expression
        # Prometheus itself adds these.
        labels = {"instance", "job", "le"}.union(*(known[base] for base in bases))
        asked = re.findall(r"by \(([^)]*)\)", expression) + re.findall(r"(\w+)\s*[=!]~?\s*\"", expression)
        assert {label.strip() for group in asked for label in group.split(",")} <= labels, expression
    assert any("by (" in expression for expression in expressions())


def test_the_panels_of_the_dashboard_are_whole_and_do_not_cover_one_another():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]
        assert panel["targets"] and all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
