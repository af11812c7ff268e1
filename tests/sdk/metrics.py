"""Reads an exposition with the official parser, which refuses what is not OpenMetrics, and says
what is in it: for each metric its type, the labels of its series, and how many series and exemplars
there are."""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

SUFFIXES = {"counter": "_total", "info": "_info"}

metrics = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    metrics[family.name + SUFFIXES.get(family.type, "")] = {
        "kind": family.type,
        "labels": sorted(
            {name for sample in family.samples for name in sample.labels} - {"le"}
        ),
        "series": len(family.samples),
        "exemplars": [
            sample.exemplar.labels for sample in family.samples if sample.exemplar
        ],
    }
json.dump(metrics, sys.stdout)
