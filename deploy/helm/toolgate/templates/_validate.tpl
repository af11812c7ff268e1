{{/* What the schema cannot say: values that each are right, and not together. */}}
{{- define "toolgate.validate" -}}
{{- if and (ne .Values.service.type "ClusterIP") (not (and .Values.tls.enabled .Values.tls.clientCa.enabled)) -}}
  {{- fail (printf "service.type: %s takes tls.enabled and tls.clientCa.enabled, for outside of the cluster anybody could empty the buckets" .Values.service.type) -}}
{{- end -}}
{{- $redis := .Values.store.redis -}}
{{- $replicas := .Values.replicaCount | int -}}
{{- if eq .Values.store.type "memory" -}}
  {{- if gt $replicas 1 -}}
    {{- fail (printf "replicaCount: %d replicas need store.type: redis, for in memory each would give out the limits anew" $replicas) -}}
  {{- end -}}
  {{- if .Values.autoscaling.enabled -}}
    {{- fail "autoscaling.enabled needs store.type: redis, for in memory each replica would give out the limits anew" -}}
  {{- end -}}
{{- else -}}
  {{- if and (not $redis.url) (not $redis.urlSecret.name) -}}
    {{- fail "store.type: redis needs store.redis.url or store.redis.urlSecret.name" -}}
  {{- end -}}
  {{- if and $redis.url $redis.urlSecret.name -}}
    {{- fail "store.redis.url does not go with store.redis.urlSecret: give one of them" -}}
  {{- end -}}
  {{- if and $redis.username (not $redis.passwordSecret.name) (not $redis.urlSecret.name) -}}
    {{- fail "store.redis.username needs store.redis.passwordSecret.name" -}}
  {{- end -}}
  {{- if and $redis.sentinel.username (not $redis.sentinel.passwordSecret.name) -}}
    {{- fail "store.redis.sentinel.username needs store.redis.sentinel.passwordSecret.name" -}}
  {{- end -}}
  {{- if and $redis.tls.ca.secret $redis.tls.ca.configMap -}}
    {{- fail "store.redis.tls.ca: give secret or configMap, not both" -}}
  {{- end -}}
  {{- $saysSentinel := or $redis.sentinel.username $redis.sentinel.passwordSecret.name (not (kindIs "invalid" $redis.sentinel.tls)) -}}
  {{- if and $redis.url $saysSentinel (not (contains "+sentinel://" $redis.url)) -}}
    {{- fail "store.redis.sentinel needs a store.redis.url that begins with redis+sentinel:// or rediss+sentinel://" -}}
  {{- end -}}
  {{- $saysTls := or $redis.tls.ca.secret $redis.tls.ca.configMap $redis.tls.clientSecret -}}
  {{- if and $redis.url $saysTls (not (hasPrefix "rediss" $redis.url)) (not $redis.sentinel.tls) -}}
    {{- fail "store.redis.tls needs a store.redis.url that begins with rediss" -}}
  {{- end -}}
{{- end -}}
{{- if not (include "toolgate.watchesCluster" .) -}}
  {{- with .Values.policies.configMap -}}
    {{- if and (not .existing) (not .files) -}}
      {{- fail "policies.source: configMap needs policies.configMap.files or policies.configMap.existing" -}}
    {{- end -}}
    {{- if and .existing .files -}}
      {{- fail "policies.configMap: give files or existing, not both" -}}
    {{- end -}}
  {{- end -}}
{{- else if and (has "*" .Values.policies.kubernetes.namespaces) (gt (len .Values.policies.kubernetes.namespaces) 1) -}}
  {{- fail "policies.kubernetes.namespaces: \"*\" is all namespaces, and stands alone" -}}
{{- end -}}
{{- with .Values.tls -}}
  {{- if .enabled -}}
    {{- if and (not .secretName) (not .certManager.issuerRef) -}}
      {{- fail "tls.enabled needs tls.secretName or tls.certManager.issuerRef" -}}
    {{- end -}}
    {{- if and .secretName .certManager.issuerRef -}}
      {{- fail "tls.secretName does not go with tls.certManager.issuerRef: give one of them" -}}
    {{- end -}}
  {{- else if or .secretName .certManager.issuerRef .clientCa.enabled -}}
    {{- fail "tls: secretName, certManager and clientCa need tls.enabled" -}}
  {{- end -}}
{{- end -}}
{{- if .Values.callers -}}
  {{- if not .Values.tls.clientCa.enabled -}}
    {{- fail "callers need tls.clientCa.enabled: they are known by their certificates" -}}
  {{- end -}}
  {{- if .Values.config.insecureAdmin -}}
    {{- fail "config.insecureAdmin does not go with callers: list administrators with admin: true" -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.probes.grpc .Values.tls.enabled -}}
  {{- fail "probes.grpc does not go with tls.enabled: the kubelet speaks plaintext" -}}
{{- end -}}
{{- if and (not .Values.otlp.endpoint) .Values.otlp.protocol -}}
  {{- fail "otlp.protocol needs otlp.endpoint" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (eq (toString .Values.config.metrics) "false") -}}
  {{- fail "serviceMonitor.enabled needs metrics: leave config.metrics out" -}}
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
{{- $grace := include "toolgate.gracePeriod" . | int -}}
{{- if le $grace (int $needed) -}}
  {{- fail (printf "terminationGracePeriodSeconds: %d must be above preStopSleepSeconds and drainTimeoutSeconds together (%d)" $grace $needed) -}}
{{- end -}}
{{- end -}}
