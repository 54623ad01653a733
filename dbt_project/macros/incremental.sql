{#
  Two kinds of incremental models.

  `replace_weeks`: weekly tables. Exactly the as-of dates of intermediate.requested_weeks are deleted and inserted
  again, inside the model's one transaction; a requested week that yields no row ends up empty, and no other week
  is touched.

  `new_deliveries`: unpartitioned tables. A delivery is computed once; later runs only add deliveries not yet there.
#}
{% macro get_incremental_replace_weeks_sql(arg_dict) %}
    {%- set columns = get_quoted_csv(arg_dict["dest_columns"] | map(attribute="name")) -%}
    delete from {{ arg_dict["target_relation"] }}
    where as_of_date in (select as_of_date from {{ source('intermediate', 'requested_weeks') }});
    insert into {{ arg_dict["target_relation"] }} ({{ columns }})
    (
        select {{ columns }}
        from {{ arg_dict["temp_relation"] }}
    )
{% endmacro %}

{% macro new_deliveries(column='_delivery_id') -%}
    {%- if is_incremental() -%}
    {{ column }} not in (select distinct _delivery_id from {{ this }})
    {%- else -%}
    true
    {%- endif -%}
{%- endmacro %}
