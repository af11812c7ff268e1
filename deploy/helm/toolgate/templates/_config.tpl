{{/* config.yaml: what the chart knows, over what `config` says. */}}
{{- define "toolgate.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "drainTimeout" (printf "%ds" (int .Values.drainTimeoutSeconds)) -}}
{{- if include "toolgate.watchesCluster" . -}}
  {{- $_ := set $config "kubernetes" (dict
      "namespaces" .Values.policies.kubernetes.namespaces
      "status" .Values.policies.kubernetes.status
      "leaseNamespace" .Release.Namespace
      "leaseName" (include "toolgate.fullname" .)) -}}
{{- else -}}
  {{- $_ := set $config "policies" (list "/etc/toolgate/policies") -}}
{{- end -}}
{{- if eq .Values.store.type "memory" -}}
  {{- $_ := set $config "store" "memory" -}}
{{- else -}}
  {{- with .Values.store.redis -}}
    {{- if .url }}{{ $_ := set $config "store" .url }}{{ end -}}
    {{- $redis := dict -}}
    {{- if .username }}{{ $_ := set $redis "username" .username }}{{ end -}}
    {{- if .passwordSecret.name -}}
      {{- $_ := set $redis "passwordFile" (printf "/etc/toolgate/redis/password/%s" .passwordSecret.key) -}}
    {{- end -}}
    {{- $tls := dict -}}
    {{- if or .tls.ca.secret .tls.ca.configMap -}}
      {{- $_ := set $tls "caFile" (printf "/etc/toolgate/redis/ca/%s" .tls.ca.key) -}}
    {{- end -}}
    {{- if .tls.clientSecret -}}
      {{- $_ := set $tls "certFile" "/etc/toolgate/redis/client/tls.crt" -}}
      {{- $_ := set $tls "keyFile" "/etc/toolgate/redis/client/tls.key" -}}
    {{- end -}}
    {{- if $tls }}{{ $_ := set $redis "tls" $tls }}{{ end -}}
    {{- $sentinel := dict -}}
    {{- if .sentinel.username }}{{ $_ := set $sentinel "username" .sentinel.username }}{{ end -}}
    {{- if .sentinel.passwordSecret.name -}}
      {{- $_ := set $sentinel "passwordFile" (printf "/etc/toolgate/redis/sentinel/%s" .sentinel.passwordSecret.key) -}}
    {{- end -}}
    {{- if not (kindIs "invalid" .sentinel.tls) }}{{ $_ := set $sentinel "tls" .sentinel.tls }}{{ end -}}
    {{- if $sentinel }}{{ $_ := set $redis "sentinel" $sentinel }}{{ end -}}
    {{- if $redis }}{{ $_ := set $config "redis" $redis }}{{ end -}}
  {{- end -}}
{{- end -}}
{{- with .Values.tls -}}
  {{- if .enabled -}}
    {{- $tls := dict "certificate" "/etc/toolgate/tls/tls.crt" "key" "/etc/toolgate/tls/tls.key" -}}
    {{- if .clientCa.enabled -}}
      {{- $folder := ternary "client-ca" "tls" (not (empty .clientCa.secretName)) -}}
      {{- $_ := set $tls "clientCa" (printf "/etc/toolgate/%s/%s" $folder .clientCa.key) -}}
    {{- end -}}
    {{- $_ := set $config "grpcTls" $tls -}}
  {{- end -}}
{{- end -}}
{{- with .Values.callers }}{{ $_ := set $config "callers" . }}{{ end -}}
{{- with .Values.otlp -}}
  {{- $otlp := dict -}}
  {{- with .endpoint }}{{ $_ := set $otlp "endpoint" . }}{{ end -}}
  {{- with .protocol }}{{ $_ := set $otlp "protocol" . }}{{ end -}}
  {{- if $otlp }}{{ $_ := set $config "otlp" $otlp }}{{ end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
