"""YAML as the API server reads it strictly: a key that stands twice is an error."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass
class Release:
    """What one rendering has made."""

    name: str  # for people: chart/variant, or the path of a file
    manifests: list[dict[str, Any]]
    chart: str | None = None
    values: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]


class StrictLoader(yaml.SafeLoader):
    pass


def mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        name = loader.construct_object(key, deep=True)
        if isinstance(name, Hashable) and name in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {name!r} stands twice", key.start_mark
            )
        seen.add(name)
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
# An unquoted date is text to Kubernetes.
StrictLoader.add_constructor(
    "tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node)
)


def documents(text: str) -> list[Any]:
    return [doc for doc in yaml.load_all(text, StrictLoader) if doc is not None]


def label(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def pod_templates(release: Release) -> list[tuple[str, dict[str, Any]]]:
    """Of Deployments and their like, and of Pods themselves: name and template."""
    found = []
    for manifest in release.manifests:
        if manifest["kind"] == "Pod":
            found.append((label(manifest), manifest))
        elif manifest["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            found.append((label(manifest), manifest["spec"]["template"]))
    return found
