{#
  Reading of raw text. Every macro takes a VARCHAR expression and yields null where the text does not say what is
  asked for; the models compare with the raw text to tell "missing" from "unparsable".
#}

{# Trimmed text; empty is missing. #}
{% macro clean_text(column) -%}
    nullif(trim({{ column }}), '')
{%- endmacro %}

{#
  Trimmed identifier; words that export tools write for "nothing" are missing, or they become one big counterparty. No IN
  list: DuckDB turns a long one into a join, and then computes it even where the column is not read.
#}
{% macro clean_id(column) -%}
    case
        when strlen(trim({{ column }})) > 4 then trim({{ column }})
        when regexp_full_match(trim({{ column }}), '(?i)(null|nan|none|n/a|<na>|nat)?') then null
        else trim({{ column }})
    end
{%- endmacro %}

{# Key under which cleaned text is searched in an alias seed. #}
{% macro alias_key(text) -%}
    upper({{ text }})
{%- endmacro %}

{#
  ISO 8601 date or timestamp as TIMESTAMP in UTC. `2024-01-31`, `2024-01-31 10:00`, `2024-01-31T10:00:00.5`, with Z or an
  offset (`+02:00`), which is applied. Everything else (01/02/2024, 20240131, names of months or zones) is null: a date
  that can be read in two ways is not read. A cast to TIMESTAMP alone would drop the offset silently.
#}
{% macro parse_timestamp(column) -%}
    case
        when regexp_full_match({{ column }}, '\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}[0-9:.]*Z?)?')
            then try_cast({{ column }} as timestamp)
        when regexp_full_match({{ column }}, '\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}[0-9:.]*[+-]\d{2}(:?\d{2})?')
            then try_cast(
                regexp_replace({{ column }}, '([+-]\d{2})(\d{2})$', '\1:\2') as timestamptz
            ) at time zone 'UTC'
    end
{%- endmacro %}

{# The same as DATE. #}
{% macro parse_date(column) -%}
    cast({{ parse_timestamp(column) }} as date)
{%- endmacro %}

{# True and false in the ways flags are written. #}
{% macro parse_flag(column) -%}
    case
        when lower({{ column }}) in ('1', '1.0', 'true', 't', 'yes', 'y') then true
        when lower({{ column }}) in ('0', '0.0', 'false', 'f', 'no', 'n') then false
    end
{%- endmacro %}

{# Plausible calendar dates: see vars. #}
{% macro is_plausible_date(column) -%}
    {{ column }} between cast('{{ var("date_minimum") }}' as date) and cast('{{ var("date_maximum") }}' as date)
{%- endmacro %}

{# One finding on one column of one raw row. #}
{% macro finding(column, value, reason) -%}
    struct_pack(column_name := '{{ column }}', value := {{ value }}, reason := '{{ reason }}')
{%- endmacro %}

{#
  List of findings of a row, null where there is none. `checks` is a list of [condition, column name, raw value, reason];
  a condition that is null does not fire. The list is only built for rows that have a finding.
#}
{% macro findings(checks) -%}
    case
        when {% for c in checks %}({{ c[0] }}) is true{{ ' or ' if not loop.last }}{% endfor %}
        then list_filter(
            [
                {%- for c in checks %}
                case when {{ c[0] }} then {{ finding(c[1], c[2], c[3]) }} end{{ ',' if not loop.last }}
                {%- endfor %}
            ],
            lambda f : f is not null
        )
    end
{%- endmacro %}
