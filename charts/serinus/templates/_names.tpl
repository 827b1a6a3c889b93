{{/* The release's full name: the name of everything that there is one of. */}}
{{- define "serinus.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What the operator's pods are selected by. */}}
{{- define "serinus.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "serinus.labels" -}}
{{ include "serinus.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "serinus.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "serinus.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name: with serviceAccount.create=false, name the account that the operator runs as" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "serinus.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Headers for Prometheus, a line each. */}}
{{- define "serinus.headers" -}}
{{- range $name, $value := .Values.prometheus.headers }}
{{- printf "%s: %s\n" $name $value }}
{{- end }}
{{- end -}}

{{/* Where the Secrets for Prometheus are mounted. */}}
{{- define "serinus.credentialsPath" -}}/etc/serinus/prometheus{{- end -}}

{{/* The Secrets for Prometheus as the sources of a projected volume; empty where there are none. */}}
{{- define "serinus.credentials" -}}
{{- with .Values.prometheus.auth.bearerToken -}}
{{- if .secretName }}
- secret: {name: {{ .secretName | quote }}, items: [{key: {{ .key | quote }}, path: token}]}
{{- end }}
{{- end }}
{{- with .Values.prometheus.auth.basicAuth -}}
{{- if .secretName }}
- secret: {name: {{ .secretName | quote }}, items: [{key: {{ .usernameKey | quote }}, path: username}, {key: {{ .passwordKey | quote }}, path: password}]}
{{- end }}
{{- end }}
{{- with .Values.prometheus.tls.ca -}}
{{- if .secretName }}
- secret: {name: {{ .secretName | quote }}, items: [{key: {{ .key | quote }}, path: ca.crt}]}
{{- end }}
{{- end }}
{{- with .Values.prometheus.tls.clientCertificate -}}
{{- if .secretName }}
- secret: {name: {{ .secretName | quote }}, items: [{key: {{ .certificateKey | quote }}, path: tls.crt}, {key: {{ .keyKey | quote }}, path: tls.key}]}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where the Secrets of receivers are mounted, in a folder for each. */}}
{{- define "serinus.receiversPath" -}}/etc/serinus/receivers{{- end -}}

{{/* The receivers of notifications as the operator reads them, in JSON. */}}
{{- define "serinus.receivers" -}}
{{- $told := dict -}}
{{- range $name, $receiver := .Values.notifications.receivers -}}
{{- $_ := set $told $name (omit $receiver "secretName") -}}
{{- end -}}
{{- toJson $told -}}
{{- end -}}

{{/* Their Secrets as the sources of a projected volume: one that is missing must not keep the operator from starting. */}}
{{- define "serinus.receiverSecrets" -}}
{{- range $name, $receiver := .Values.notifications.receivers }}
- secret:
    name: {{ $receiver.secretName | quote }}
    optional: true
    items:
    - {key: url, path: {{ printf "%s/url" $name | quote }}}
    - {key: signingKey, path: {{ printf "%s/signing-key" $name | quote }}}
    - {key: ca.crt, path: {{ printf "%s/ca.crt" $name | quote }}}
{{- end }}
{{- end -}}

{{/* What this release serves, for other releases to look at. */}}
{{- define "serinus.installation" -}}
{{- dict "release" (printf "%s/%s" .Release.Namespace .Release.Name) "namespaces" .Values.watchNamespaces "selector" .Values.selector | toJson -}}
{{- end -}}

{{/*
Refuse to stand beside a release that serves the same. Helm sees the cluster in `install` and `upgrade` only, not in
`template` or under Argo CD, and of two selectors it knows no more than whether they are the same: what passes here is
looked at again by the operators, of which the younger does not lead.
*/}}
{{- define "serinus.others" -}}
{{- $own := include "serinus.installation" . | fromJson -}}
{{- $roles := list -}}
{{- if .Values.rbac.namespaced -}}
{{- range .Values.watchNamespaces -}}
{{- $roles = concat $roles ((lookup "rbac.authorization.k8s.io/v1" "Role" . "").items | default list) -}}
{{- end -}}
{{- else -}}
{{- $roles = concat ((lookup "rbac.authorization.k8s.io/v1" "ClusterRole" "" "").items | default list) ((lookup "rbac.authorization.k8s.io/v1" "Role" "" "").items | default list) -}}
{{- end -}}
{{- range $roles -}}
{{- $other := dig "metadata" "annotations" "serinus.dev/installation" "{}" . | fromJson -}}
{{- if and $other.release (ne $other.release $own.release) -}}
{{- $together := or (not $own.namespaces) (not $other.namespaces) -}}
{{- range $own.namespaces -}}
{{- $together = or $together (has . ($other.namespaces | default list)) -}}
{{- end -}}
{{- if and $together (or (not $own.selector) (not $other.selector) (eq $own.selector $other.selector)) -}}
{{- fail (printf "release %s serves ModelDeployments in %s%s already, and this one would serve the same: upgrade that release instead, or give the two watchNamespaces or selectors that have nothing in common (docs/shard.md)" $other.release (empty $other.namespaces | ternary "all namespaces" ($other.namespaces | default list | join ", ")) (empty $other.selector | ternary "" (printf " that match %s" $other.selector))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a schema can't say, or not readably. Called once, from the Deployment. */}}
{{- define "serinus.check" -}}
{{- if and .Values.notifications.receivers (not .Values.notifications.allowedHosts) -}}
{{- fail "notifications.allowedHosts: with notifications.receivers, name the hosts that notifications may be sent to, such as hooks.slack.com" -}}
{{- end -}}
{{- with .Values.prometheus.url -}}
{{- if not (regexMatch "^https?://[^\\s/?#@]+(/[^\\s?#@]*)?$" .) -}}
{{- fail "prometheus.url: write the base URL without user, password, query and fragment, such as http://prometheus.monitoring:9090; or leave it empty to go without a metric source" -}}
{{- end -}}
{{- end -}}
{{- with .Values.prometheus -}}
{{- if and .auth.bearerToken.secretName .auth.basicAuth.secretName -}}
{{- fail "prometheus.auth: bearerToken and basicAuth exclude each other; name one of them only" -}}
{{- end -}}
{{- if and (or .tls.ca.secretName .tls.clientCertificate.secretName) .url (not (hasPrefix "https://" .url)) -}}
{{- fail "prometheus.tls: certificates need a prometheus.url that begins with https://" -}}
{{- end -}}
{{- end -}}
{{- with .Values.leaderElection -}}
{{- if not (and (lt (float64 .retryPeriodSeconds) (float64 .renewDeadlineSeconds)) (lt (float64 .renewDeadlineSeconds) (float64 .leaseDurationSeconds))) -}}
{{- fail (printf "leaderElection: retryPeriodSeconds (%v) has to be below renewDeadlineSeconds (%v), and that below leaseDurationSeconds (%v); otherwise two replicas could lead at once, or none could keep the lease" .retryPeriodSeconds .renewDeadlineSeconds .leaseDurationSeconds) -}}
{{- end -}}
{{- end -}}
{{- if .Values.rbac.namespaced -}}
{{- if not .Values.watchNamespaces -}}
{{- fail "rbac.namespaced: name the namespaces in watchNamespaces" -}}
{{- end -}}
{{- if .Values.crds.install -}}
{{- fail "rbac.namespaced: CRDs are the cluster's, so that this release can't bring them: have an administrator apply those of this version with `kubectl apply --server-side -f crds/`, and set crds.install=false" -}}
{{- end -}}
{{- if .Values.approvalPolicy.enabled -}}
{{- fail "rbac.namespaced: an admission policy is the cluster's, so that this release can't bring it: set approvalPolicy.enabled=false, and have an administrator apply the policy (docs/install-in-namespaces.md)" -}}
{{- end -}}
{{- if .Values.rolloutPolicies.admission -}}
{{- fail "rbac.namespaced: an admission policy is the cluster's, so that this release can't bring it: set rolloutPolicies.admission=false, and have an administrator apply the policies (docs/install-in-namespaces.md)" -}}
{{- end -}}
{{- else if or .Values.gatewayNamespaces .Values.gatewayClasses -}}
{{- fail "gatewayNamespaces and gatewayClasses are for rbac.namespaced=true only: otherwise the operator looks gateways and their classes up in the whole cluster" -}}
{{- end -}}
{{- if .Values.refuseOverlap -}}
{{- include "serinus.others" . -}}
{{- end -}}
{{- end -}}
