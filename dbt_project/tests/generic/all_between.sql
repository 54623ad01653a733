{# Values of the columns lie in [minimum, maximum], both ends included; null passes, an end left out is open. One scan. #}
{% test all_between(model, columns, minimum=none, maximum=none) %}
{%- set condition -%}
    {% if minimum is not none %}column_name < {{ minimum }}{% else %}false{% endif %}
    or {% if maximum is not none %}column_name > {{ maximum }}{% else %}false{% endif %}
{%- endset %}
with

counted as (

    select
        {%- for c in columns %}
        count(case when {{ condition | replace('column_name', c) }} then 1 end) as {{ c }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ model }}

)

select
    column_name,
    rows_count
from (unpivot counted on {{ columns | join(', ') }} into name column_name value rows_count)
where rows_count > 0
{% endtest %}
