{%- set entities = ['transactions', 'client_profiles', 'str_labels', 'blacklist', 'fx_rates', 'dispositions'] -%}
with

quarantined as (

    {% for entity in entities %}
    select
        entity,
        _delivery_id,
        'quarantined' as treatment,
        column_name,
        reason,
        count(distinct (_file, _row)) as rows_count
    from {{ ref('quarantine_' ~ entity) }}
    group by all
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

repaired as (

    select
        entity,
        _delivery_id,
        'repaired' as treatment,
        column_name,
        reason,
        sum(rows_count) as rows_count
    from {{ ref('value_repairs') }}
    group by all

),

final as (

    select
        entity,
        treatment,
        coalesce(column_name, 'record') as column_name,
        reason,
        cast(_delivery_id as integer) as delivery_id,
        cast(sum(rows_count) as bigint) as rows_count
    from (
        select * from quarantined
        union all
        select * from repaired
    )
    group by all

)

select * from final
