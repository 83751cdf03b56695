{{- /*
A map as TOML. Helm has a function for that, but it writes whole numbers of a values file as floats
("rpm = 50.0"), which are not integers in TOML: https://github.com/helm/helm/issues/32035

Takes a dict of `table`, the map, and `path`, its dotted name in TOML. Values and lists of a table come
before its tables, as TOML wants it. A key whose value is null is left out.
*/ -}}
{{- define "sluice.toml" -}}
{{- $path := .path -}}
{{- $tables := dict -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value -}}
{{- $_ := set $tables $key $value -}}
{{- else if and (kindIs "slice" $value) $value (kindIs "map" (first $value)) -}}
{{- $_ := set $tables $key $value -}}
{{- else if not (kindIs "invalid" $value) }}
{{ include "sluice.toml.key" $key }} = {{ include "sluice.toml.value" $value }}
{{- end -}}
{{- end -}}
{{- range $key, $value := $tables -}}
{{- $name := include "sluice.toml.key" $key -}}
{{- if $path -}}{{- $name = printf "%s.%s" $path $name -}}{{- end -}}
{{- if kindIs "map" $value }}
{{- /* A table that holds nothing but tables needs no line of its own. */ -}}
{{- $inside := include "sluice.toml" (dict "table" $value "path" $name) -}}
{{- if not (hasPrefix "\n\n[" $inside) }}

[{{ $name }}]
{{- end -}}
{{- $inside -}}
{{- else -}}
{{- range $value }}

[[{{ $name }}]]
{{- include "sluice.toml" (dict "table" . "path" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sluice.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ toRawJson . }}{{- end -}}
{{- end -}}

{{- define "sluice.toml.value" -}}
{{- if kindIs "string" . -}}
{{- /* What JSON escapes is what a basic string of TOML escapes. */ -}}
{{- toRawJson . -}}
{{- else if kindIs "float64" . -}}
{{- if eq . (floor .) -}}{{ printf "%.0f" . }}{{- else -}}{{ . }}{{- end -}}
{{- else if kindIs "slice" . -}}
[{{- range $index, $value := . -}}
{{- if $index }}, {{ end -}}{{ include "sluice.toml.value" $value }}
{{- end -}}]
{{- else if kindIs "map" . -}}
{ {{- $first := true -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- if not $first }},{{ end }} {{ include "sluice.toml.key" $key }} = {{ include "sluice.toml.value" $value -}}
{{- $first = false -}}
{{- end -}}
{{- end }} }
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}
