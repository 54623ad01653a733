{# A model's schema is exactly the one configured, without the target's prefix: the Dagster asset key is schema/table. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name is not none else target.schema }}
{%- endmacro %}
