{#- Rows in, kept and quarantined of every entity and delivery: counted on the three sides separately. -#}
{%- set entities = [
    ['transactions', ref('stg_transactions'), ref('quarantine_transactions')],
    ['client_profiles', ref('stg_client_profiles'), ref('quarantine_client_profiles')],
    ['str_labels', ref('stg_str_labels'), ref('quarantine_str_labels')],
    ['blacklist', ref('stg_blacklist'), ref('quarantine_blacklist')],
    ['fx_rates', ref('stg_fx_rates'), ref('quarantine_fx_rates')],
    ['dispositions', ref('stg_dispositions'), ref('quarantine_dispositions')],
] -%}
with

counted as (

    {% for entity, kept, quarantined in entities %}
    select
        '{{ entity }}' as entity, _delivery_id, count(*) as rows_read, 0 as rows_unreadable, 0 as rows_kept,
        0 as rows_quarantined
    from {{ source('raw', entity) }} group by all
    union all
    select '{{ entity }}', _delivery_id, 0, count(distinct (_file, _row)), 0, 0
    from {{ source('raw', 'rejects') }} where entity = '{{ entity }}' group by all
    union all
    select '{{ entity }}', _delivery_id, 0, 0, count(*), 0 from {{ kept }} group by all
    union all
    select '{{ entity }}', _delivery_id, 0, 0, 0, count(distinct (_file, _row)) from {{ quarantined }} group by all
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

final as (

    select
        entity,
        cast(_delivery_id as integer) as _delivery_id,
        cast(sum(rows_read) + sum(rows_unreadable) as bigint) as rows_in,
        cast(sum(rows_kept) as bigint) as rows_kept,
        cast(sum(rows_quarantined) as bigint) as rows_quarantined,
        cast(sum(rows_unreadable) as bigint) as rows_unreadable
    from counted
    group by all

)

select * from final
