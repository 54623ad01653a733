{# None of the columns is null anywhere. One scan; a failing row names the column and how often it is null. #}
{% test no_nulls(model, columns) %}
with

counted as (

    select
        {%- for c in columns %}
        count(*) - count({{ c }}) as {{ c }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ model }}

)

select
    column_name,
    rows_count
from (unpivot counted on {{ columns | join(', ') }} into name column_name value rows_count)
where rows_count > 0
{% endtest %}
