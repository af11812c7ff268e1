"""Starts the real program as each variant's container would, without a cluster: its arguments, its
environment, and its volumes as files. Addresses alone are others, and the folder they all lie in.

That shows that the program takes its settings, that every file is where the settings say, that
probes ask for what is there, and that the container becomes ready: with an API server that holds no
policy, and without Redis, backends and a limiter, which must not keep anybody from being ready."""

import datetime
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cluster import EmptyCluster
from manifests import Release, pod_templates

# Generous: a busy machine.
WITHIN_SECONDS = 60
READY_WITHIN_SECONDS = 30

# Settings of `toolgate serve` that are no key of `config`, as the chart has to know them itself.
OF_THE_CHART = (
    "--config", "--policies", "--kubernetes", "--store", "--redis", "--grpc-listen", "--http-listen",
    "--grpc-tls", "--drain-timeout", "--otlp", "--log",
)  # fmt: skip


def check(programs: Path, root: Path, releases: list[Release]) -> tuple[str, list[str]]:
    wrong, started = [], 0
    fakes = Fakes(root)
    for release in releases:
        if not release.chart:
            continue
        for name, template in pod_templates(release):
            for container in template["spec"]["containers"]:
                program = programs / container["name"]
                started += 1
                with tempfile.TemporaryDirectory() as folder:
                    said = Pod(Path(folder), release, template["spec"], container, fakes).start(program)
                wrong += [f"{release.name}: {name}: {line}" for line in said]
    wrong += reachable(programs, root)
    return f"{started} containers", wrong


class Fakes:
    """What is in Secrets and ConfigMaps that a release does not make."""

    def __init__(self, root: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake")])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("fake")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        self.cluster = EmptyCluster()
        self.policy = (root / "examples/quickstart.yaml").read_text()

    def value(self, key: str) -> str:
        if key.endswith((".crt", ".pem")):
            return self.certificate
        if key.endswith(".key"):
            return self.key
        if key == "url":
            return "redis://toolgate:secret@127.0.0.1:1"
        return "a secret of 24 characters"

    def secret(self) -> dict[str, str]:
        return {key: self.value(key) for key in ("tls.crt", "tls.key", "ca.crt", "password", "salt", "token")}

    def config_map(self) -> dict[str, str]:
        return {"ca.crt": self.certificate, "limits.yaml": self.policy}


class Pod:
    """One container, and what the kubelet puts around it."""

    def __init__(
        self, folder: Path, release: Release, spec: dict[str, Any], container: dict[str, Any], fakes: Fakes
    ) -> None:
        self.folder = folder
        self.container = container
        self.fakes = fakes
        self.config_maps = {made["metadata"]["name"]: made["data"] for made in release.of("ConfigMap")}
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for mount in container["volumeMounts"]:
            target = folder / mount["mountPath"].lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            for key, text in self.files(volumes.get(mount["name"], {})).items():
                (target / key).write_text(self.here(text))

    def files(self, volume: dict[str, Any]) -> dict[str, str]:
        if source := volume.get("configMap"):
            files = self.config_maps.get(source["name"], self.fakes.config_map())
        elif source := volume.get("secret"):
            files = self.fakes.secret()
        else:
            return {}
        if items := source.get("items"):
            return {item["path"]: files.get(item["key"]) or self.fakes.value(item["key"]) for item in items}
        return files

    def here(self, text: str) -> str:
        """`text` with addresses and paths of this machine."""
        text = re.sub(r"(0\.0\.0\.0|\[::\]):\d+", "127.0.0.1:0", text)
        return re.sub(r"(?<![\w/.])/etc/(toolgate|vmcp)/", rf"{self.folder}/etc/\1/", text)

    def environment(self) -> dict[str, str]:
        kubeconfig = self.folder / "kubeconfig"
        kubeconfig.write_text(self.fakes.cluster.kubeconfig())
        found = {"PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig)}
        for variable in self.container["env"]:
            source = variable.get("valueFrom", {})
            if "value" in variable:
                value = re.sub(r"\$\((\w+)\)", lambda name: found[name[1]], variable["value"])
            elif "secretKeyRef" in source:
                value = self.fakes.value(source["secretKeyRef"]["key"])
            else:
                value = "pod-0"
            found[variable["name"]] = self.here(value)
        return found

    def missing(self) -> list[str]:
        """Paths in settings at which nothing lies: a program that needs a file only later starts without."""
        files = self.folder.rglob("*.yaml")
        settings = [text for file in files for text in strings(list(yaml.safe_load_all(file.read_text())))]
        paths = [text for text in settings if text.startswith(f"{self.folder}/")]
        return [f"{path} is in the settings and not in a volume" for path in paths if not Path(path).exists()]

    def start(self, program: Path) -> list[str]:
        arguments = [self.here(argument) for argument in self.container["args"]]
        process = subprocess.Popen(
            [program, *arguments],
            env=self.environment(),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        killer = threading.Timer(WITHIN_SECONDS, process.kill)
        killer.start()
        try:
            return self.missing() + self.watch(process)
        finally:
            killer.cancel()
            process.kill()
            process.wait()

    def watch(self, process: subprocess.Popen[str]) -> list[str]:
        said, address = "", None
        while address is None:
            line = process.stdout.readline()
            if not line:
                return [f"it does not start: {said or 'it says nothing'}"]
            said += line
            address = PROBES_AT.search(said)
        found = self.probe(f"http://{address[1]}")
        process.send_signal(signal.SIGTERM)
        said += process.stdout.read()
        if process.wait() != 0:
            found.append(f"it does not stop as it should: {said}")
        if "is not known here" in said:
            found.append(f"it does not know a setting: {said}")
        return found

    def readiness(self) -> tuple[int, str]:
        """The status, and how the body begins."""
        settings = [text for file in self.folder.rglob("config.yaml") for text in yaml.safe_load_all(file.read_text())]
        if any(setting.get("outage") == "unavailable" for setting in settings):
            # Redis is away, and the values forbid a limiter to decide alone.
            return 503, "the store is unavailable"
        return 200, ""

    def probe(self, address: str) -> list[str]:
        found = []
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            if name not in self.container:
                found.append(f"there is no {name}")
                continue
            request = self.container[name].get("httpGet")
            if not request:
                continue
            expected, within = (200, ""), 0
            if name == "readinessProbe":
                # It has to see what it depends on.
                expected, within = self.readiness(), READY_WITHIN_SECONDS
            until = time.monotonic() + within
            while not said_as_expected(answer := ask(address + request["path"]), expected):
                if time.monotonic() > until:
                    found.append(f"{name}: {request['path']} is answered {answer[0]}: {answer[1]}")
                    break
                time.sleep(0.05)
        return found


def said_as_expected(answer: tuple[int, str], expected: tuple[int, str]) -> bool:
    return answer[0] == expected[0] and answer[1].startswith(expected[1])


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def strings(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    return [text for child in children for text in strings(child)]


# How each program says where its probes are.
PROBES_AT = re.compile(r"^(?:  HTTP +|metrics and probes are on http://)(\S+)", re.MULTILINE)

def reachable(programs: Path, root: Path) -> list[str]:
    """Settings that the chart gives no way to."""
    schema = json.loads((root / "deploy/helm/toolgate/values.schema.json").read_text())
    flags = set()

    def walk(properties: dict[str, Any], above: str) -> None:
        for key, value in properties.items():
            flag = above + "-" + re.sub(r"[A-Z]", lambda letter: "-" + letter[0].lower(), key)
            if "properties" in value:
                walk(value["properties"], flag)
            else:
                flags.add("-" + flag)

    walk(schema["properties"]["config"]["properties"], "")
    usage = subprocess.run([programs / "toolgate", "serve", "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", usage.stdout, re.MULTILINE)) - {"--help"}
    found = [f"no value of the chart sets {flag}" for flag in sorted(known - flags) if not flag.startswith(OF_THE_CHART)]
    return found + [f"config.* of the chart: there is no {flag}" for flag in sorted(flags - known)]
