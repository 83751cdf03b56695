{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sluice.fullname" -}}
{{- $name := include "sluice.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 55 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 55 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* The names that a cluster's DNS has for the Service of the API, as JSON. */ -}}
{{- define "sluice.serviceNames" -}}
{{- $name := include "sluice.fullname" . -}}
{{- $space := printf "%s.%s" $name .Release.Namespace -}}
{{- list $name $space (printf "%s.svc" $space) (printf "%s.svc.cluster.local" $space) | toJson -}}
{{- end -}}

{{- define "sluice.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sluice.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sluice.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* The kubelet waits longer than the gateway takes to stop, whatever the values are. */ -}}
{{- define "sluice.gracePeriod" -}}
{{- with .Values.drain -}}
{{- add (int .preStopSeconds) (int .delaySeconds) (int .timeoutSeconds) (int .marginSeconds) -}}
{{- end -}}
{{- end -}}

{{- /* The config as the chart reads it, from `config` or from the text of `configToml`, as JSON. */ -}}
{{- define "sluice.config" -}}
{{- if and .Values.config .Values.configToml -}}
{{- fail "set config or configToml, not both" -}}
{{- end -}}
{{- if .Values.configToml -}}
{{- $config := fromToml .Values.configToml -}}
{{- if hasKey $config "Error" -}}
{{- fail (printf "configToml: %s" $config.Error) -}}
{{- end -}}
{{- toJson $config -}}
{{- else -}}
{{- toJson .Values.config -}}
{{- end -}}
{{- end -}}

{{- /* Whether the chart makes a Secret with an admin key: no value and no config names one. */ -}}
{{- define "sluice.generatesAdminKey" -}}
{{- $config := include "sluice.config" . | fromJson -}}
{{- if and .Values.adminKey.create (not .Values.adminKey.secret) (not (dig "server" "admin_key" "" $config)) -}}true{{- end -}}
{{- end -}}

{{- /* The Secret with the admin key; empty if the values name none. */ -}}
{{- define "sluice.adminSecret" -}}
{{- if .Values.adminKey.secret -}}
{{- .Values.adminKey.secret -}}
{{- else if eq (include "sluice.generatesAdminKey" .) "true" -}}
{{- include "sluice.fullname" . }}-admin
{{- end -}}
{{- end -}}

{{- /* Whether the pods talk to a Redis. */ -}}
{{- define "sluice.usesRedis" -}}
{{- $config := include "sluice.config" . | fromJson -}}
{{- $jobs := dig "jobs" "backend" "" $config -}}
{{- $state := dig "state" dict $config -}}
{{- if or (eq $jobs "redis") (eq (get $state "backend") "redis") (get $state "redis_url") -}}true{{- end -}}
{{- end -}}

{{- /* Combinations that can't work, refused before anything is installed. */ -}}
{{- define "sluice.validate" -}}
{{- $server := dig "server" dict .Values.config -}}
{{- range $key, $instead := dict "listen" "bindAddress" "admin_listen" "bindAddress" "admin_key" "adminKey.secret" "drain_delay" "drain.delaySeconds" "drain_timeout" "drain.timeoutSeconds" "tls" "tls.secret" -}}
{{- if hasKey $server $key -}}
{{- fail (printf "config.server.%s is the chart's: set %s" $key $instead) -}}
{{- end -}}
{{- end -}}
{{- $config := include "sluice.config" . | fromJson -}}
{{- if dig "legacy" "listen" "" $config -}}
{{- fail "legacy.listen: the chart serves the legacy endpoints on the port of the API; leave it out" -}}
{{- end -}}
{{- $most := ternary (int .Values.autoscaling.maxReplicas) (int .Values.replicas) .Values.autoscaling.enabled -}}
{{- $files := list -}}
{{- if eq (dig "jobs" "backend" "" $config) "sqlite" -}}
{{- $files = append $files (list "jobs.path" (dig "jobs" "path" "" $config)) -}}
{{- end -}}
{{- if dig "state" "budget_path" "" $config -}}
{{- $files = append $files (list "state.budget_path" (dig "state" "budget_path" "" $config)) -}}
{{- end -}}
{{- range $files -}}
{{- if gt $most 1 -}}
{{- fail (printf "%s is a file for one replica: set replicas to 1 without autoscaling, or use Redis" (first .)) -}}
{{- end -}}
{{- if not $.Values.persistence.enabled -}}
{{- fail (printf "%s is a file: set persistence.enabled" (first .)) -}}
{{- end -}}
{{- if not (hasPrefix (printf "%s/" (trimSuffix "/" $.Values.persistence.mountPath)) (last .)) -}}
{{- fail (printf "%s must be in persistence.mountPath (%s): nothing else can be written" (first .) $.Values.persistence.mountPath) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.persistence.enabled (gt $most 1) -}}
{{- fail "persistence is for one replica: set replicas to 1 without autoscaling" -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if and .enabled (not (or .targetCPU .targetQueueWaiting)) -}}
{{- fail "autoscaling needs targetCPU or targetQueueWaiting" -}}
{{- end -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is above maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.tls.clientCaKey (not .Values.tls.secret) -}}
{{- fail "tls.clientCaKey needs tls.secret" -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- if and .enabled (eq (toString .minAvailable) "") (eq (toString .maxUnavailable) "") -}}
{{- fail "podDisruptionBudget needs maxUnavailable or minAvailable" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What the ConfigMap holds: pods are replaced when it changes. */ -}}
{{- define "sluice.configData" -}}
{{- $toml := .Values.configToml -}}
{{- if not $toml -}}
{{- $toml = printf "# Made by the chart from its value `config`.\n%s\n" (include "sluice.toml" (dict "table" .Values.config "path" "") | trim) -}}
{{- end -}}
{{- if hasKey .Values.configFiles "config.toml" -}}
{{- fail "configFiles: config.toml comes from config or configToml" -}}
{{- end -}}
{{- merge (dict "config.toml" $toml) .Values.configFiles | toYaml -}}
{{- end -}}
