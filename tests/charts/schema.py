"""Manifests against schemas, unknown fields refused: those of Kubernetes, and of custom resources
those in their CustomResourceDefinitions."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from manifests import Release, label

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The oldest that the charts take, and the newest that they were looked at with.
VERSIONS = ["1.29", "1.36"]


def check(tools: Path, root: Path, releases: list[Release]) -> tuple[str, list[str]]:
    definitions = custom_resources([tools / "crds", root / "deploy/crds"])
    seen: set[str] = set()
    wrong: list[str] = []
    kinds: dict[str, int] = {}
    for release in releases:
        for manifest in release.manifests:
            # Variants share most of what they render.
            text = json.dumps(manifest, sort_keys=True)
            if text in seen:
                continue
            seen.add(text)
            kinds[manifest["kind"]] = kinds.get(manifest["kind"], 0) + 1
            for said in problems(manifest, definitions):
                wrong.append(f"{release.name}: {label(manifest)}: {said}")
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"Kubernetes {' and '.join(VERSIONS)}: {listed}", wrong


def problems(manifest: dict[str, Any], definitions: dict[tuple[str, str], Any]) -> list[str]:
    custom = definitions.get((manifest["apiVersion"], manifest["kind"]))
    if not custom:
        return built_in(manifest)
    errors = jsonschema.Draft202012Validator(custom).iter_errors(manifest)
    found = [f"{place(error)}: {error.message}" for error in errors]
    # ToolHive's definition takes anything there, and its operator nothing but this.
    if template := manifest.get("spec", {}).get("podTemplateSpec"):
        whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": manifest["metadata"], "template": template}
        found += [f"spec.podTemplateSpec: {said}" for said in built_in(whole)]
    return found


def built_in(manifest: dict[str, Any]) -> list[str]:
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"Kubernetes {version}: {place(error)}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError:
            group = manifest["apiVersion"]
            found.append(f"no schema of {group} is known; is its definition in .tools/crds?")
            break
    return found


def place(error: jsonschema.ValidationError) -> str:
    return ".".join(str(part) for part in error.path) or "."


def custom_resources(folders: list[Path]) -> dict[tuple[str, str], Any]:
    """By apiVersion and kind, the schema of each version that is served, closed."""
    found = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            # Of others, and megabytes: by libyaml, where that is.
            for definition in yaml.load_all(file.read_text(), Loader=LOADER):
                if not definition or definition.get("kind") != "CustomResourceDefinition":
                    continue
                spec = definition["spec"]
                for version in spec["versions"]:
                    schema = version["schema"]["openAPIV3Schema"]
                    # What every object has, and a definition need not repeat.
                    for name, kind in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")]:
                        schema.setdefault("properties", {}).setdefault(name, {"type": kind})
                    key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                    found[key] = closed(schema)
    return found


def closed(schema: Any) -> Any:
    """`schema`, without room for fields that it does not name, and in the words of JSON Schema.

    `allOf` and its like stay as they are: they name some of the fields, and a structural schema has all
    of them outside. CEL is for the API server."""
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    if "properties" in schema:
        result["properties"] = {name: closed(field) for name, field in schema["properties"].items()}
    for part in ("items", "additionalProperties"):
        if part in schema:
            result[part] = closed(schema[part])
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("anyOf", None)
        result["type"] = ["integer", "string"]
    elif schema.get("nullable") and "type" in schema:
        result["type"] = [schema["type"], "null"]
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result
