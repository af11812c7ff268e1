{{/* vmcp.yaml: what the chart knows, over what `config` says. */}}
{{- define "vmcp.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "name" (default .Release.Name .Values.server.name) -}}
{{- $_ := set $config "namespace" (default .Release.Namespace .Values.server.namespace) -}}
{{- $_ := set $config "listen" (printf "%s:4483" .Values.listenAddress) -}}
{{- $_ := set $config "adminListen" (printf "%s:4484" .Values.listenAddress) -}}
{{- $_ := set $config "drainTimeout" (printf "%ds" (int .Values.drainTimeoutSeconds)) -}}
{{- $_ := set $config "incomingAuth" .Values.incomingAuth -}}
{{- $_ := set $config "backends" (include "vmcp.backends" . | fromYamlArray) -}}
{{- with .Values.limiter -}}
  {{- if eq .mode "embedded" -}}
    {{- $_ := set $config "limiter" "embedded" -}}
  {{- else if eq .mode "remote" -}}
    {{- $limiter := dict "endpoint" .endpoint "onUnavailable" .onUnavailable -}}
    {{- range $key := list "timeout" "connectTimeout" "rememberDenials" -}}
      {{- with get $.Values.limiter $key }}{{ $_ := set $limiter $key . }}{{ end -}}
    {{- end -}}
    {{- if .tls.enabled -}}
      {{- $tls := dict "ca" (printf "/etc/vmcp/limiter/ca/%s" .tls.ca.key) -}}
      {{- if .tls.clientSecret -}}
        {{- $_ := set $tls "certificate" "/etc/vmcp/limiter/client/tls.crt" -}}
        {{- $_ := set $tls "key" "/etc/vmcp/limiter/client/tls.key" -}}
      {{- end -}}
      {{- with .tls.serverName }}{{ $_ := set $tls "serverName" . }}{{ end -}}
      {{- $_ := set $limiter "tls" $tls -}}
    {{- end -}}
    {{- $_ := set $config "limiter" $limiter -}}
  {{- end -}}
{{- end -}}
{{- with .Values.otlp -}}
  {{- $otlp := dict -}}
  {{- with .endpoint }}{{ $_ := set $otlp "endpoint" . }}{{ end -}}
  {{- with .protocol }}{{ $_ := set $otlp "protocol" . }}{{ end -}}
  {{- if $otlp }}{{ $_ := set $config "otlp" $otlp }}{{ end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Backends in the words of the file: headers out of Secrets come by the environment. */}}
{{- define "vmcp.backends" -}}
{{- range $place, $given := .Values.backends }}
{{- $backend := omit $given "headersFromSecret" }}
{{- $variables := deepCopy (default (dict) $given.headersFromEnv) }}
{{- range $header, $_ := $given.headersFromSecret }}
{{- $_ := set $variables $header (include "vmcp.variable" (list $place $header)) }}
{{- end }}
{{- if $variables }}{{ $_ := set $backend "headersFromEnv" $variables }}{{ end }}
- {{ toYaml $backend | nindent 2 | trim }}
{{- end }}
{{- end -}}

{{/* The variable of a backend's header, of its place and name. */}}
{{- define "vmcp.variable" -}}
{{- printf "VMCP_BACKEND_%d_%s" (index . 0) (index . 1 | upper | replace "-" "_") -}}
{{- end -}}
