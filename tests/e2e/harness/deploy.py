"""The files of deploy/ as their tools see them, and the tools: see tests/environments/deploy-tools.txt."""

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

from .certs import Authority
from .gateway import ROOT
from .session_apps import python_of

DEPLOY = ROOT / "deploy"
CONFIG_MAP = DEPLOY / "kubernetes/configmap.yaml"

_AS_JSON = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))"


def run(*command, cwd=None, env=None, timeout=60):
    """Runs a command to its end; answers with its exit code and all that it printed."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=timeout,
    )  # fmt: skip
    return done.returncode, done.stdout


def tool(name):
    """The path of one of the tools."""
    return python_of("deploy-tools").parent / name


def documents(file):
    """What a YAML file says, one value a document."""
    code, text = run(python_of("deploy-tools"), "-c", _AS_JSON, file)
    assert code == 0, text
    return json.loads(text)


def manifests():
    """Every object of the Kubernetes manifests, by kind and name."""
    found = {}
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for each in documents(file):
            found[each["kind"], each["metadata"]["name"]] = each
    return found


# ---- binaries ----


def loads_libraries(program):
    """Whether a program names one that loads its libraries: a segment PT_INTERP (ELF of 64 bits, least byte first)."""
    with open(program, "rb") as file:
        head = file.read(64)
        assert head[:6] == b"\x7fELF\x02\x01", head
        (start,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        file.seek(start)
        table = file.read(size * count)
    return any(struct.unpack_from("<I", table, at)[0] == 3 for at in range(0, len(table), size))


# ---- Dockerfiles ----


def instructions(dockerfile):
    """The lines of a Dockerfile: (word, rest), comments and blank lines left out."""
    lines = [line.strip() for line in dockerfile.read_text().splitlines()]
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]


def copied(dockerfile):
    """What a Dockerfile copies from the folder that it is built in."""
    rests = [rest.split() for word, rest in instructions(dockerfile) if word == "COPY"]
    return [name for words in rests if not words[0].startswith("--from") for name in words[:-1]]


# ---- compose ----


def compose_folder(folder):
    """deploy/ as it is after `make-secrets`, in a folder of the test's own; answers with deploy/compose of it."""
    copy = Path(folder) / "deploy"
    made = shutil.ignore_patterns("admin_token", "*_key", "*_url", "*_password", "*.env", "*.pem", "*.key")
    shutil.copytree(DEPLOY, copy, ignore=made)
    code, text = run(copy / "compose/make-secrets")
    assert (code, text) == (0, "")
    return copy / "compose"


def compose_config(folder):
    """What docker compose makes of compose.yaml."""
    code, text = run(tool("docker-compose"), "--file", folder / "compose.yaml", "config", "--format", "json")
    assert code == 0, text
    return json.loads(text)


def environment(service):
    """The variables of a service that are not secret, for the real binary."""
    return dict(service.get("environment", {}))


# ---- Kubernetes ----


def mounted(folder):
    """Makes the volume that the Deployment mounts at /etc/portcullis: what it projects, and nothing else.

    As the kubelet does: the files are in a folder with a time for its name, to which `..data` leads.
    """
    objects = manifests()
    pod = objects["Deployment", "portcullis"]["spec"]["template"]["spec"]
    cert, key = Authority().issue("app.example.com", names=["app.example.com"])
    values = {
        "tls.crt": cert.decode(),
        "tls.key": key.decode(),
        "admin-token": "a-token-of-the-test\n",
        "django-secret-key": "a-secret-key-of-the-test-that-is-long-enough-0123456789\n",
        "database-url": "postgres://portcullis:word@postgresql/app\n",
    }
    folder = Path(folder)
    for source in pod["volumes"][0]["projected"]["sources"]:
        kind, content = next(iter(source.items()))
        data = objects["ConfigMap", content["name"]]["data"] if kind == "configMap" else values
        for item in content["items"]:
            file = folder / "..first" / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(data[item["key"]])
            file.chmod(0o440)
    (folder / "..data").symlink_to("..first")
    for entry in (folder / "..first").iterdir():
        (folder / entry.name).symlink_to(f"..data/{entry.name}")
    return folder


def update(folder, toml):
    """Another gateway.toml in the volume, as the kubelet brings it: all files anew, and `..data` led to them."""
    shutil.copytree(folder / "..first", folder / "..second")
    file = folder / "..second/gateway.toml"
    file.unlink()
    file.write_text(toml)
    (folder / "..data_tmp").symlink_to("..second")
    (folder / "..data_tmp").replace(folder / "..data")
    shutil.rmtree(folder / "..first")


# ---- metrics ----


def known_labels():
    """Each metric's labels, as README.md has them; tests/readme.rs holds that table against the gateway's own."""
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram) \| ([^|]*) \|", text, re.M)
    known = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert len(known) > 30, sorted(known)
    return known


def dashboard():
    """The Grafana dashboard."""
    return json.loads((DEPLOY / "grafana/portcullis.json").read_text())


def queries():
    """Every query of the dashboard, with a value for its variable."""
    return [
        target["expr"].replace("$instance", ".*") for panel in dashboard()["panels"] for target in panel["targets"]
    ]
