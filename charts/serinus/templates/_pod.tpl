{{/* What the operator's pod and the pod of `helm test` have in common. */}}

{{/* The operator's settings, each named after its field in serinus.settings. */}}
{{- define "serinus.environment" -}}
- name: SERINUS_IDENTITY
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: SERINUS_LEASE_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: SERINUS_LEASE_NAME
  value: {{ include "serinus.fullname" . | quote }}
- name: SERINUS_LEASE_DURATION_SECONDS
  value: {{ .Values.leaderElection.leaseDurationSeconds | quote }}
- name: SERINUS_LEASE_RENEW_DEADLINE_SECONDS
  value: {{ .Values.leaderElection.renewDeadlineSeconds | quote }}
- name: SERINUS_LEASE_RETRY_SECONDS
  value: {{ .Values.leaderElection.retryPeriodSeconds | quote }}
- name: SERINUS_PROMETHEUS_URL
  value: {{ .Values.prometheus.url | quote }}
- name: SERINUS_PROMETHEUS_TIMEOUT_SECONDS
  value: {{ .Values.prometheus.timeoutSeconds | quote }}
- name: SERINUS_PROMETHEUS_SCRAPE_INTERVAL_SECONDS
  value: {{ .Values.prometheus.scrapeIntervalSeconds | quote }}
{{- $path := include "serinus.credentialsPath" . }}
{{- with .Values.prometheus }}
- name: SERINUS_PROMETHEUS_HEADERS
  value: {{ include "serinus.headers" $ | quote }}
- name: SERINUS_PROMETHEUS_TOKEN_FILE
  value: {{ .auth.bearerToken.secretName | empty | ternary "" (printf "%s/token" $path) | quote }}
- name: SERINUS_PROMETHEUS_USERNAME_FILE
  value: {{ .auth.basicAuth.secretName | empty | ternary "" (printf "%s/username" $path) | quote }}
- name: SERINUS_PROMETHEUS_PASSWORD_FILE
  value: {{ .auth.basicAuth.secretName | empty | ternary "" (printf "%s/password" $path) | quote }}
- name: SERINUS_PROMETHEUS_CA_FILE
  value: {{ .tls.ca.secretName | empty | ternary "" (printf "%s/ca.crt" $path) | quote }}
- name: SERINUS_PROMETHEUS_CERTIFICATE_FILE
  value: {{ .tls.clientCertificate.secretName | empty | ternary "" (printf "%s/tls.crt" $path) | quote }}
- name: SERINUS_PROMETHEUS_KEY_FILE
  value: {{ .tls.clientCertificate.secretName | empty | ternary "" (printf "%s/tls.key" $path) | quote }}
{{- end }}
- name: SERINUS_PROMETHEUS_GATEWAY
  value: {{ .Values.prometheus.gateway | quote }}
- name: SERINUS_METRICS_NAMESPACE_LABEL
  value: {{ .Values.prometheus.labels.namespace | quote }}
- name: SERINUS_METRICS_POD_LABEL
  value: {{ .Values.prometheus.labels.pod | quote }}
- name: SERINUS_GATEWAY_FEATURES
  value: {{ .Values.gatewayFeatures | toJson | quote }}
- name: SERINUS_CONFIG_KEY_FILE
  value: {{ .Values.configChecksum.keySecretName | empty | ternary "" (printf "%s/key" (include "serinus.configKeyPath" .)) | quote }}
- name: SERINUS_CONFIG_SECRETS
  value: {{ .Values.configChecksum.secrets | quote }}
- name: SERINUS_WATCH_NAMESPACES
  value: {{ join "," .Values.watchNamespaces | quote }}
- name: SERINUS_NAMESPACED
  value: {{ .Values.rbac.namespaced | quote }}
- name: SERINUS_GATEWAY_NAMESPACES
  value: {{ join "," .Values.gatewayNamespaces | quote }}
- name: SERINUS_GATEWAY_CLASSES
  value: {{ .Values.gatewayClasses | toJson | quote }}
- name: SERINUS_SELECTOR
  value: {{ .Values.selector | quote }}
- name: SERINUS_DISRUPTION_BUDGETS
  value: {{ .Values.safeguards.disruptionBudgets | quote }}
- name: SERINUS_NETWORK_POLICIES
  value: {{ .Values.safeguards.networkPolicies | quote }}
- name: SERINUS_SCRAPER_NAMESPACE
  value: {{ .Values.safeguards.scraperNamespace | quote }}
{{- with .Values.notifications }}
- name: SERINUS_RECEIVERS
  value: {{ include "serinus.receivers" $ | quote }}
- name: SERINUS_RECEIVER_HOSTS
  value: {{ join "," .allowedHosts | quote }}
- name: SERINUS_RECEIVER_DIRECTORY
  value: {{ include "serinus.receiversPath" $ | quote }}
- name: SERINUS_CLUSTER_NAME
  value: {{ .clusterName | quote }}
{{- end }}
- name: SERINUS_CONCURRENCY
  value: {{ .Values.concurrency | quote }}
- name: SERINUS_LOG_LEVEL
  value: {{ .Values.logLevel | quote }}
- name: SERINUS_LOG_FORMAT
  value: {{ .Values.logFormat | quote }}
- name: SERINUS_HTTP_PORT
  value: "8080"
- name: SERINUS_PROFILE_PORT
  value: {{ .Values.profiling.enabled | ternary .Values.profiling.port "" | quote }}
- name: SERINUS_PROFILE_ADDRESS
  value: {{ .Values.profiling.address | quote }}
{{- end -}}

{{- define "serinus.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
{{- if include "serinus.mounts" . | trim }}
fsGroup: 65532
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "serinus.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "serinus.credentialsMount" -}}
- {name: prometheus-credentials, mountPath: {{ include "serinus.credentialsPath" . }}, readOnly: true}
{{- end -}}

{{- define "serinus.credentialsVolume" -}}
- name: prometheus-credentials
  projected:
    defaultMode: 0440
    sources:
    {{- include "serinus.credentials" . | trim | nindent 4 }}
{{- end -}}

{{/* Where the key of digests of ConfigMaps and Secrets is mounted. */}}
{{- define "serinus.configKeyPath" -}}/etc/serinus/config{{- end -}}

{{/* All Secrets that the operator is given; the pod of `helm test` has the credentials for Prometheus alone. */}}
{{- define "serinus.mounts" -}}
{{- if include "serinus.credentials" . | trim }}
{{ include "serinus.credentialsMount" . }}
{{- end }}
{{- if .Values.configChecksum.keySecretName }}
- {name: config-key, mountPath: {{ include "serinus.configKeyPath" . }}, readOnly: true}
{{- end }}
{{- if include "serinus.receiverSecrets" . | trim }}
- {name: receivers, mountPath: {{ include "serinus.receiversPath" . }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "serinus.volumes" -}}
{{- if include "serinus.credentials" . | trim }}
{{ include "serinus.credentialsVolume" . }}
{{- end }}
{{- with .Values.configChecksum }}
{{- if .keySecretName }}
- name: config-key
  secret:
    secretName: {{ .keySecretName | quote }}
    defaultMode: 0440
    items: [{key: {{ .key | quote }}, path: key}]
{{- end }}
{{- end }}
{{- with include "serinus.receiverSecrets" . | trim }}
- name: receivers
  projected:
    defaultMode: 0440
    sources:
    {{- . | nindent 4 }}
{{- end }}
{{- end -}}
