"""What no schema says: whether manifests of a release fit to each other."""

from typing import Any

from manifests import Release, label, pod_templates

# Volumes that the Pod Security Standard "restricted" allows.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def check(releases: list[Release]) -> tuple[str, list[str]]:
    wrong, pods = [], 0
    for release in releases:
        templates = pod_templates(release)
        pods += len(templates)
        for name, template in templates:
            wrong += [f"{release.name}: {name}: {said}" for said in restricted(template["spec"])]
            wrong += [f"{release.name}: {name}: {said}" for said in volumes(release, template["spec"])]
        if release.chart:
            wrong += [f"{release.name}: {said}" for said in names(release)]
            wrong += [f"{release.name}: {said}" for said in references(release, templates)]
    return f"{pods} Pods", wrong


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return spec.get("initContainers", []) + spec["containers"]


def restricted(spec: dict[str, Any]) -> list[str]:
    found = []
    of_pod = spec.get("securityContext", {})
    for container in containers(spec):
        own = container.get("securityContext", {})
        both = {**of_pod, **own}
        if both.get("runAsNonRoot") is not True:
            found.append(f"{container['name']} may run as root")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append(f"{container['name']} may get privileges")
        if own.get("capabilities", {}).get("drop") != ["ALL"]:
            found.append(f"{container['name']} keeps capabilities")
        if both.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            found.append(f"{container['name']} has no seccomp profile")
        # Not of the standard, but ours.
        if own.get("readOnlyRootFilesystem") is not True:
            found.append(f"{container['name']} may write to its root")
        if "requests" not in container.get("resources", {}):
            found.append(f"{container['name']} requests no resources")
    for volume in spec.get("volumes", []):
        if not VOLUMES & volume.keys():
            found.append(f"the volume {volume['name']} is of a kind that is not allowed")
    return found


def volumes(release: Release, spec: dict[str, Any]) -> list[str]:
    there = {volume["name"] for volume in spec.get("volumes", [])}
    used = {mount["name"] for container in containers(spec) for mount in container.get("volumeMounts", [])}
    found = [f"the volume {name} is not there" for name in sorted(used - there)]
    if release.chart:
        found += [f"nobody mounts the volume {name}" for name in sorted(there - used)]
    return found


def names(release: Release) -> list[str]:
    known, found = set(), []
    for manifest in release.manifests:
        key = (manifest["apiVersion"], label(manifest), manifest["metadata"].get("namespace"))
        if key in known:
            found.append(f"{label(manifest)} is rendered twice")
        known.add(key)
    return found


def references(release: Release, templates: list[tuple[str, dict[str, Any]]]) -> list[str]:
    found = []

    def selects(selector: dict[str, str], who: str) -> list[dict[str, Any]]:
        chosen = [t for _, t in templates if selector.items() <= t["metadata"]["labels"].items()]
        if not chosen:
            found.append(f"{who} selects no Pod")
        return chosen

    services: dict[str, set[str]] = {}
    for service in release.of("Service"):
        spec = service["spec"]
        for template in selects(spec["selector"], label(service)):
            ports = {port["name"] for c in containers(template["spec"]) for port in c.get("ports", [])}
            for port in spec["ports"]:
                if port["targetPort"] not in ports:
                    found.append(f"{label(service)}: no container has the port {port['targetPort']}")
        services[service["metadata"]["name"]] = {port["name"] for port in spec["ports"]}
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        for manifest in release.of(kind):
            spec = manifest["spec"]
            selects((spec.get("selector") or spec.get("podSelector"))["matchLabels"], label(manifest))
    for monitor in release.of("ServiceMonitor"):
        wanted = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
        # Each Pod once, though several Services select it.
        if sum(wanted <= ports for ports in services.values()) != 1:
            found.append(f"{label(monitor)} does not find exactly one Service with {sorted(wanted)}")

    made = {label(manifest) for manifest in release.manifests}
    for scaler in release.of("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        if f"{target['kind']}/{target['name']}" not in made:
            found.append(f"{label(scaler)} scales nothing")
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for binding in release.of(kind):
            role = binding["roleRef"]
            if f"{role['kind']}/{role['name']}" not in made:
                found.append(f"{label(binding)} is to no role")

    # What the release refers to and does not make must be a value that somebody has given.
    given = str(release.values)
    certificates = {made["spec"]["secretName"] for made in release.of("Certificate")}
    for name, template in templates:
        spec = template["spec"]
        account = f"ServiceAccount/{spec['serviceAccountName']}"
        if account not in made and f"'{spec['serviceAccountName']}'" not in given:
            found.append(f"{name}: nobody makes {account}")
        for volume in spec.get("volumes", []):
            if config := volume.get("configMap"):
                target = config["name"]
                is_made = f"ConfigMap/{target}" in made
            elif secret := volume.get("secret"):
                target = secret["secretName"]
                is_made = target in certificates
            else:
                continue
            if not is_made and f"'{target}'" not in given:
                found.append(f"{name}: nobody makes {target} of the volume {volume['name']}")
    return found
