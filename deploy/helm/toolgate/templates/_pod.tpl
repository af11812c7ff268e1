{{/* Volumes and their mounts stand side by side, so that none is without the other. */}}
{{- define "toolgate.mounts" -}}
- {name: config, mountPath: /etc/toolgate/config, readOnly: true}
{{- if not (include "toolgate.watchesCluster" .) }}
- {name: policies, mountPath: /etc/toolgate/policies, readOnly: true}
{{- end }}
{{- if .Values.tls.enabled }}
- {name: tls, mountPath: /etc/toolgate/tls, readOnly: true}
{{- if and .Values.tls.clientCa.enabled .Values.tls.clientCa.secretName }}
- {name: client-ca, mountPath: /etc/toolgate/client-ca, readOnly: true}
{{- end }}
{{- end }}
{{- if eq .Values.store.type "redis" }}
{{- with .Values.store.redis }}
{{- if .passwordSecret.name }}
- {name: redis-password, mountPath: /etc/toolgate/redis/password, readOnly: true}
{{- end }}
{{- if .sentinel.passwordSecret.name }}
- {name: redis-sentinel, mountPath: /etc/toolgate/redis/sentinel, readOnly: true}
{{- end }}
{{- if or .tls.ca.secret .tls.ca.configMap }}
- {name: redis-ca, mountPath: /etc/toolgate/redis/ca, readOnly: true}
{{- end }}
{{- if .tls.clientSecret }}
- {name: redis-client, mountPath: /etc/toolgate/redis/client, readOnly: true}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "toolgate.volumes" -}}
- name: config
  configMap: {name: {{ include "toolgate.fullname" . }}}
{{- if not (include "toolgate.watchesCluster" .) }}
- name: policies
  configMap: {name: {{ include "toolgate.policiesConfigMap" . }}}
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  secret: {defaultMode: 0440, secretName: {{ include "toolgate.tlsSecret" . }}}
{{- with .Values.tls.clientCa }}
{{- if and .enabled .secretName }}
- name: client-ca
  secret: {defaultMode: 0440, secretName: {{ .secretName }}, items: [{key: {{ .key }}, path: {{ .key }}}]}
{{- end }}
{{- end }}
{{- end }}
{{- if eq .Values.store.type "redis" }}
{{- with .Values.store.redis }}
{{- with .passwordSecret }}
{{- if .name }}
- name: redis-password
  secret: {defaultMode: 0440, secretName: {{ .name }}, items: [{key: {{ .key }}, path: {{ .key }}}]}
{{- end }}
{{- end }}
{{- with .sentinel.passwordSecret }}
{{- if .name }}
- name: redis-sentinel
  secret: {defaultMode: 0440, secretName: {{ .name }}, items: [{key: {{ .key }}, path: {{ .key }}}]}
{{- end }}
{{- end }}
{{- with .tls.ca }}
{{- if .secret }}
- name: redis-ca
  secret: {defaultMode: 0440, secretName: {{ .secret }}, items: [{key: {{ .key }}, path: {{ .key }}}]}
{{- else if .configMap }}
- name: redis-ca
  configMap: {name: {{ .configMap }}, items: [{key: {{ .key }}, path: {{ .key }}}]}
{{- end }}
{{- end }}
{{- with .tls.clientSecret }}
- name: redis-client
  secret: {defaultMode: 0440, secretName: {{ . }}}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "toolgate.env" -}}
# Here, as the environment wins over the file: `config` cannot take them away from the Services.
- {name: TOOLGATE_GRPC_LISTEN, value: {{ printf "%s:7070" .Values.listenAddress | quote }}}
- {name: TOOLGATE_HTTP_LISTEN, value: {{ printf "%s:7071" .Values.listenAddress | quote }}}
- {name: TOOLGATE_LOG, value: {{ .Values.log.filter | quote }}}
- {name: TOOLGATE_LOG_FORMAT, value: {{ .Values.log.format }}}
{{- if include "toolgate.watchesCluster" . }}
- {name: TOOLGATE_KUBERNETES_REPLICA, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: TOOLGATE_KUBERNETES_POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
{{- end }}
{{- if eq .Values.store.type "redis" }}
{{- with .Values.store.redis.urlSecret }}
{{- if .name }}
- {name: TOOLGATE_STORE, valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ .key }}}}}
{{- end }}
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

{{- define "toolgate.spread" -}}
{{- $labels := include "toolgate.selectorLabels" . | fromYaml -}}
{{- range .Values.topologySpreadConstraints }}
- {{ toYaml (merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" $labels))) | nindent 2 | trim }}
{{- end }}
{{- end -}}
