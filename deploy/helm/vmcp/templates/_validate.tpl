{{/* What the schema cannot say: values that each are right, and not together. */}}
{{- define "vmcp.validate" -}}
{{- if not .Values.incomingAuth -}}
  {{- fail "incomingAuth must be given: {type: anonymous} lets everybody in, {type: oidc, oidc: {issuer, audience}} those with a token" -}}
{{- end -}}
{{- if not .Values.backends -}}
  {{- fail "backends must be given: [{name: github, url: http://github-mcp:8080/mcp}]" -}}
{{- end -}}
{{- $names := list -}}
{{- range .Values.backends -}}
  {{- if has .name $names -}}
    {{- fail (printf "backends: %s stands twice" .name) -}}
  {{- end -}}
  {{- $names = append $names .name -}}
{{- end -}}
{{- with .Values.limiter -}}
  {{- if eq .mode "embedded" -}}
    {{- if or (gt (int $.Values.replicaCount) 1) $.Values.autoscaling.enabled -}}
      {{- fail "limiter.mode: embedded is for one replica, for each would give out the limits anew: replicaCount: 1, or limiter.mode: remote" -}}
    {{- end -}}
    {{- if not $.Values.rateLimiting -}}
      {{- fail "limiter.mode: embedded needs rateLimiting" -}}
    {{- end -}}
  {{- else if $.Values.rateLimiting -}}
    {{- fail "rateLimiting is for limiter.mode: embedded; a remote limiter has policies: see rateLimitPolicy" -}}
  {{- end -}}
  {{- if and $.Values.rateLimitPolicy (ne .mode "remote") -}}
    {{- fail "rateLimitPolicy is for limiter.mode: remote" -}}
  {{- end -}}
  {{- if .tls.enabled -}}
    {{- if and (not .tls.ca.secret) (not .tls.ca.configMap) -}}
      {{- fail "limiter.tls.enabled needs limiter.tls.ca.secret or limiter.tls.ca.configMap" -}}
    {{- end -}}
    {{- if and .tls.ca.secret .tls.ca.configMap -}}
      {{- fail "limiter.tls.ca: give secret or configMap, not both" -}}
    {{- end -}}
    {{- if hasPrefix "http://" .endpoint -}}
      {{- fail "limiter.tls does not go with an endpoint that begins with http://" -}}
    {{- end -}}
  {{- else if or .tls.ca.secret .tls.ca.configMap .tls.clientSecret .tls.serverName -}}
    {{- fail "limiter.tls: ca, clientSecret and serverName need limiter.tls.enabled" -}}
  {{- else if hasPrefix "https://" .endpoint -}}
    {{- fail "limiter.endpoint: https:// needs limiter.tls.enabled" -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.rateLimitPolicy .Values.server.namespace (ne .Values.server.namespace .Release.Namespace) -}}
  {{- fail "rateLimitPolicy does not go with server.namespace: a policy is for servers of its own namespace" -}}
{{- end -}}
{{- if and (not .Values.otlp.endpoint) .Values.otlp.protocol -}}
  {{- fail "otlp.protocol needs otlp.endpoint" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
  {{- fail "ingress.enabled needs ingress.hosts" -}}
{{- end -}}
{{- with .Values.autoscaling -}}
  {{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
    {{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
  {{- end -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
  {{- if and .enabled (kindIs "invalid" .minAvailable) (kindIs "invalid" .maxUnavailable) -}}
    {{- fail "podDisruptionBudget needs minAvailable or maxUnavailable" -}}
  {{- end -}}
{{- end -}}
{{- $needed := add .Values.preStopSleepSeconds .Values.drainTimeoutSeconds -}}
{{- $grace := include "vmcp.gracePeriod" . | int -}}
{{- if le $grace (int $needed) -}}
  {{- fail (printf "terminationGracePeriodSeconds: %d must be above preStopSleepSeconds and drainTimeoutSeconds together (%d)" $grace $needed) -}}
{{- end -}}
{{- end -}}
