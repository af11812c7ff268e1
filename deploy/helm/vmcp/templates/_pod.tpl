{{/* Volumes and their mounts stand side by side, so that none is without the other. */}}
{{- define "vmcp.mounts" -}}
- {name: config, mountPath: /etc/vmcp/config, readOnly: true}
{{- with .Values.limiter }}
{{- if and (eq .mode "remote") .tls.enabled }}
- {name: limiter-ca, mountPath: /etc/vmcp/limiter/ca, readOnly: true}
{{- if .tls.clientSecret }}
- {name: limiter-client, mountPath: /etc/vmcp/limiter/client, readOnly: true}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "vmcp.volumes" -}}
- name: config
  configMap: {name: {{ include "vmcp.fullname" . }}}
{{- with .Values.limiter }}
{{- if and (eq .mode "remote") .tls.enabled }}
- name: limiter-ca
{{- with .tls.ca }}
{{- if .secret }}
  secret: {defaultMode: 0440, secretName: {{ .secret }}, items: [{key: {{ .key }}, path: {{ .key }}}]}
{{- else }}
  configMap: {name: {{ .configMap }}, items: [{key: {{ .key }}, path: {{ .key }}}]}
{{- end }}
{{- end }}
{{- with .tls.clientSecret }}
- name: limiter-client
  secret: {defaultMode: 0440, secretName: {{ . }}}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "vmcp.env" -}}
- {name: RUST_LOG, value: {{ .Values.log.filter | quote }}}
- {name: VMCP_LOG_FORMAT, value: {{ .Values.log.format }}}
{{- range $place, $backend := .Values.backends }}
{{- range $header, $secret := $backend.headersFromSecret }}
- {name: {{ include "vmcp.variable" (list $place $header) }}, valueFrom: {secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.key }}}}}
{{- end }}
{{- end }}
{{- if .Values.otlp.endpoint }}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: OTEL_RESOURCE_ATTRIBUTES, value: "k8s.namespace.name={{ .Release.Namespace }},k8s.pod.name=$(POD_NAME),service.instance.id=$(POD_NAME)"}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "vmcp.spread" -}}
{{- $labels := include "vmcp.selectorLabels" . | fromYaml -}}
{{- range .Values.topologySpreadConstraints }}
- {{ toYaml (merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" $labels))) | nindent 2 | trim }}
{{- end }}
{{- end -}}
