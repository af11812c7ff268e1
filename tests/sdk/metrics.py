"""Reads an exposition with the official parser, which refuses what is not OpenMetrics, and says
what is in it: a line for each metric, with its type and the names of its labels."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

SUFFIXES = {"counter": "_total", "info": "_info"}

for family in text_string_to_metric_families(sys.stdin.read()):
    name = family.name + SUFFIXES.get(family.type, "")
    labels = {label for sample in family.samples for label in sample.labels} - {"le"}
    print(name, family.type, *sorted(labels))
