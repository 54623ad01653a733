{# Whole cents as DECIMAL(38, 2), exactly: a division would go through floating point. #}
{% macro from_cents(cents) -%}
    cast({{ cents }} as decimal(36, 0)) * cast(0.01 as decimal(2, 2))
{%- endmacro %}
