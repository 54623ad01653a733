{# Rows of one experiment of the report; all experiments are tables of one form (evaluation/evidence.py). #}
{% macro experiment_rows(table) -%}
    select
        part,
        variant,
        split,
        metric,
        setting_note,
        reference,
        reason,
        cast(setting_value as double) as setting_value,
        cast(metric_value as double) as metric_value,
        cast(interval_low as double) as interval_low,
        cast(interval_high as double) as interval_high,
        cast(difference as double) as difference,
        cast(difference_low as double) as difference_low,
        cast(difference_high as double) as difference_high
    from {{ source('evaluation', table) }}
{%- endmacro %}
